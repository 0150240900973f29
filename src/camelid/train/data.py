"""From a recipe to the rows that are trained on and those that are held out, rendered; without any model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from camelid.config import Recipe
from camelid.data.examples import Examples, flat_order
from camelid.data.groups import group_rows, hold_out, told
from camelid.data.ledger import Ledger
from camelid.data.pack import Example
from camelid.data.records import Origin, Record, Rejection
from camelid.data.render import Renderer, TrainOn
from camelid.data.schedule import StepSchedule, nested_share
from camelid.data.sources import read_records
from camelid.data.tasks.asking import Asker, language_of
from camelid.data.tasks.names import named, unused
from camelid.data.tasks.read import read_task_records
from camelid.data.tasks.records import TaskRecord
from camelid.data.tasks.render import TaskRenderer, labels_of
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.load import Source, resolve, source_vocabulary
from camelid.model.task_info import TaskInfo
from camelid.recipe_sections import OWN, SourceSpec
from camelid.train.distributed import World

Say = Callable[[str], None]
Rehearse = Callable[[int], Path]


@dataclass(frozen=True)
class Asked:
    """A task that is learnt by answering: what it is, how it is asked, and the rows held out as far as they fit."""

    info: TaskInfo
    asker: Asker
    held: list[TaskRecord]


@dataclass
class TrainingData:
    """Rows to train on and rows held out, with the ledger that accounts for each.

    units: what a step counts: rows of data under `sft`, examples under `pretrain` and of tasks with classes
    task: the classes that are learnt; None where tokens are. origins: of `units`, where those are a list of rows
    asked: the task whose classes are learnt as answers; None for any other
    """

    units: Examples | list[Example]
    held_out: Examples | list[Example] | None
    renderer: Renderer
    ledger: Ledger
    schedule: StepSchedule
    task: TaskInfo | None = None
    origins: list[Origin] = field(default_factory=list)
    asked: Asked | None = None

    def of_step(self, step: int) -> list[Example]:
        """This rank's examples of an optimiser step."""
        rows = self.schedule.step(step).tolist()
        if isinstance(self.units, list):
            return [self.units[row] for row in rows]
        return [example for row in rows for example in self.units.get(row)]

    def origin(self, source: int) -> Origin | None:
        """Where the row behind an example's `source` came from."""
        origins = self.units.origins if isinstance(self.units, Examples) else self.origins
        return origins[source] if source < len(origins) else None

    def evaluation(self, limit: int | None) -> list[Example]:
        """The held-out examples, at most `limit` of them."""
        held = flat_order(self.held_out) if isinstance(self.held_out, Examples) else self.held_out
        return (held or [])[:limit]

    @property
    def rendered(self) -> bool:
        """Whether every row has been rendered, so that the ledger is final."""
        return isinstance(self.units, list) or self.units.finished

    def close(self) -> None:
        """Stop the rendering threads."""
        for examples in (self.units, self.held_out):
            if isinstance(examples, Examples):
                examples.close()


def prepare_data(
    recipe: Recipe,
    vocabulary: Vocabulary,
    *,
    say: Say,
    reject: Callable[[Rejection], None] | None = None,
    world: World | None = None,
    now: str | None = None,
    rehearse: Rehearse | None = None,
) -> TrainingData:
    """Read, hold out and start to render. Raises UserError for data that cannot be trained on.

    now: the ISO time that a template may write, for a run that goes on: when it began
    rehearse: gives a file with so many rows of the base's own, for replay.data=own; without it they are left out
    """
    world = world or World()
    ledger = Ledger(on_reject=reject)
    if recipe.task != "chat":
        return _prepare_classes(recipe, vocabulary, ledger, world, say, now)
    renderer = make_renderer(recipe, vocabulary, reject=ledger.reject, say=say, now=now)
    records, distil = _read(recipe, ledger, say)
    ledger.check(recipe.max_rejected)
    held: Sequence[Record] = []
    if recipe.eval_data is not None:
        held = list(read_records(_sources(recipe.eval_data), seed=recipe.rows_seed, ledger=Ledger(), announce=say))
    kept_rows, held_rows = _split(recipe, records, say)
    held = [*held, *(records[i] for i in held_rows)]
    kept_rows = kept_rows[_share(recipe, len(kept_rows), say)]
    distil = {i: distil[row] for i, row in enumerate(kept_rows.tolist()) if row in distil}
    records = [records[i] for i in kept_rows]
    if not records:
        raise UserError("no row is left to train on", where=str(recipe.data), mend="see rejected.jsonl for the reasons")
    replayed = _replayed(recipe, len(records), rehearse, ledger, say)
    if recipe.replay_distil:
        distil.update(dict.fromkeys(range(len(records), len(records) + len(replayed)), recipe.replay_distil))
    records += replayed
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


def _prepare_classes(
    recipe: Recipe, vocabulary: Vocabulary, ledger: Ledger, world: World, say: Say, now: str | None
) -> TrainingData:
    """Rows of labelled text, rendered at once: their classes must be known before the first step."""

    def read(sources: str | list[str | dict[str, Any]], into: Ledger) -> list[TaskRecord]:
        return read_task_records(sources, recipe.task, recipe.columns, seed=recipe.rows_seed, ledger=into, announce=say)

    records = read(_sources(recipe.data), ledger)
    if missing := unused(records, recipe.label_names):
        say(f"WARNING: label_names: no row has {', '.join(missing[:8])}")
    records = named(records, recipe.label_names)
    held: list[TaskRecord] = []
    if recipe.eval_data is not None:
        held = named(read(_sources(recipe.eval_data), Ledger()), recipe.label_names)
    kept_rows, held_rows = _split(recipe, records, say)
    held += [records[i] for i in held_rows]
    records = [records[i] for i in kept_rows]
    language = "" if recipe.has_head else language_of(records)
    # of all rows, so that every share is scored on the same classes
    info = TaskInfo(recipe.task, labels_of(records), recipe.task_form, language, recipe.label_names)
    records = [records[i] for i in _share(recipe, len(records), say)]
    chat = make_renderer(recipe, vocabulary, say=say, now=now)
    renderer = TaskRenderer(vocabulary, info.labels, recipe.max_length)
    if not recipe.has_head:
        renderer = make_asker(info, chat, recipe.max_length, recipe.train_on)
    examples, kept = renderer.render(records, ledger.reject)
    ledger.check(recipe.max_rejected)
    if not examples:
        raise UserError("no row is left to train on", where=str(recipe.data), mend="see rejected.jsonl for the reasons")
    held_out, shown_held = renderer.render(held, lambda rejection: say(f"held out, skipped: {rejection}"))
    shown = ", ".join(info.labels[:8]) + (f" and {len(info.labels) - 8} more" if len(info.labels) > 8 else "")
    say(f"classes: {len(info.labels)} ({shown})")
    data = TrainingData(examples, held_out or None, chat, ledger, make_schedule(recipe, len(examples), world))
    data.origins = [record.origin for record in kept]
    if isinstance(renderer, Asker):
        say(
            f"asked: {renderer.question(kept[0]).messages[0].content[:200]!r} -> {renderer.right_answer(kept[0])!r:.80}"
        )
        data.asked = Asked(info, renderer, shown_held)
    else:
        data.task = info
    return data


def make_asker(info: TaskInfo, chat: Renderer, max_length: int, train_on: TrainOn = "all") -> Asker:
    """Asks a task's questions in the template of a chat."""
    return Asker(
        chat.vocabulary,
        chat.template,
        task=info.task,
        form=info.form,
        labels=info.labels,
        language=info.language,
        max_length=max_length,
        train_on=train_on,
    )


def _split(recipe: Recipe, records: Sequence[Record] | Sequence[TaskRecord], say: Say) -> tuple[np.ndarray, np.ndarray]:
    """(indices kept to train on, indices held out), ascending: no group is on both sides. Raises UserError."""
    if recipe.eval_data is not None or not recipe.eval_fraction:
        return np.arange(len(records)), np.arange(0)
    groups = group_rows(records)
    kept, held = hold_out(groups, recipe.eval_fraction, recipe.rows_seed)
    if len(records) > 1 and not len(held):
        raise UserError(
            f"no row can be held out: all {len(records):,} belong to one conversation or ask the same",
            where=str(recipe.data),
            mend="give other rows as eval_data, or set eval_fraction=0",
        )
    say(told(groups, held))
    return kept, held


def _share(recipe: Recipe, count: int, say: Say) -> np.ndarray:
    """Indices, ascending, of the share of `count` rows that is trained on."""
    if recipe.train_fraction == 1 or not count:
        return np.arange(count)
    chosen = nested_share(count, recipe.train_fraction, recipe.seed)
    say(f"train_fraction: {len(chosen):,} of {count:,} rows")
    return chosen


def read_rows(recipe: Recipe, *, say: Say) -> tuple[list[Record], Renderer, Source]:
    """The rows of `data` unrendered, with the renderer and the base that would be used."""
    source = resolve(recipe.base, accept_license=recipe.accept_license, announce=say)
    renderer = make_renderer(recipe, source_vocabulary(source))
    return (
        list(read_records(_sources(recipe.data), seed=recipe.rows_seed, ledger=Ledger(), announce=say)),
        renderer,
        source,
    )


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
        records += read_records(_sources([source]), seed=recipe.rows_seed, ledger=ledger, announce=say)
        if isinstance(source, SourceSpec) and source.distil:
            distil.update(dict.fromkeys(range(start, len(records)), source.distil))
    return records, distil


def _replayed(recipe: Recipe, count: int, rehearse: Rehearse | None, ledger: Ledger, say: Say) -> list[Record]:
    """The rows to rehearse beside `count` rows: their share of all, drawn by the seed; few are drawn several times."""
    settings = recipe.replay
    if settings.data is None:
        return []
    wanted = max(1, round(count * settings.share / (1 - settings.share)))
    if settings.data != OWN:
        sources = _sources(settings.data)
    elif rehearse is not None:
        sources = str(rehearse(wanted))
    else:
        say("replay: the base's own rows are made by camelid train; left out here")
        return []
    rows = list(read_records(sources, seed=recipe.seed, ledger=ledger, announce=say))
    if not rows:
        raise UserError("there is no row to rehearse", where="replay.data")
    times, rest = divmod(wanted, len(rows))
    drawn = np.sort(np.random.default_rng([recipe.seed, 0x4E91A]).permutation(len(rows))[:rest])
    how = "its own distribution" if recipe.replay_distil else "their text"
    say(f"replay: {wanted:,} rows beside {count:,}, drawn from {len(rows):,}; learnt is {how}")
    return rows * times + [rows[i] for i in drawn]


def _sources(data: str | list[str | SourceSpec]) -> str | list[str | dict[str, Any]]:
    """A recipe's sources as the reader takes them."""
    if isinstance(data, str):
        return data
    return [
        source if isinstance(source, str) else source.model_dump(exclude_none=True, exclude={"distil"})
        for source in data
    ]
