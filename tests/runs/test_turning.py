"""When validation turns: curves as cases."""

from __future__ import annotations

import math

import pytest

from camelid.runs.turning import Best, Turn, best_evaluation, first_turn

FALLING = [(float(step), 3.0 - 0.02 * step) for step in range(1, 101)]
RISING = [(step, 6.0 - loss) for step, loss in FALLING]


def _held(*losses: float, every: int = 10) -> list[tuple[float, float]]:
    """Evaluations before the first step and every so many steps."""
    return [(float(i * every), loss) for i, loss in enumerate(losses)]


CASES = {
    "falls to the end": (FALLING, _held(3.0, 2.5, 2.2, 2.0), None),
    "rises twice": (FALLING, _held(3.0, 2.5, 2.2, 2.3, 2.4), Turn(20, 40, 2.2, 2.4)),
    "rises once": (FALLING, _held(3.0, 2.5, 2.2, 2.3), None),
    "up and down": (FALLING, _held(3.0, 2.2, 2.3, 2.2, 2.3, 2.2), None),
    "within noise": (FALLING, _held(3.0, 2.2, 2.205, 2.21), None),
    "noise adds up at last": (FALLING, _held(3.0, 2.2, 2.205, 2.21, 2.25), Turn(20, 40, 2.205, 2.25)),
    "worse than the base from the start": (FALLING, _held(2.0, 2.1, 2.2), Turn(0, 20, 2.0, 2.2)),
    "the training loss rises too": (RISING, _held(2.0, 2.1, 2.2, 2.3), None),
    "falls and rises higher": (FALLING, _held(2.0, 1.9, 2.2), None),
    "the training loss fell long before": (
        [(float(step), 3.0 if step <= 20 else 1.0 if step <= 60 else 1.2) for step in range(1, 81)],
        _held(3.0, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4, 2.6, 2.7), None,
    ),
    "no step was recorded": ([], _held(2.0, 2.1, 2.2), None),
    "the first of two": (FALLING, _held(2.0, 1.5, 1.7, 1.8, 1.9), Turn(10, 30, 1.5, 1.8)),
    "not a number": (FALLING, _held(2.0, math.nan, 2.5, 2.6), None),
    "two evaluations": (FALLING, _held(2.0, 2.5), None),
    "no evaluation": (FALLING, [], None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_validation_turns(name: str) -> None:
    train, held, turn = CASES[name]
    assert first_turn(train, held) == turn


@pytest.mark.parametrize("name", CASES)
def test_it_is_seen_at_one_evaluation_only(name: str) -> None:
    """Told as the evaluations come in, it is told once: every longer curve has the same first turn."""
    train, held, turn = CASES[name]
    seen = []
    for count in range(len(held) + 1):
        found = first_turn([p for p in train if not held or p[0] <= held[max(count - 1, 0)][0]], held[:count])
        if found is not None and found.seen == held[count - 1][0]:
            seen.append(found)
    assert seen == ([turn] if turn else [])


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ((3.0, 2.0, 2.5), Best(10, 2.0, 20, 2.5)),
        ((1.0, 2.0, 1.5), Best(0, 1.0, 20, 1.5)),
        ((3.0, 2.0, math.nan), None),
        ((3.0, math.nan, 2.0, 2.5), Best(20, 2.0, 30, 2.5)),
        ((3.0, 2.0, 2.01), None),
        ((3.0, 2.0), None),
        ((math.nan,), None),
        ((), None),
    ],
)
def test_the_best_evaluation_was_not_the_last(losses: tuple[float, ...], best: Best | None) -> None:
    assert best_evaluation(_held(*losses)) == best
    if best is not None:
        assert best.lost == pytest.approx(losses[-1] - best.loss)
