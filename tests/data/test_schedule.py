"""Every row once an epoch, ranks without overlap, and nothing but the seed decides."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from camelid.data.schedule import StepSchedule, nested_share

UNITS = st.integers(1, 60)
SEED = st.integers(0, 2**31)


@given(UNITS, st.integers(1, 16), SEED, st.integers(0, 3))
def test_an_epoch_visits_each_row_once(units: int, per_step: int, seed: int, epoch: int) -> None:
    schedule = StepSchedule(units, per_step, epochs=4, max_steps=None, seed=seed)
    first = epoch * schedule.steps_per_epoch
    seen = np.concatenate([schedule.step(first + i) for i in range(schedule.steps_per_epoch)])
    assert sorted(seen.tolist()) == list(range(units))


@given(UNITS, st.integers(1, 16), SEED, st.integers(2, 4))
def test_ranks_share_a_step_without_overlap(units: int, per_step: int, seed: int, world: int) -> None:
    alone = StepSchedule(units, per_step, epochs=1, max_steps=None, seed=seed)
    ranks = [StepSchedule(units, per_step, 1, None, seed, rank=r, world=world) for r in range(world)]
    for step in range(alone.steps_per_epoch):
        together = [row for rank in ranks for row in rank.step(step).tolist()]
        assert sorted(together) == sorted(alone.step(step).tolist())


def test_epochs_differ_and_repeat_by_seed() -> None:
    schedule = StepSchedule(50, 50, 2, None, seed=1)
    assert schedule.step(0).tolist() != schedule.step(1).tolist()
    assert schedule.step(1).tolist() == StepSchedule(50, 50, 2, None, seed=1).step(1).tolist()
    assert StepSchedule(50, 50, 1, None, seed=1, shuffle=False).step(0).tolist() == list(range(50))


def test_total_steps() -> None:
    assert StepSchedule(100, 32, 3, None, 0).total_steps == 12
    assert StepSchedule(100, 32, 0.5, None, 0).total_steps == 2
    assert StepSchedule(100, 32, 3, 5, 0).total_steps == 5


@given(st.integers(1, 300), st.floats(0.001, 1), st.floats(0.001, 1), SEED)
def test_smaller_shares_lie_in_larger_ones(count: int, one: float, other: float, seed: int) -> None:
    small, large = (nested_share(count, fraction, seed) for fraction in sorted((one, other)))
    assert set(small.tolist()) <= set(large.tolist()) <= set(range(count))
    assert len(large) == max(1, round(count * max(one, other)))
    assert large.tolist() == sorted(large.tolist())
    assert nested_share(count, 1, seed).tolist() == list(range(count))
