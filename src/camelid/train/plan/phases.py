"""The memory of one optimiser step, moment by moment: run without bytes, at two depths, and drawn out to the whole."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from functools import reduce

import torch

from camelid.data.pack import Row
from camelid.model.class_head import learnt_of
from camelid.train.loop import row_loss
from camelid.train.plan.ledger import Ledger, Moment
from camelid.train.setup import Setup


@dataclass(frozen=True)
class Phases:
    """Bytes of tensors: what stands all the time or at the end of a step, and the most in each of its stretches.

    backward: in its two halves apart, because the first falls with the depth where the second rises; update: clipping
    and the optimiser; logits: what the head takes for itself
    """

    weights: Moment
    gradients: Moment
    optimizer: Moment
    logits: Moment
    forward: Moment
    backward_early: Moment
    backward_late: Moment
    update: Moment

    @property
    def stretches(self) -> list[Moment]:
        """In the order of time."""
        return [self.forward, self.backward_early, self.backward_late, self.update]

    def towards(self, other: Phases, steps: float) -> Phases:
        """The straight line from self through `other`, so many times as far."""
        return Phases(*(getattr(self, f.name).towards(getattr(other, f.name), steps) for f in fields(self)))


@dataclass(frozen=True)
class Work:
    """What computing takes: floating-point operations of products, bytes that all operations move, operations.

    products: how many there are that differ in their shapes
    """

    flops: float
    moved: float
    operations: float
    products: float = 0.0

    def towards(self, other: Work, steps: float) -> Work:
        """As of `Phases`."""
        return Work(*(a + (b - a) * steps for a, b in zip(astuple(self), astuple(other), strict=True)))


def rehearse(setup: Setup, row: Row, ledger: Ledger, *, again: bool) -> tuple[Phases, Work, Work]:
    """(memory of a step whose largest row is `row`, work of that row, work of the update), inside `without_memory`.

    again: a step has other rows before it, so gradients are there already
    """
    parameters = list(setup.trainable.named_parameters().values())
    weights = ledger.now
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    gradients = ledger.now.less(weights)
    _update(setup, parameters, keep=True)  # its state begins with the first step
    optimizer = replace(ledger.now.less(weights).less(gradients), live=_state_bytes(setup))
    if not again:
        for parameter in parameters:
            parameter.grad = None
    start = _work(ledger)
    ledger.since()
    loss = row_loss(setup, row)
    forward = ledger.since()
    ledger.curve = curve = []
    loss.backward()
    del loss
    ledger.curve, half = None, len(curve) // 2
    of_row = _difference(_work(ledger), start)
    start = _work(ledger)
    ledger.since()
    _update(setup, parameters, keep=False)
    phases = Phases(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        forward=forward,
        backward_early=reduce(Moment.or_more, curve[:half]),
        backward_late=reduce(Moment.or_more, curve[half:]),
        update=ledger.since(),
        logits=_logits(setup, row, ledger),
    )
    return phases, of_row, _difference(_work(ledger), start)


def _update(setup: Setup, parameters: list[torch.nn.Parameter], *, keep: bool) -> None:
    torch.nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], setup.recipe.max_grad_norm or 1.0)
    for optimizer in setup.optimizers:
        optimizer.step()
        if not keep:
            optimizer.zero_grad(set_to_none=True)


def _state_bytes(setup: Setup) -> int:
    """Every tensor of the optimisers' state, the counts of steps too."""
    states = [state for optimizer in setup.optimizers for state in optimizer.state.values()]
    return sum(value.nbytes for state in states for value in state.values() if isinstance(value, torch.Tensor))


def _logits(setup: Setup, row: Row, ledger: Ledger) -> Moment:
    """What the head needs beside what comes into it."""
    lm = setup.trainable.lm
    weight = lm.get_input_embeddings().weight  # type: ignore[operator]
    hidden = torch.empty(len(row.tree), weight.shape[1], dtype=weight.dtype, requires_grad=True)
    ledger.since()
    before = ledger.now
    with torch.no_grad():
        learnt_of(lm, hidden, row, want_mean=setup.recipe.label_smoothing_factor > 0)
    return ledger.since().less(before)


def _work(ledger: Ledger) -> Work:
    return Work(ledger.flops, ledger.moved, ledger.operations, len(ledger.shapes))


def _difference(after: Work, before: Work) -> Work:
    return Work(*(a - b for a, b in zip(astuple(after), astuple(before), strict=True)))
