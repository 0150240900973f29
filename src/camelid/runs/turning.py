"""When validation turns: the held-out loss rises while the training loss falls, so rows are learnt by heart.

Pure functions of the two curves, the same for the terminal and the report, and for a run that was resumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Curve = Sequence[tuple[float, float]]  # (step, loss), in order of steps

NOISE = 0.01  # a rise of less than this share of the loss is not told from chance


@dataclass(frozen=True, slots=True)
class Turn:
    """The held-out loss was lowest at `since` (`lowest`) and has risen twice to `now` at the evaluation of `seen`."""

    since: int
    seen: int
    lowest: float
    now: float


@dataclass(frozen=True, slots=True)
class Best:
    """The best evaluation of a run and its last one, steps and losses."""

    step: int
    loss: float
    last_step: int
    last_loss: float

    @property
    def lost(self) -> float:
        """How much the last is worse."""
        return self.last_loss - self.loss


def first_turn(train: Curve, held: Curve) -> Turn | None:
    """The first evaluation at which the held-out loss had risen twice running, by more than noise, while the training
    loss fell; None if there is none.
    """
    for (s0, h0), (_, h1), (s2, h2) in zip(held, held[1:], held[2:], strict=False):
        if h0 < h1 < h2 and h2 - h0 > NOISE * abs(h0) and _falls(train, s0, s2):
            return Turn(int(s0), int(s2), h0, h2)
    return None


def best_evaluation(held: Curve) -> Best | None:
    """The best evaluation where that is not the last one, beyond noise; None otherwise."""
    finite = [(step, loss) for step, loss in held if math.isfinite(loss)]
    if not finite:
        return None
    (step, loss), (last_step, last_loss) = min(finite, key=lambda pair: pair[1]), finite[-1]
    if last_loss - loss <= NOISE * abs(loss):
        return None
    return Best(int(step), loss, int(last_step), last_loss)


def _falls(train: Curve, start: float, stop: float) -> bool:
    """Whether the training loss over the steps (start, stop] is below that of as many steps before; where there are
    none before, whether its second half is below its first.
    """
    within = [loss for step, loss in train if start < step <= stop]
    before = [loss for step, loss in train if step <= start][-len(within) :] if within else []
    if not before:
        half = len(within) // 2
        before, within = within[:half], within[half:]
    return bool(before) and sum(within) / len(within) < sum(before) / len(before)
