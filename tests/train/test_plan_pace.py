"""The pace of a plan, drawn out from shallow models: exact where each layer and each learnt token cost the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_for_tests import tiny_recipe

from camelid.data.pack import Row
from camelid.data.tree import build_tree
from camelid.train.distributed import World
from camelid.train.plan import pace
from camelid.train.setup import Setup, prepare

UPDATE = 0.25  # seconds a layer, and as many beside the layers


def row(tokens: int, learnt: int) -> Row:
    weight = np.zeros(tokens, np.float32)
    weight[tokens - learnt :] = 1
    return Row(build_tree([np.arange(tokens, dtype=np.int32)], [weight]), (0,), tokens)


@given(
    sizes=st.lists(st.integers(2, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))), min_size=1),
    layer=st.floats(1e-4, 1e-2),
    head=st.floats(0, 1e-1),
    depths=st.sampled_from([(1, 3), (5, 8)]),
    per_step=st.floats(0.1, 50),
    together=st.booleans(),
)
def test_layers_and_head_are_told_apart(
    sizes: list[tuple[int, int]],
    layer: float,
    head: float,
    depths: tuple[int, int],
    per_step: float,
    together: bool,
) -> None:
    def seconds(setup: Setup, row: Row, *, first: bool = False) -> float:
        return layer * cast(Any, setup) * len(row.tree) + head * int(np.count_nonzero(row.learnt()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "_row", seconds)
        patch.setattr(pace, "_update", lambda depth: UPDATE * (depth + 1))
        rows = [row(*size) for size in sizes]
        found = pace.measured_pace(
            lambda depth: cast(Any, depth), depths, 30, rows, per_step=per_step, together=together
        )
    assert found.rows(1000, 0) == pytest.approx(layer * 30 * 1000)
    assert found.rows(0, 1000) == pytest.approx(head * 1000, abs=1e-9)
    assert found.update == pytest.approx(UPDATE * 31)


@pytest.mark.parametrize("together", [True, False], ids=["in turn", "apart"])
@pytest.mark.parametrize("per_step", [1, 2, 6])
def test_the_first_row_of_a_step_adds_to_no_gradients(per_step: int, together: bool) -> None:
    """Adding costs as much as computing here: of six rows as many pay for it as in a run."""

    def seconds(setup: Setup, row: Row, *, first: bool = False) -> float:
        return 1e-3 * cast(Any, setup) * len(row.tree) * (1 if first else 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "_row", seconds)
        patch.setattr(pace, "_update", lambda depth: 0.0)
        rows = [row(40, 20)] * 6
        find = cast(Any, pace.measured_pace)
        found = find(lambda depth: depth, (1, 10), 30, rows, per_step=per_step, together=together)
    assert found.rows(1000, 0) == pytest.approx(1e-3 * 30 * 1000 * (2 - 1 / per_step))
    assert found.rows(0, 1000) == pytest.approx(0, abs=1e-9)


def test_gradients_are_dropped_before_the_first_row_of_a_step(tmp_path: Path) -> None:
    setup = prepare(tiny_recipe(tmp_path, method="full"), World(), say=lambda line: None)
    sums: list[float] = []
    try:
        for first in (True, False, False, True):
            assert pace._row(setup, row(8, 4), first=first) > 0
            gradients = [parameter.grad for parameter in setup.trainable.named_parameters().values()]
            sums.append(sum(float(g.abs().sum()) for g in gradients if g is not None))
    finally:
        setup.data.close()
    assert sums == pytest.approx([sums[0], 2 * sums[0], 3 * sums[0], sums[0]], rel=1e-4)


@given(begins=st.integers(0, 12), lasts=st.integers(1, 20))
def test_a_machine_that_is_slow_for_a_while_makes_a_plan_no_slower_than_it_is(begins: int, lasts: int) -> None:
    """Nor faster than it is at its best: a slow spell that met one of the models alone would count for every layer."""
    calls = 0
    layer, head = 1e-3, 2e-2

    def seconds(setup: Setup, row: Row, *, first: bool = False) -> float:
        nonlocal calls
        calls += 1
        slow = 1.5 if begins <= calls // 6 < begins + lasts else 1.0
        return slow * (layer * cast(Any, setup) * len(row.tree) + head * int(np.count_nonzero(row.learnt())))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "_row", seconds)
        patch.setattr(pace, "_update", lambda depth: 0.0)
        rows = [row(40, 20), row(60, 30)]
        found = pace.measured_pace(lambda depth: cast(Any, depth), (1, 10), 30, rows, per_step=4, together=True)
    truth = layer * 30 * 1000 + head * 500
    assert 0.95 * truth < found.rows(1000, 500) < 1.55 * truth


@pytest.mark.parametrize("together", [True, False], ids=["in turn", "apart"])
@pytest.mark.parametrize("slow", range(30), ids=lambda slow: f"moment {slow}")
def test_a_slow_moment_counts_for_little(slow: int, together: bool) -> None:
    """A run lasts far longer. Two rows that take four times as long made a plan up to 69% slower before."""
    calls = 0

    def seconds(setup: Setup, row: Row, *, first: bool = False) -> float:
        nonlocal calls
        calls += 1
        return (4.0 if (calls - 1) // 2 == slow else 1.0) * 1e-3 * cast(Any, setup) * len(row.tree)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "_row", seconds)
        patch.setattr(pace, "_update", lambda depth: 0.0)
        rows = [row(tokens, 20) for tokens in (40, 45, 50, 55, 60)]
        find = cast(Any, pace.measured_pace)
        found = find(lambda depth: depth, (1, 3), 30, rows, per_step=4, together=together)
    assert found.rows(250, 100) == pytest.approx(1e-3 * 30 * 250, rel=0.06)
