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
_TIMES = 3  # that each row is timed
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
    shallow = make(first)
    for _ in range(2):  # the first makes the gradients, the second finds them there
        _row(shallow, rows[0])
    every = max(1, round(per_step))
    cold, taken = 0.0, 0
    while taken < len(rows) and cold < _PATIENCE:
        cold += _row(shallow, rows[taken], first=taken % every == 0)
        taken += 1
    rows = rows[:taken]
    if together:
        deep = make(second)
        _row(deep, rows[0])
        warm, more = _means([shallow, deep], rows, every)
        update = _update(shallow)
    else:
        (warm,) = _means([shallow], rows, every)
        update = _update(shallow)
        del shallow
        deep = make(second)
        _row(deep, rows[0])
        (more,) = _means([deep], rows, every)
    more_update = _update(deep)
    each = max(0.0, more - warm) / (second - first)
    each_update = max(0.0, more_update - update) / (second - first)
    computed = sum(len(row.tree) for row in rows)
    # What is no layer: the head, nearly all of it (and what layers that learn take beyond the frozen ones).
    beside = max(0.0, cold - each * first)
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


def _means(setups: Sequence[Setup], rows: Sequence[Row], every: int) -> list[float]:
    """Seconds of all rows in each model, which take turns; each so many rows a step begins.

    The mean of some passes: a run, too, pays for whatever shares the machine with it.
    """
    passes: list[list[float]] = []
    while len(passes) < _TIMES and sum(map(sum, passes)) < len(setups) * _PATIENCE:
        times = [[_row(setup, row, first=i % every == 0) for setup in setups] for i, row in enumerate(rows)]
        passes.append([sum(column) for column in zip(*times, strict=True)])
    return [statistics.mean(column) for column in zip(*passes, strict=True)]


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
