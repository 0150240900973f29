"""The training loop. It reads top to bottom; what it calls is one concept each.

A step: this rank's examples, laid out in rows (trees), each row's summed loss divided by the weight of the whole
step's edges over all ranks, gradients summed, clipped, applied. Nothing in it asks which method or objective runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import nn

from camelid.data.pack import Example, Row, pack_step, total_weight
from camelid.data.tree import TokenTree
from camelid.errors import UserError
from camelid.model.class_head import learnt_of
from camelid.model.head import head_of, kl_to_base
from camelid.model.heldout import held_out_nll
from camelid.model.layout import hidden_states, trained_edges
from camelid.runs.directory import RunDirectory
from camelid.runs.memory import HeapLimit
from camelid.runs.memory import peak_memory_bytes as process_peak
from camelid.runs.metrics import MetricsLog, read_curves
from camelid.runs.turning import first_turn
from camelid.train.checkpoint import Checkpoint, save_checkpoint
from camelid.train.interrupt import Interrupts
from camelid.train.optim import set_learning_rate
from camelid.train.setup import Setup
from camelid.train.state import restore_tensors, seed_step, state_tensors


class Progress(Protocol):
    """Where the loop reports to: runs/progress.py, or nobody."""

    def start(self, total_steps: int, *, first_step: int = 0) -> None: ...
    def update(
        self,
        step: int,
        loss: float,
        *,
        useful_tokens: int = 0,
        computed_tokens: int = 0,
        eval_loss: float | None = None,
        memory_bytes: int | None = None,
    ) -> object: ...
    def aside(self) -> AbstractContextManager[None]: ...
    def note(self, text: str) -> None: ...


class SilentProgress:
    """Reports to nobody: for proofs and tests."""

    def start(self, total_steps: int, *, first_step: int = 0) -> None:
        """Nothing."""

    def update(self, step: int, loss: float, **figures: float | None) -> None:
        """Nothing."""

    def aside(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()

    def note(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


@dataclass(frozen=True)
class StepFigures:
    """What an optimiser step came to over all ranks: mean loss, norm before clipping, edge weight, tokens, seconds."""

    loss: float
    gradient_norm: float
    weight: float
    useful: float
    computed: float
    seconds: float


@dataclass
class Counters:
    """What the loop carries from step to step; saved in each checkpoint."""

    useful_tokens: int = 0  # tokens of the separate, unpadded examples
    computed_tokens: int = 0  # nodes of the trees
    trained_tokens: float = 0.0  # summed weight of the trained edges
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int | None = None
    evaluations_without_better: int = 0

    def add(self, step: StepFigures) -> None:
        """Count a step in."""
        self.useful_tokens += int(step.useful)
        self.computed_tokens += int(step.computed)
        self.trained_tokens += step.weight
        self.seconds += step.seconds


@dataclass
class Outcome:
    """How training ended. `stopped` is 'done', 'early' (no better evaluation), or 'interrupted'."""

    step: int
    stopped: str
    counters: Counters
    losses: list[float] = field(default_factory=list)
    eval_losses: list[tuple[int, float]] = field(default_factory=list)
    # as metrics.jsonl has them, those from before the run was resumed included: metric -> (step, value)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {"loss": [], "eval_loss": []})


@dataclass(frozen=True)
class StepBatch:
    """One rank's rows of one optimiser step, and the weight of their edges."""

    step: int
    rows: list[Row]
    weight: float
    useful: int

    @property
    def computed(self) -> int:
        """Tokens that are really computed."""
        return sum(len(row.tree) for row in self.rows)


class NonFinite(UserError):
    """A loss or gradient that is not a number; names the rows behind it."""


def train(
    setup: Setup,
    run: RunDirectory,
    progress: Progress,
    interrupts: Interrupts,
    checkpoint: Checkpoint | None = None,
    *,
    stop_after: int | None = None,
) -> Outcome:
    """Train from `checkpoint` (or the start) to the end of the schedule, or until interrupted.

    `stop_after` interrupts the run when so many steps are done, as a signal would.

    Ends with a checkpoint of its last step in every case. Raises UserError where going on would be wrong.
    """
    recipe, world, data = setup.recipe, setup.world, setup.data
    parameters = setup.trainable.named_parameters()
    counters, start = Counters(), 0
    if checkpoint is not None:
        restore_tensors(checkpoint.tensors, parameters, setup.optimizers)
        counters, start = Counters(**checkpoint.state["counters"]), checkpoint.step
    total = data.schedule.total_steps
    saved = start if checkpoint is not None else -1
    evaluation = evaluation_rows(setup)
    every = steps_between(recipe.eval_steps, total)
    outcome = Outcome(start, "done", counters, curves=_curves_until(run, start))
    heap = HeapLimit()
    progress.start(total, first_step=start)
    with run.metrics(from_step=start) as metrics, _prefetched(setup, start, total) as batches:
        if evaluation is not None and start == 0:
            _evaluate_aside(setup, evaluation, progress, metrics, outcome, 0)
        for batch in batches:
            began = time.perf_counter()
            data.ledger.check(recipe.max_rejected)  # rows are rendered ahead of use, and may fail there too
            seed_step(recipe.seed, batch.step, world.rank)
            set_learning_rate(setup.optimizers, recipe.learning_rate * setup.factor(batch.step))
            weight, useful, computed = world.sum([batch.weight, batch.useful, batch.computed])
            loss_sum = _add_gradients(setup, batch, weight, interrupts, heap)
            if world.max(float(interrupts.requested)):
                _drop_gradients(parameters)
                outcome.stopped = "interrupted"
                break
            world.sum_gradients(parameters.values())
            norm = _clip(setup, parameters, batch)
            for optimizer in setup.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            step = outcome.step = batch.step + 1
            (loss_total,) = world.sum([loss_sum])
            seconds = time.perf_counter() - began
            done = StepFigures(loss_total / max(weight, 1e-12), norm, weight, useful, computed, seconds)
            counters.add(done)
            _report(setup, done, outcome, progress, metrics, total)
            better = False
            due = step == total or (every and step % every == 0)
            if evaluation is not None and due:
                better = _evaluate_aside(setup, evaluation, progress, metrics, outcome, step)
            if (recipe.save_steps and step % recipe.save_steps == 0) or (better and recipe.load_best_model_at_end):
                metrics.sync()
                _save(setup, run, step, counters)
                saved = step
            if step == stop_after:
                outcome.stopped = "interrupted"
                break
            patience = recipe.early_stopping_patience
            if patience and counters.evaluations_without_better >= patience and step < total:
                progress.note(f"step {step}: no better evaluation in {patience}; stopping early")
                outcome.stopped = "early"
                break
        if saved != outcome.step and outcome.step > 0:
            metrics.sync()
            _save(setup, run, outcome.step, counters)
    return outcome


def _add_gradients(setup: Setup, batch: StepBatch, weight: float, interrupts: Interrupts, heap: HeapLimit) -> float:
    """Summed loss of this rank's rows, or of those before an interrupt. weight: of the edges of all ranks' rows."""
    loss_sum = 0.0
    for row in batch.rows:
        if interrupts.requested:
            break
        with heap.row():
            loss = row_loss(setup, row)
            _require_finite_loss(setup, batch.step, row, loss)
            (loss / max(weight, 1e-12)).backward()
            loss_sum += float(loss.detach())
    return loss_sum


def _curves_until(run: RunDirectory, step: int) -> dict[str, list[tuple[float, float]]]:
    """The curves of a run that goes on after `step`; damaged lines are left out, and the report says so."""
    known = read_curves(run.metrics_file, on_damage=lambda line, reason: None) if step else {}
    return {key: [point for point in known.get(key, []) if point[0] <= step] for key in ("loss", "eval_loss")}


def _report(
    setup: Setup, done: StepFigures, outcome: Outcome, progress: Progress, metrics: MetricsLog, total: int
) -> None:
    """Tell what a step came to: the outcome, whoever watches, and metrics.jsonl where the step is one to be logged."""
    step, memory = outcome.step, peak_memory_bytes(setup.world.device)
    outcome.losses.append(done.loss)
    progress.update(
        step, done.loss, useful_tokens=int(done.useful), computed_tokens=int(done.computed), memory_bytes=memory
    )
    if step % setup.recipe.logging_steps and step != total:
        return
    outcome.curves["loss"].append((step, done.loss))
    if setup.world.first:
        metrics.write(
            step,
            loss=done.loss,
            learning_rate=setup.recipe.learning_rate * setup.factor(step - 1),
            grad_norm=done.gradient_norm,
            tokens_per_second=done.useful / done.seconds,
            computed_tokens_per_second=done.computed / done.seconds,
            peak_memory_bytes=memory,
        )


def row_loss(setup: Setup, row: Row) -> torch.Tensor:
    """Summed loss of one row, before the division by the step's weight."""
    recipe, lm = setup.recipe, setup.trainable.lm
    smooth = recipe.label_smoothing_factor > 0
    with torch.autocast(setup.world.device.type, torch.bfloat16) if setup.autocast else nullcontext():
        hidden = hidden_states(lm, row.tree, setup.layout, noise_alpha=recipe.neftune_noise_alpha)
        loss = setup.objective(learnt_of(lm, hidden, row, want_mean=smooth))
        if row.distil is not None:
            nodes = torch.from_numpy(row.distil.nodes).to(hidden.device)
            loss = loss + _kl(setup, row.distil.tree, hidden.index_select(0, nodes))
        if recipe.kl_to_base:
            loss = loss + recipe.kl_to_base * _kl(setup, row.tree, hidden)
    return loss


def _kl(setup: Setup, tree: TokenTree, hidden: torch.Tensor) -> torch.Tensor:
    """Summed KL(base || model) over a tree's trained edges; the base is the model with its adapter switched off.

    hidden: (N, D) of the tree's nodes
    """
    lm = setup.trainable.lm
    with torch.no_grad(), setup.trainable.without_adapter():
        base = hidden_states(lm, tree, setup.layout)
    edges = trained_edges(tree, hidden.device)
    kl = kl_to_base(hidden.index_select(0, edges.parents), base.index_select(0, edges.parents), head_of(lm))
    return (kl * torch.zeros_like(kl).index_add_(0, edges.row, edges.weight)).sum()


def evaluate(setup: Setup, rows: list[Row]) -> float:
    """Mean negative log-probability of the held-out edges over all ranks, without smoothing, noise or dropout."""
    found = held_out_nll(setup.trainable.lm, rows, setup.layout, autocast=setup.autocast)
    total, weight = setup.world.sum(list(found))
    return total / weight if weight else math.nan


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory so far: of the process on a CPU, of torch's allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return process_peak()


def evaluation_rows(setup: Setup) -> list[Row] | None:
    """This rank's share of the held-out examples, laid out in rows (perhaps none); None if nothing is held out."""
    examples = setup.data.evaluation(setup.recipe.max_eval_examples)
    if not examples:
        return None
    mine = examples[setup.world.rank :: setup.world.size]
    return pack_step(mine, setup.recipe.row_tokens, share=setup.layout == "tree")


class _prefetched:
    """Step batches in order, each laid out in a thread while the one before it trains."""

    def __init__(self, setup: Setup, start: int, total: int, ahead: int = 2) -> None:
        self._setup, self._steps, self._ahead = setup, range(start, total), ahead
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pack")

    def __enter__(self) -> Iterator[StepBatch]:
        return self._iterate()

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _iterate(self) -> Iterator[StepBatch]:
        waiting: list[Future[StepBatch]] = []
        for step in self._steps:
            waiting.append(self._pool.submit(self._make, step))
            if len(waiting) > self._ahead:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()

    def _make(self, step: int) -> StepBatch:
        examples: list[Example] = self._setup.data.of_step(step)
        rows = pack_step(examples, self._setup.recipe.row_tokens, share=self._setup.layout == "tree")
        return StepBatch(step, rows, total_weight(examples), sum(len(e.ids) for e in examples))


def _require_finite_loss(setup: Setup, step: int, row: Row, loss: torch.Tensor) -> None:
    if not bool(torch.isfinite(loss)):
        raise NonFinite(
            f"the loss of step {step + 1} is {float(loss.detach())}; nothing of this step was applied",
            where=_rows_named(setup, row.sources),
            mend="look at those rows, or lower learning_rate",
        )


def _clip(setup: Setup, parameters: dict[str, nn.Parameter], batch: StepBatch) -> float:
    """Norm of the whole gradient before clipping. A norm that is not finite stops the run before the step."""
    limit = setup.recipe.max_grad_norm
    gradients = [p for p in parameters.values() if p.grad is not None]
    norm = float(torch.nn.utils.clip_grad_norm_(gradients, limit if limit > 0 else math.inf))
    if not math.isfinite(norm):
        raise NonFinite(
            f"the gradient of step {batch.step + 1} is not finite; nothing of this step was applied",
            where=_rows_named(setup, tuple(source for row in batch.rows for source in row.sources)),
            mend="look at those rows, or lower learning_rate",
        )
    return norm


def _rows_named(setup: Setup, sources: tuple[int, ...]) -> str:
    origins = [setup.data.origin(source) for source in sources]
    named = [f"{origin.file}:{origin.line}" for origin in origins if origin is not None]
    more = f" and {len(named) - 8} more" if len(named) > 8 else ""
    return ", ".join(named[:8]) + more


def _drop_gradients(parameters: dict[str, nn.Parameter]) -> None:
    """An interrupted step leaves no trace: it is trained again, whole, after resuming."""
    for parameter in parameters.values():
        parameter.grad = None


def steps_between(wanted: float | None, total: int) -> int | None:
    """Steps from one evaluation to the next; a share of all steps is rounded up, as transformers does."""
    return math.ceil(wanted * total) if wanted is not None and wanted < 1 else int(wanted) if wanted else None


def _evaluate_aside(
    setup: Setup, rows: list[Row], progress: Progress, metrics: MetricsLog, outcome: Outcome, step: int
) -> bool:
    """Evaluate after `step`, with the bar put aside meanwhile, and tell everyone; True if it is the best so far."""
    with progress.aside():
        loss = evaluate(setup, rows)
    if setup.world.first:
        metrics.write(step, eval_loss=loss, progress=step / setup.data.schedule.total_steps)
    outcome.eval_losses.append((step, loss))
    outcome.curves["eval_loss"].append((step, loss))
    # what the base can do is a comparison, not a candidate: no checkpoint of it exists
    better = step > 0 and _is_better(outcome.counters, step, loss)
    remark = " (before training)" if step == 0 else " (best so far)" if better else ""
    progress.note(f"step {step}: eval loss {loss:.4f}{remark}")
    _tell_turn(setup, progress, outcome, step)
    return better


def _tell_turn(setup: Setup, progress: Progress, outcome: Outcome, step: int) -> None:
    """Say once, at the evaluation where it is first seen, that validation has turned."""
    turn = first_turn(outcome.curves["loss"], outcome.curves["eval_loss"])
    if turn is None or turn.seen != step:
        return
    keeps = setup.recipe.load_best_model_at_end and turn.since > 0
    mend = "fewer epochs or more data help" if keeps else "load_best_model_at_end, fewer epochs or more data help"
    progress.note(
        f"WARNING: since step {turn.since} the held-out loss rises ({turn.lowest:.4f} to {turn.now:.4f}) while the "
        f"training loss falls: the rows are learnt by heart; {mend}"
    )


def _is_better(counters: Counters, step: int, loss: float) -> bool:
    """Whether this evaluation is the best so far; counted either way."""
    if counters.best_loss is None or loss < counters.best_loss:
        counters.best_loss, counters.best_step, counters.evaluations_without_better = loss, step, 0
        return True
    counters.evaluations_without_better += 1
    return False


def _save(setup: Setup, run: RunDirectory, step: int, counters: Counters) -> None:
    protect = () if counters.best_step is None or not setup.recipe.load_best_model_at_end else (counters.best_step,)
    save_checkpoint(
        run.checkpoints,
        step,
        state_tensors(setup.trainable.named_parameters(), setup.optimizers),
        {"counters": vars(counters)},
        setup.recipe.save_total_limit,
        protect,
        rank=setup.world.rank,
        barrier=setup.world.barrier,
    )
