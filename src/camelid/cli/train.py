"""`camelid train`: wire recipe, run directory, data, model, loop and result together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from camelid.cli.console import print_json, quiet, say
from camelid.cli.retention import for_report, measure_after, measure_before, tell
from camelid.config import Recipe, load_recipe
from camelid.data.records import Rejection
from camelid.errors import UserError
from camelid.evaluate.answered import answer_records, score_answered
from camelid.evaluate.tasks import ClassScore, TagScore, predict, score
from camelid.runs.directory import RunDirectory
from camelid.runs.manifest import describe_files, hash_text, make_manifest
from camelid.runs.prices import PRICES
from camelid.runs.progress import Progress
from camelid.runs.report_data import TaskScore
from camelid.runs.turning import Best, best_evaluation, first_turn
from camelid.train.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, set_aside_after
from camelid.train.distributed import World, joined_world
from camelid.train.finish import Saved, save_final
from camelid.train.interrupt import Interrupts, stop_at_end_of_input
from camelid.train.loop import Outcome, SilentProgress, peak_memory_bytes
from camelid.train.loop import train as train_loop
from camelid.train.rehearsal import write_own_rows
from camelid.train.setup import Setup, prepare


@dataclass
class Run:
    """A run that is set up and locked."""

    setup: Setup
    directory: RunDirectory
    checkpoint: Checkpoint | None
    say: Callable[[str], None]
    task_score: ClassScore | TagScore | None = None  # on the held-out rows, of a task with classes
    retention: dict[str, Any] | None = None  # what was forgotten


def train(path: Path, overrides: Sequence[str], *, as_json: bool, attached: bool = False) -> int:
    """Train by a recipe file; the exit code. attached: save and stop when standard input ends."""
    recipe = load_recipe(path, overrides)
    if attached:
        stop_at_end_of_input()
    with joined_world() as world, Interrupts() as interrupts, opened_run(recipe, world, interrupts) as run:
        before = measure_before(run.setup, run.directory, fresh=run.checkpoint is None, say=run.say)
        progress = Progress("silent" if as_json else "auto") if world.first else SilentProgress()
        outcome = train_loop(run.setup, run.directory, progress, interrupts, run.checkpoint)
        progress.close()
        tell_rows(run)
        if outcome.stopped == "interrupted":
            run.say(f"saved after step {outcome.step}; the same command goes on from there")
            return interrupts.exit_code
        saved = finish(run, outcome)
        run.task_score = _task_score(run)
        run.retention = measure_after(run.setup, before)
        summary = summarise(run, outcome, saved)
        if world.first:
            write_run_report(run, summary, retention=for_report(run.retention), score=_score_for_report(run.task_score))
            if run.retention is not None:
                tell(run.retention, run.say)
            tell_end(run, summary)
            if as_json:
                print_json(summary)
    return 0


@contextmanager
def opened_run(
    recipe: Recipe, world: World, interrupts: Interrupts, *, speak: Callable[[str], None] = say
) -> Iterator[Run]:
    """Lock the run directory, prepare everything, find the checkpoint to go on from."""
    speak = speak if world.first else quiet
    with _directory(recipe, world, speak) as directory:
        rejected = directory.rejected() if world.first else None

        def note(rejection: Rejection) -> None:
            if rejected is not None:
                rejected.write(asdict(rejection))

        def rehearse(count: int) -> Path:
            if world.first and not directory.replay_file.is_file():
                write_own_rows(recipe, count, directory.replay_file, speak)
            world.barrier()
            return directory.replay_file

        began = directory.first_start()
        setup = prepare(recipe, world, say=speak, reject=note, began=began, rehearse=rehearse)
        try:
            interrupts.check()
            if world.first:
                directory.record(_manifest(setup))
            checkpoint = _checkpoint(recipe, directory, world, speak)
            yield Run(setup, directory, checkpoint, speak)
        finally:
            setup.data.close()
            if rejected is not None:
                rejected.close()


@contextmanager
def _directory(recipe: Recipe, world: World, speak: Callable[[str], None]) -> Iterator[RunDirectory]:
    values = recipe.model_dump(mode="json")
    if world.first:
        with RunDirectory.create(recipe.output_dir, recipe.resume, recipe=values, announce=speak) as directory:
            world.barrier()
            yield directory
    else:
        world.barrier()
        yield RunDirectory.open(recipe.output_dir)


def _checkpoint(
    recipe: Recipe, directory: RunDirectory, world: World, speak: Callable[[str], None]
) -> Checkpoint | None:
    """The checkpoint to go on from. One that is damaged is named, and the one before it is taken."""

    def damaged(path: Path, reason: str) -> None:
        speak(f"WARNING: {path.name} is damaged ({reason}); trying the one before")

    if recipe.resume not in ("auto", "no"):
        checkpoint: Checkpoint | None = load_checkpoint(Path(recipe.resume))
    else:
        checkpoint = latest_checkpoint(directory.checkpoints, on_damage=damaged)
    step = checkpoint.step if checkpoint else 0
    world.barrier()
    if world.first:
        for aside in set_aside_after(directory.checkpoints, step):
            speak(f"put aside: {aside.name}")
    if checkpoint is not None:
        speak(f"resuming after step {step} ({checkpoint.path})")
    return checkpoint


def _manifest(setup: Setup) -> dict[str, Any]:
    data = setup.data
    template = data.renderer.template
    weights = sorted(setup.source.directory.glob("*.safetensors"))
    base = {"label": setup.source.label, "license": setup.source.license, "files": describe_files(weights)}
    if setup.recipe.quantization != "none":
        base["quantization"] = setup.recipe.quantization
    return make_manifest(
        data=describe_files([Path(f.file) for f in data.ledger.files if Path(f.file).is_file()]),
        eval_data=[],
        template={"name": template.name, "sha256": hash_text(template.source)},
        base=base,
        seed=setup.recipe.seed,
        dtype={"chosen": str(setup.dtype).removeprefix("torch."), "line": setup.dtype_line},
        now=template.now,
    )


def tell_rows(run: Run) -> None:
    """The promise that every row is accounted for, as numbers."""
    data = run.setup.data
    ledger = data.ledger
    whole = "" if data.rendered else " so far"
    run.say(f"rows{whole}: {ledger.read:,} read = {ledger.kept:,} kept + {ledger.rejected:,} rejected")
    if ledger.rejected:
        run.say(f"rejected: {ledger.top_reasons()} (all in {run.directory.rejected_file})")


def finish(run: Run, outcome: Outcome) -> Saved | None:
    """Load the best weights if the recipe asks for them; write and prove `final/` (first rank)."""
    setup, counters = run.setup, outcome.counters
    if setup.recipe.load_best_model_at_end and counters.best_step not in (None, outcome.step):
        best = load_checkpoint(run.directory.checkpoints / f"step-{counters.best_step}")
        from camelid.train.state import restore_tensors

        restore_tensors({"weights": best.tensors["weights"]}, setup.trainable.named_parameters(), [])
        run.say(f"best evaluation: step {counters.best_step}, loss {counters.best_loss:.4f}; its weights are kept")
    elif best := best_evaluation(outcome.curves["eval_loss"]):
        _tell_lost(best, run.say)
    saved = save_final(setup, run.directory) if setup.world.first else None
    setup.world.barrier()
    return saved


def _tell_lost(best: Best, speak: Callable[[str], None]) -> None:
    """That the last weights, which are saved, are not the best ones."""
    if best.step == 0:
        speak(f"WARNING: the base did better on the held-out rows than what was trained: {best.loss:.4f} to "
              f"{best.last_loss:.4f}; a lower learning_rate or other data may help")  # fmt: skip
        return
    speak(
        f"WARNING: the best evaluation was that of step {best.step}, loss {best.loss:.4f}; the last one is worse by "
        f"{best.lost:.4f}; load_best_model_at_end=true keeps the best weights"
    )


def summarise(run: Run, outcome: Outcome, saved: Saved | None) -> dict[str, Any]:
    """What happened, as JSON values."""
    ledger, counters = run.setup.data.ledger, outcome.counters
    trained, parameters = run.setup.trainable.count()
    turn = first_turn(outcome.curves["loss"], outcome.curves["eval_loss"])
    return {
        "run": str(run.directory.path),
        "final": str(run.directory.final),
        "steps": outcome.step,
        "stopped": outcome.stopped,
        "loss": outcome.losses[-1] if outcome.losses else None,
        "eval_losses": outcome.eval_losses,
        "validation_turned": asdict(turn) if turn else None,
        "rows": {"read": ledger.read, "kept": ledger.kept, "rejected": ledger.rejected},
        "train_rows": run.setup.data.schedule.units,
        "useful_tokens": counters.useful_tokens,
        "computed_tokens": counters.computed_tokens,
        "trained_tokens": round(counters.trained_tokens),
        "seconds": counters.seconds,
        "check": saved.check if saved else None,
        "saved_bytes": saved.bytes if saved else None,
        "trained_parameters": trained,
        "parameters": parameters,
        "peak_memory_bytes": peak_memory_bytes(run.setup.world.device),
        **({"score": asdict(run.task_score)} if run.task_score else {}),
        **({"retention": run.retention} if run.retention else {}),
    }


def _task_score(run: Run) -> ClassScore | TagScore | None:
    """The held-out rows of a task with classes, scored by the model as it is now."""
    setup, data = run.setup, run.setup.data
    held = data.evaluation(setup.recipe.max_eval_examples)
    if not held or (data.task is None and data.asked is None):
        return None
    lm, how = setup.trainable.lm, {"row_tokens": setup.recipe.row_tokens, "autocast": setup.autocast}
    if data.asked is not None:
        run.say(f"asking about {len(held):,} held-out rows ...")
        asker, records = data.asked.asker, data.asked.held[: len(held)]
        result = score_answered(asker, records, answer_records(lm, asker, records, setup.layout, **how))
    else:
        assert data.task is not None
        result = score(data.task, held, predict(lm, held, setup.layout, **how))
    run.say(f"held out: {result}")
    return result


def _score_for_report(score: ClassScore | TagScore | None) -> TaskScore | None:
    """The same for report.html."""
    if score is None:
        return None
    tagged = isinstance(score, TagScore)
    value = score.f1 if isinstance(score, TagScore) else score.accuracy
    return TaskScore("f1" if tagged else "accuracy", value, score.interval, score.texts, score.by_class)


def tell_end(run: Run, summary: dict[str, Any]) -> None:
    """The closing lines: what was saved, how it was checked, what to do next."""
    useful, computed = summary["useful_tokens"], summary["computed_tokens"]
    if computed:
        run.say(f"tokens: {useful:,} useful, {computed:,} computed ({1 - computed / useful:.0%} shared)")
    run.say(f"saved: {summary['final']} ({summary['check']})")
    run.say(f"report: {run.directory.report_file}")
    data = run.setup.data
    if data.task is not None or data.asked is not None:
        run.say(f"score it on other rows: camelid eval {run.directory.path} FILE")
    if data.task is not None:
        return
    run.say(f"talk to it: camelid chat {run.directory.path}")
    run.say(f"in a browser, beside its base: camelid serve {run.directory.path}")


def write_run_report(run: Run, summary: dict[str, Any], **parts: Any) -> None:
    """report.html. A report that cannot be written does not undo a run, but it is said."""
    from camelid.runs.report import write_report
    from camelid.runs.report_data import Cost, Sharing

    useful, computed = summary["useful_tokens"], summary["computed_tokens"]
    cost = Cost(summary["seconds"], useful, computed, peak_memory_bytes(run.setup.world.device), PRICES)
    sharing = Sharing(separate=useful, tree=computed, trained=summary["trained_tokens"])
    try:
        write_report(run.directory, cost=cost, sharing=sharing, **parts)
    except UserError as error:
        run.say(f"WARNING: no report: {error}")
