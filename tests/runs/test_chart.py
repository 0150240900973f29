"""Charts: round ticks that span the data, peaks that survive thinning, smoothing that does not lag."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.runs.chart import Line, line_chart, round_ticks, smoothed, thinned

numbers = st.floats(-1e12, 1e12, allow_nan=False)


@given(numbers, numbers, st.integers(2, 8))
def test_ticks_are_round_rising_and_about_as_many_as_asked(one: float, other: float, count: int) -> None:
    low, high = min(one, other), max(one, other)
    ticks = round_ticks(low, high, count)
    assert 2 <= len(ticks) <= 2 * count + 1
    assert ticks == sorted(set(ticks))
    steps = {round((b - a) / (ticks[1] - ticks[0]), 3) for a, b in itertools.pairwise(ticks)}
    assert steps == {1.0}


TICKS = [(0.0, 1.0, 5, [0, 0.25, 0.5, 0.75, 1.0]), (0.42, 2.8, 5, [0.5, 1.0, 1.5, 2.0, 2.5]), (3.0, 3.0, 3, [2.0, 4.0])]


@pytest.mark.parametrize(("low", "high", "count", "expected"), TICKS)
def test_ticks_of_usual_curves(low: float, high: float, count: int, expected: list[float]) -> None:
    assert round_ticks(low, high, count) == expected


def test_steps_are_whole() -> None:
    assert round_ticks(1, 4, 8, whole=True) == [1, 2, 3, 4]


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=3000))
def test_thinning_keeps_peaks_dips_and_order(values: list[float]) -> None:
    points = [(float(step), value) for step, value in enumerate(values)]
    kept = thinned(points, 100)
    assert len(kept) <= 160
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)
    finite, kept_finite = ([y for _, y in some if math.isfinite(y)] for some in (points, kept))
    if finite:
        assert (min(finite), max(finite)) == (min(kept_finite), max(kept_finite))
    assert any(math.isnan(y) for _, y in kept) == any(math.isnan(y) for _, y in points)


def test_smoothing_does_not_lag_and_keeps_a_straight_line() -> None:
    line = [(float(x), 5 - 0.01 * x) for x in range(240)]
    for (x, y), (_, expected) in zip(smoothed(line), line, strict=True):
        assert y == pytest.approx(expected, abs=1e-9 if x < 230 else 0.06)
    assert smoothed([(1.0, 2.0)]) == [(1.0, 2.0)]
    assert smoothed([(1.0, math.nan)]) == []


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats()), max_size=30))
def test_any_points_make_a_chart_with_finite_places(points: list[tuple[int, float]]) -> None:
    pairs = [(float(x), y) for x, y in sorted(points, key=lambda p: p[0])]
    moderate = [(x, y) for x, y in pairs if not math.isfinite(y) or abs(y) < 1e100]
    svg = line_chart([Line(moderate, "raw", dots=True, hints=True)], width=300, height=200, style="chart", title="<t>")
    assert bool(svg) == any(math.isfinite(y) for _, y in moderate)
    assert "<t>" not in svg
    assert 'x="nan"' not in svg
    assert "inf" not in svg
