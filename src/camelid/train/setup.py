"""From a recipe to everything that the loop needs: data, model, optimisers, schedule. No step is taken here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from camelid.config import Recipe, SourceSpec
from camelid.data.examples import Examples, flat_order
from camelid.data.ledger import Ledger
from camelid.data.pack import Example
from camelid.data.records import Origin, Record, Rejection
from camelid.data.render import Renderer
from camelid.data.schedule import StepSchedule, hold_out
from camelid.data.sources import read_records
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.adapters import Trainable, add_lora, continue_lora, freeze_all_but, merged_adapter, train_in_full
from camelid.model.fused import fuse
from camelid.model.layout import check_head, choose_layout
from camelid.model.load import Loaded, Source, load_model, resolve, source_vocabulary
from camelid.model.precision import measure_compute_dtype
from camelid.model.virtual_start import add_input_tokens, add_layer_tokens, continue_virtual_tokens, continues
from camelid.train.distributed import World
from camelid.train.objectives import Objective, objective_of
from camelid.train.optim import learning_rate_factor, make_optimizers

Say = Callable[[str], None]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class TrainingData:
    """Rows to train on and rows held out, with the ledger that accounts for each.

    units: what a step counts: rows of data under `sft`, examples under `pretrain`
    """

    units: Examples | list[Example]
    held_out: Examples | None
    renderer: Renderer
    ledger: Ledger
    schedule: StepSchedule

    def of_step(self, step: int) -> list[Example]:
        """This rank's examples of an optimiser step."""
        rows = self.schedule.step(step).tolist()
        if isinstance(self.units, list):
            return [self.units[row] for row in rows]
        return [example for row in rows for example in self.units.get(row)]

    def origin(self, source: int) -> Origin | None:
        """Where the row behind an example's `source` came from."""
        return self.units.origins[source] if isinstance(self.units, Examples) else None

    def evaluation(self, limit: int | None) -> list[Example]:
        """The held-out examples, at most `limit` of them."""
        return flat_order(self.held_out)[:limit] if self.held_out is not None else []

    @property
    def rendered(self) -> bool:
        """Whether every row has been rendered, so that the ledger is final."""
        return isinstance(self.units, list) or self.units.finished

    def close(self) -> None:
        """Stop the rendering threads."""
        for examples in (self.units, self.held_out):
            if isinstance(examples, Examples):
                examples.close()


@dataclass
class Setup:
    """A run that is ready to start."""

    recipe: Recipe
    world: World
    source: Source
    vocabulary: Vocabulary
    data: TrainingData
    trainable: Trainable
    layout: str
    objective: Objective
    optimizers: list[Optimizer]
    factor: Callable[[int], float]
    dtype: torch.dtype
    dtype_line: str
    gflops: float  # measured rate of products in `dtype`; 0 where it was not measured

    @property
    def autocast(self) -> bool:
        """Weights that are trained themselves stay in float32 and are cast for the products."""
        return self.dtype != torch.float32 and not self.trainable.has_adapter


def prepare_data(
    recipe: Recipe,
    vocabulary: Vocabulary,
    *,
    say: Say,
    reject: Callable[[Rejection], None] | None = None,
    world: World | None = None,
    now: str | None = None,
) -> TrainingData:
    """Read, hold out and start to render. Raises UserError for data that cannot be trained on.

    now: the ISO time that a template may write, for a run that goes on: when it began
    """
    world = world or World()
    ledger = Ledger(on_reject=reject)
    renderer = make_renderer(recipe, vocabulary, reject=ledger.reject, say=say, now=now)
    records, distil = _read(recipe, ledger, say)
    ledger.check(recipe.max_rejected)
    held: Sequence[Record] = []
    if recipe.eval_data is not None:
        held = list(read_records(_sources(recipe.eval_data), seed=recipe.seed, ledger=Ledger(), announce=say))
    elif recipe.eval_fraction:
        kept_rows, held_rows = hold_out(len(records), recipe.eval_fraction, recipe.seed)
        held = [records[i] for i in held_rows]
        distil = {i: distil[row] for i, row in enumerate(kept_rows.tolist()) if row in distil}
        records = [records[i] for i in kept_rows]
    if not records:
        raise UserError("no row is left to train on", where=str(recipe.data), mend="see rejected.jsonl for the reasons")
    schedule = make_schedule(recipe, len(records), world)
    units: Examples | list[Example] = Examples(
        records, renderer, schedule.order(0), reject=ledger.reject, distil=distil
    )
    if recipe.objective == "pretrain":
        units = flat_order(units)
        schedule = make_schedule(recipe, len(units), world)
    held_out = None
    if held:
        # Held-out rows are accounted for in the reading; one that cannot be rendered is only left out.
        eval_renderer = make_renderer(
            recipe, vocabulary, reject=lambda rejection: say(f"held out, skipped: {rejection}"), now=now
        )
        held_out = Examples(held, eval_renderer, range(len(held)), reject=lambda rejection: None)
    return TrainingData(units, held_out, renderer, ledger, schedule)


def read_rows(recipe: Recipe, *, say: Say) -> tuple[list[Record], Renderer, Source]:
    """The rows of `data` unrendered, with the renderer and the base that would be used."""
    source = resolve(recipe.base, accept_license=recipe.accept_license, announce=say)
    renderer = make_renderer(recipe, source_vocabulary(source))
    return list(read_records(_sources(recipe.data), seed=recipe.seed, ledger=Ledger(), announce=say)), renderer, source


def make_schedule(recipe: Recipe, units: int, world: World) -> StepSchedule:
    """The schedule that a recipe describes."""
    return StepSchedule(
        units=units,
        per_step=recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps * world.size,
        epochs=recipe.num_train_epochs,
        max_steps=recipe.max_steps,
        seed=recipe.seed,
        shuffle=recipe.shuffle,
        rank=world.rank,
        world=world.size,
    )


def make_renderer(
    recipe: Recipe,
    vocabulary: Vocabulary,
    *,
    reject: Callable[[Rejection], None] | None = None,
    say: Say | None = None,
    now: str | None = None,
) -> Renderer:
    """The one renderer of a recipe."""
    template = template_for(recipe.template, vocabulary, now=now, announce=say)
    return Renderer(vocabulary, template, recipe.max_length, recipe.train_on, recipe.cut, on_reject=reject)


def _read(recipe: Recipe, ledger: Ledger, say: Say) -> tuple[list[Record], dict[int, float]]:
    """The rows of all sources, and the weight of those that are distilled."""
    sources = [recipe.data] if isinstance(recipe.data, str) else recipe.data
    records: list[Record] = []
    distil: dict[int, float] = {}
    for source in sources:
        start = len(records)
        records += read_records(_sources([source]), seed=recipe.seed, ledger=ledger, announce=say)
        if isinstance(source, SourceSpec) and source.distil:
            distil.update(dict.fromkeys(range(start, len(records)), source.distil))
    return records, distil


def _sources(data: str | list[str | SourceSpec]) -> str | list[str | dict[str, Any]]:
    """A recipe's sources as the reader takes them."""
    if isinstance(data, str):
        return data
    return [
        source if isinstance(source, str) else source.model_dump(exclude_none=True, exclude={"distil"})
        for source in data
    ]


def prepare(
    recipe: Recipe,
    world: World,
    *,
    say: Say,
    reject: Callable[[Rejection], None] | None = None,
    began: Mapping[str, Any] | None = None,
) -> Setup:
    """Everything for a run: the data renders in its thread while the model loads.

    began: the manifest's first start, for a run that goes on: it computes and renders as it began
    """
    began = began or {}
    source = resolve(recipe.base, accept_license=recipe.accept_license, announce=say)
    vocabulary = source_vocabulary(source)
    data = prepare_data(recipe, vocabulary, say=say, reject=reject, world=world, now=began.get("now"))
    try:
        return _prepare_model(recipe, world, source, data, say, began)
    except BaseException:
        data.close()
        raise


def _prepare_model(
    recipe: Recipe, world: World, source: Source, data: TrainingData, say: Say, began: Mapping[str, Any]
) -> Setup:
    dtype, line, gflops = _compute_type(recipe, world, began)
    say(line)
    loaded: Loaded = load_model(
        replace(source, adapter_directory=None),
        dtype=dtype if recipe.has_adapter else torch.float32,
        from_scratch=recipe.from_scratch,
        seed=recipe.seed,
        announce=say,
    )
    model: nn.Module = nn.Module.to(loaded.model, world.device)
    adapter = None if recipe.from_scratch else source.adapter_directory
    if adapter is not None and not continues(recipe.method, adapter):
        if recipe.has_adapter:
            raise UserError(
                f"the base is an adapter already, and one of method {recipe.method} on top of it could not be loaded",
                where=recipe.base,
                mend="train on its own base, or on both merged: camelid export --format hf",
            )
        model = merged_adapter(model, adapter)
        say(f"the adapter {adapter} is merged into the base")
        adapter = None
    fuse(model)
    layout, reason = choose_layout(model, recipe.layout)
    say(f"layout: {layout} ({reason})")
    trainable = make_trainable(recipe, model, data.renderer.vocabulary, adapter)
    trained, everything = trainable.count()
    say(f"method: {recipe.method}, {trained:,} of {everything:,} parameters trained ({trained / everything:.2%})")
    if recipe.warmup_steps >= data.schedule.total_steps:
        say(
            f"WARNING: warmup_steps {recipe.warmup_steps} is no less than the {data.schedule.total_steps} steps here, "
            "so the learning rate never reaches its peak; warmup_ratio is a share of them"
        )
    if layout == "tree" and (gap := check_head(trainable.lm)) > 0.05:
        raise UserError(f"the head of {type(model).__name__} does more than the configuration says (off by {gap:.1e})")
    if recipe.gradient_checkpointing:
        trainable.lm.activation_checkpointing_enable()  # type: ignore[operator]
        trainable.lm.enable_input_require_grads()  # type: ignore[operator]
    trainable.lm.train()
    parameters = trainable.named_parameters()
    embedding = model.get_input_embeddings().weight  # type: ignore[operator]
    head = model.get_output_embeddings().weight  # type: ignore[operator]
    embeddings = {name for name, p in parameters.items() if p is embedding or p is head}
    return Setup(
        recipe=recipe,
        world=world,
        source=source,
        vocabulary=data.renderer.vocabulary,
        data=data,
        trainable=trainable,
        layout=layout,
        objective=objective_of(recipe),
        optimizers=make_optimizers(recipe, parameters, embeddings=embeddings),
        factor=learning_rate_factor(recipe, data.schedule.total_steps),
        dtype=dtype,
        dtype_line=line,
        gflops=gflops,
    )


def _compute_type(recipe: Recipe, world: World, began: Mapping[str, Any]) -> tuple[torch.dtype, str, float]:
    """(type, one line for the log, measured GFLOP/s): ranks agree on one type, and so do the starts of a run."""
    if recipe.dtype != "auto":
        return _DTYPES[recipe.dtype], f"compute type: {recipe.dtype} (as asked)", 0.0
    if chosen := began.get("dtype", {}).get("chosen"):
        return _DTYPES[chosen], f"compute type: {chosen} (as this run began)", 0.0
    measured = measure_compute_dtype(device=world.device)
    chosen = torch.bfloat16 if world.max(float(measured.dtype == torch.bfloat16)) else torch.float32
    rate = measured.gflops_bfloat16 if chosen == torch.bfloat16 else measured.gflops_float32
    return chosen, str(measured), rate


def make_trainable(recipe: Recipe, model: nn.Module, vocabulary: Vocabulary, adapter: Path | None = None) -> Trainable:
    """Choose the weights that the recipe's method trains; a method of adapters goes on with `adapter` if given."""
    seed = recipe.seed
    if recipe.method == "lora":
        return (
            continue_lora(model, adapter, recipe.lora)
            if adapter is not None
            else add_lora(model, recipe.lora, seed=seed)
        )
    if recipe.method == "freeze":
        return freeze_all_but(model, recipe.freeze)
    if recipe.method == "full":
        return train_in_full(model)
    if adapter is not None:
        return continue_virtual_tokens(model, adapter)
    if recipe.method in ("prompt", "ptuning"):
        encoded = recipe.method == "ptuning"
        return add_input_tokens(model, recipe.prompt, encoded=encoded, vocabulary=vocabulary, seed=seed)
    projection = recipe.prefix_projection
    return add_layer_tokens(model, recipe.prefix, projection=projection, vocabulary=vocabulary, seed=seed)
