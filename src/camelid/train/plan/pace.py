"""How fast a run will be: measured on a model of few layers with random weights, or reckoned from operations."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from camelid.data.pack import Row, learnt_tokens
from camelid.train.loop import row_loss
from camelid.train.plan.machines import Machine
from camelid.train.plan.phases import Work
from camelid.train.setup import Setup

_REACHED = 0.5  # of a GPU's data sheet, in the products of a training step
_PATIENCE = 6.0  # seconds after which no further row is timed, and none once more
_TIMES = 5  # that each row is timed
_SPELL = 1.25  # times the median of the passes over the rows: what is above did not come from the model
_DISPATCH = 8e-6  # seconds that an operation costs however small it is


@dataclass(frozen=True)
class Pace:
    """Seconds. token: a computed token of a row, forward and backward, beside it what a learnt one takes (the head);
    update: the end of an optimiser step."""

    token: float
    learnt: float
    update: float
    measured: bool

    def rows(self, computed: float, learnt: float) -> float:
        """Of rows that have so many tokens together."""
        return self.token * computed + self.learnt * learnt


def measured_pace(
    make: Callable[[int], Setup],
    depths: tuple[int, int],
    layers: int,
    rows: Sequence[Row],
    *,
    per_step: float,
    together: bool,
) -> Pace:
    """Train on `rows` with two shallow models; every further layer costs what the last ones did.

    make: a model of a depth with random weights
    per_step: rows of an optimiser step; the first of them makes the gradients to which the others add
    together: both are in memory at a time and take turns, because what slows one alone would count for every layer

    The first pass over the rows compiles their products, as it will in the run, where hardly two rows have one length.
    On a slow machine only the shortest are taken.
    """
    rows = sorted(rows, key=lambda row: len(row.tree))
    first, second = depths
    shallow = _ready(make(first), rows[0])
    every = max(1, round(per_step))
    cold: list[float] = []
    while len(cold) < len(rows) and sum(cold) < _PATIENCE:
        cold.append(_row(shallow, rows[len(cold)], first=len(cold) % every == 0))
    rows = rows[: len(cold)]
    if together:
        deep = _ready(make(second), rows[0])
        warm, more = _means([shallow, deep], rows, every)
        update = _update(shallow)
    else:
        (warm,) = _means([shallow], rows, every)
        update = _update(shallow)
        del shallow
        deep = _ready(make(second), rows[0])
        (more,) = _means([deep], rows, every)
    each = max(0.0, sum(more) - sum(warm)) / (second - first)
    each_update = max(0.0, _update(deep) - update) / (second - first)
    computed = sum(len(row.tree) for row in rows)
    # The median: a slow moment in one pass would count for all rows of the run.
    compiling = max(0.0, len(rows) * statistics.median(new - known for new, known in zip(cold, warm, strict=True)))
    # What is no layer: the head, nearly all of it (and what layers that learn take beyond the frozen ones).
    beside = max(0.0, sum(warm) - each * first) + compiling
    return Pace(
        token=each * layers / computed,
        learnt=beside / learnt_tokens(rows),
        update=update + each_update * (layers - first),
        measured=True,
    )


def reckoned_pace(machine: Machine, row: Work, update: Work, tokens: int, dtype: torch.dtype) -> Pace:
    """From the operations of one row of `tokens` and of an update, and the machine's rates."""
    return Pace(seconds_of(machine, row, dtype) / tokens, 0.0, seconds_of(machine, update, dtype), measured=False)


def seconds_of(machine: Machine, work: Work, dtype: torch.dtype) -> float:
    """A GPU overlaps its products with the memory's traffic and with the program; a CPU does one after the other."""
    rate = machine.flops.get(dtype, machine.flops[torch.float32])
    products, traffic, calls = work.flops / rate, work.moved / machine.moved, work.operations * _DISPATCH
    if machine.gpu:
        return max(products / _REACHED + traffic / 2, calls)
    return products + traffic + calls


def _row(setup: Setup, row: Row, *, first: bool = False) -> float:
    """Seconds. first: of its step."""
    if first:
        for optimizer in setup.optimizers:
            optimizer.zero_grad(set_to_none=True)
    begin = time.perf_counter()
    row_loss(setup, row).backward()
    return time.perf_counter() - begin


def _ready(setup: Setup, row: Row) -> Setup:
    """After two rows: the first makes the gradients, the second finds them there."""
    for _ in range(2):
        _row(setup, row)
    return setup


def _means(setups: Sequence[Setup], rows: Sequence[Row], every: int) -> list[list[float]]:
    """Seconds of each row, by model; the models take turns, and each so many rows a step begins.

    The mean of some passes, for a run, too, pays for whatever shares the machine with it; but without a pass that was
    far slower than the others: a run is longer, so it feels less of such a spell.
    """
    passes: list[list[list[float]]] = []
    while len(passes) < _TIMES and sum(map(_total, passes)) < len(setups) * _PATIENCE:
        passes.append([[_row(setup, row, first=i % every == 0) for setup in setups] for i, row in enumerate(rows)])
    most = _SPELL * statistics.median(map(_total, passes))
    kept = [times for times in passes if _total(times) <= most]
    return [
        [statistics.mean(times[i][model] for times in kept) for i in range(len(rows))] for model in range(len(setups))
    ]


def _total(times: Sequence[Sequence[float]]) -> float:
    return sum(map(sum, times))


def _update(setup: Setup) -> float:
    parameters = list(setup.trainable.named_parameters().values())
    times: list[float] = []
    for first in (True, False, False, False):  # the first makes the optimiser's state
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.full_like(parameter, 1e-3)
        begin = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in setup.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if not first:
            times.append(time.perf_counter() - begin)
    return statistics.mean(times)
