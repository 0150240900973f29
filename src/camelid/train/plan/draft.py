"""From a recipe to its plan: data rendered, a model without memory, a step rehearsed, a few layers timed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from camelid.config import Recipe
from camelid.data.pack import Row
from camelid.data.records import Conversation
from camelid.data.skills.replay import load_replay
from camelid.data.tree import build_tree
from camelid.generate.local import ids_of
from camelid.model.adapters import Trainable
from camelid.model.class_head import learnt_of
from camelid.model.layout import hidden_states
from camelid.model.load import check_vocabulary, source_vocabulary
from camelid.model.precision import Measurement, measure_compute_dtype
from camelid.runs.memory import give_back_memory, resident_memory
from camelid.train.data import Say, TrainingData, prepare_data
from camelid.train.distributed import World
from camelid.train.loop import steps_between
from camelid.train.objectives import objective_of
from camelid.train.plan import pace as paces
from camelid.train.plan.disk import Disk, disk_of, saved_bytes
from camelid.train.plan.exam import answering, compiled_bytes, compiled_products
from camelid.train.plan.ledger import Ledger, Moment, without_memory
from camelid.train.plan.locate import Located
from camelid.train.plan.machines import Machine
from camelid.train.plan.memory import (
    NOTHING,
    Compiled,
    Heap,
    Memory,
    Weights,
    file_of,
    holes_of,
    memory_of,
    stretches_of,
)
from camelid.train.plan.pace import Pace
from camelid.train.plan.phases import Phases, Work, rehearse
from camelid.train.plan.shadow import Sizes, build, depths, drawn, filled, names_layers, read_base, sizes, stand_in
from camelid.train.plan.work import Workload, sample_of, workload
from camelid.train.setup import Setup, optimizers_of

_TYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}
_CACHE = int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"])  # compiled products that oneDNN keeps (model/__init__.py)
_PASSAGE = 512  # tokens of general text that are read at once when forgetting is measured
_TIMED = 4  # rows
_SHARE = 0.4  # of the free memory that the timed models may take


@dataclass(frozen=True)
class Exam:
    """What a run that measures forgetting asks: questions (as text of a base that only continues it), and the longest
    answer in tokens."""

    questions: Sequence[Conversation | str]
    new_tokens: int


@dataclass(frozen=True)
class Plan:
    """What a recipe needs on a machine."""

    recipe: Recipe
    machine: Machine
    sizes: Sizes
    work: Workload
    dtype: torch.dtype
    memory: Memory
    disk: Disk
    pace: Pace
    effort: tuple[Work, Work]  # of the longest row, of an update

    @property
    def fits(self) -> bool:
        """Whether the memory is enough."""
        return self.memory.peak <= self.machine.memory

    @property
    def seconds(self) -> float:
        """Of the steps, as a run counts them: without evaluations, checkpoints and what measures forgetting."""
        touching = self.machine.touched * self.memory.stepping
        return self.pace.rows(self.work.computed, self.work.trained) + self.work.steps * self.pace.update + touching

    @property
    def evaluation(self) -> float:
        """Seconds of all evaluations: a forward pass is a third of a step."""
        if not self.work.held_out:
            return 0.0
        every = steps_between(self.recipe.eval_steps, self.work.steps)
        times = 2 + (self.work.steps // every if every else 0)
        learnt = self.work.held_out * self.work.trained / self.work.computed
        return times * self.pace.rows(self.work.held_out, learnt) / 3


class Drafter:
    """Plans recipes of one base for one machine; what they share is found once. Close it in the end."""

    def __init__(
        self,
        found: Located,
        machine: Callable[[dict[torch.dtype, float]], Machine],
        exam: Exam,
        say: Say,
        scratch: Path,
    ):
        self._found, self._exam, self._say, self._scratch = found, exam, say, scratch
        self._measured: Measurement = measure_compute_dtype(device="cpu")
        rates = {
            torch.float32: self._measured.gflops_float32 * 1e9,
            torch.bfloat16: self._measured.gflops_bfloat16 * 1e9,
        }
        self.machine = machine(rates)
        self._base = read_base(found.source.directory, found.source.adapter_directory)
        self._vocabulary = source_vocabulary(found.source)
        self._floor = 0
        self._each: dict[torch.dtype, float] = {}

    def plan(self, recipe: Recipe, *, timed: Plan | None = None) -> Plan:
        """Everything about one recipe. timed: a plan of the same base whose pace is drawn upon, not measured again.

        Raises UserError for data or a base that cannot be trained on.
        """
        say = self._say if timed is None else lambda line: None
        data = prepare_data(recipe, self._vocabulary, say=say, rehearse=self._stand_ins)
        try:
            return self._plan(recipe, data, timed)
        finally:
            data.close()

    def _stand_ins(self, count: int) -> Path:
        """Answers of another base in the place of this one's own, which it has not written yet."""
        rows = load_replay()
        path = self._scratch / "replay.jsonl"
        lines = [
            json.dumps({"messages": [{"role": m.role, "content": m.content} for m in rows[i % len(rows)].messages]})
            for i in range(count)
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def _plan(self, recipe: Recipe, data: TrainingData, timed: Plan | None) -> Plan:
        dtype = self._dtype(recipe)
        whole, layout = self._built(recipe, data, dtype, self._base.layers)
        rows: Tensor = whole.lm.get_input_embeddings().weight  # type: ignore[operator]
        check_vocabulary(len(rows), data.renderer.vocabulary, self._found.source, lambda line: None)
        work = workload(recipe, data, layout)
        if not self._floor:  # the program with the data, before a model of a few layers has run in it
            give_back_memory()
            self._floor = resident_memory()

        def counted(depth: int) -> Sizes:
            return sizes(self._built(recipe, data, dtype, depth)[0])

        two = depths(self._base, recipe, counted)
        phases, of_row, of_update, scoring = self._rehearsed(recipe, data, dtype, work, two)
        if timed is None:
            pace = self._pace(recipe, data, dtype, work, of_row, of_update)
        else:
            pace = self._scaled(timed, of_row, of_update, work, dtype)
        saved = saved_bytes(whole)
        exam, compiled = self._answering(recipe, data, dtype, of_row.products * work.lengths)
        life = stretches_of(
            phases,
            self._weights(recipe, dtype, phases),
            adapter=recipe.has_adapter,
            exam=exam,
            scoring=scoring,
            compiled=compiled,
        )
        heap = None if self.machine.gpu else Heap(self._floor, holes_of(work.lengths, dtype))
        memory = memory_of(phases, life, heap)
        disk = disk_of(recipe, work.steps, phases, saved, self._found)
        return Plan(recipe, self.machine, sizes(whole), work, dtype, memory, disk, pace, (of_row, of_update))

    def _dtype(self, recipe: Recipe) -> torch.dtype:
        if recipe.dtype != "auto":
            return {"float32": torch.float32, "bfloat16": torch.bfloat16}[recipe.dtype]
        if self.machine.gpu:
            return torch.bfloat16 if torch.bfloat16 in self.machine.flops else torch.float32
        return self._measured.dtype

    def _built(self, recipe: Recipe, data: TrainingData, dtype: torch.dtype, depth: int) -> tuple[Trainable, str]:
        return build(recipe, self._base, data.renderer.vocabulary, data.task, dtype, depth, gpu=self.machine.gpu)

    def _setup(
        self,
        recipe: Recipe,
        data: TrainingData,
        dtype: torch.dtype,
        built: tuple[Trainable, str],
        make: Callable[[Tensor], Tensor],
    ) -> Setup:
        """A run's setup over a model that was built on `meta`, with memory behind its tensors as `make` gives it."""
        trainable, layout = built
        filled(trainable, make)
        return Setup(
            recipe=recipe,
            world=World(),
            source=self._found.source,
            vocabulary=data.renderer.vocabulary,
            data=data,
            trainable=trainable,
            layout=layout,
            objective=objective_of(recipe),
            optimizers=optimizers_of(recipe, trainable),
            factor=lambda step: 1.0,
            dtype=dtype,
            dtype_line="",
            gflops=0.0,
        )

    def _rehearsed(
        self,
        recipe: Recipe,
        data: TrainingData,
        dtype: torch.dtype,
        work: Workload,
        two: tuple[int, int],
    ) -> tuple[Phases, Work, Work, Moment | None]:
        """(memory, work of the longest row, of an update, memory of reading general text) of the whole depth."""
        results = [self._at_depth(recipe, data, dtype, work, depth) for depth in dict.fromkeys(two)]
        steps = 0.0 if len(results) == 1 else (self._base.layers - two[0]) / (two[1] - two[0])
        (phases, row, update, read), (phases2, row2, update2, read2) = results[0], results[-1]
        reading = None if read is None or read2 is None else read.towards(read2, steps)
        return phases.towards(phases2, steps), row.towards(row2, steps), update.towards(update2, steps), reading

    def _answering(
        self, recipe: Recipe, data: TrainingData, dtype: torch.dtype, products: float
    ) -> tuple[Moment | None, Compiled]:
        """(memory of answering questions, what is compiled). products: how many the steps compile."""
        each = 0.0 if self.machine.gpu else self._compiled_bytes(dtype)
        steps = each * min(products, _CACHE)
        if not recipe.retention or recipe.from_scratch:
            return None, Compiled(0, steps, steps)
        if recipe.has_head:
            return NOTHING, Compiled(0, steps, steps)
        prompts = [ids_of(data.renderer, question) for question in self._exam.questions]
        built = self._built(recipe, data, dtype, self._base.layers)
        with without_memory():
            setup = self._setup(recipe, data, dtype, built, stand_in)
            most = answering(setup.trainable, setup.layout, prompts, self._exam.new_tokens)
            count = compiled_products(setup.trainable, setup.layout, prompts, self._exam.new_tokens)
        alone = count // 3 if setup.trainable.peft is not None else count  # without the adapter's
        return most, Compiled(*(each * min(number, _CACHE) for number in (alone, alone + products, count + products)))

    def _compiled_bytes(self, dtype: torch.dtype) -> float:
        """Measured once a type: what is compiled already costs nothing."""
        if dtype not in self._each:
            self._each[dtype] = compiled_bytes(dtype)
        return self._each[dtype]

    def _weights(self, recipe: Recipe, dtype: torch.dtype, phases: Phases) -> Weights:
        loaded = dtype if recipe.has_adapter else torch.float32
        if recipe.from_scratch or recipe.quantization != "none":  # the latter are read a piece at a time
            return Weights(0, cast=True)
        if self._found.file is not None:
            return Weights(self._found.file, cast=self._found.cache == 0 or loaded != torch.float32)
        size, kinds = file_of(self._found.source.directory)
        return Weights(size, cast=kinds != {_TYPES[loaded]} or self.machine.gpu)

    def _pace(
        self,
        recipe: Recipe,
        data: TrainingData,
        dtype: torch.dtype,
        work: Workload,
        of_row: Work,
        of_update: Work,
    ) -> Pace:
        """Measured where the machine is this one and some layers fit easily; else reckoned."""
        rows: list[Row] = sample_of(work.rows, _TIMED + 1)
        reckoned = paces.reckoned_pace(self.machine, of_row, of_update, len(work.rows[0].tree), dtype)
        if not self.machine.measured or names_layers(recipe):
            return reckoned
        layers = self._base.layers
        first = min(1 + (recipe.freeze.last_layers if recipe.method == "freeze" else 0), layers)
        one, of_first, *_ = self._at_depth(recipe, data, dtype, work, first)
        # as many further layers as cost what the first model does: less would drown in the clock's noise
        each = (of_row.flops - of_first.flops) / max(1, layers - first)
        second = min(layers, first + max(2, math.ceil(of_first.flops / max(each, 1.0))))
        other, *_ = self._at_depth(recipe, data, dtype, work, second)
        needs = [max(stretch.live for stretch in phases.stretches) for phases in (one, other)]
        room = _SHARE * self.machine.memory
        if second > first and max(needs) < room:
            return paces.measured_pace(
                lambda depth: self._setup(recipe, data, dtype, self._built(recipe, data, dtype, depth), drawn),
                (first, second),
                layers,
                rows,
                per_step=len(work.rows) / work.seen,
                together=sum(needs) < room,
            )
        return reckoned

    def _at_depth(
        self, recipe: Recipe, data: TrainingData, dtype: torch.dtype, work: Workload, depth: int
    ) -> tuple[Phases, Work, Work, Moment | None]:
        """What `_rehearsed` gives, of the model of a depth."""
        built = self._built(recipe, data, dtype, depth)
        with without_memory() as ledger:
            setup = self._setup(recipe, data, dtype, built, stand_in)
            read = _reading(setup, ledger) if recipe.retention and not recipe.from_scratch else None
            return *rehearse(setup, work.rows[0], ledger, again=work.several), read

    def _scaled(self, timed: Plan, of_row: Work, of_update: Work, work: Workload, dtype: torch.dtype) -> Pace:
        """The pace of another plan, times what the operations of this one are reckoned to take beside that one's."""

        def reckoned(row: Work, update: Work, tokens: int, kind: torch.dtype) -> Pace:
            return paces.reckoned_pace(self.machine, row, update, tokens, kind)

        mine = reckoned(of_row, of_update, len(work.rows[0].tree), dtype)
        theirs = reckoned(*timed.effort, len(timed.work.rows[0].tree), timed.dtype)
        times = mine.token / theirs.token
        return replace(
            timed.pace,
            token=timed.pace.token * times,
            learnt=timed.pace.learnt * times,
            update=timed.pace.update * mine.update / max(theirs.update, 1e-12),
        )


def _reading(setup: Setup, ledger: Ledger) -> Moment:
    """Memory while general text is read, without gradients, the model included."""
    lm = setup.trainable.lm
    weight = np.ones(_PASSAGE, np.float32)
    weight[0] = 0
    tree = build_tree([np.zeros(_PASSAGE, np.int32)], [weight])
    row = Row(tree, (0,), _PASSAGE)
    ledger.since()
    with torch.no_grad():
        learnt_of(lm, hidden_states(lm, tree, setup.layout), row)
    return ledger.since()
