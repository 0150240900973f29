"""Axes that hold what is drawn, and charts in which every dot lies inside."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.runs.chart import number_label
from camelid.runs.scatter import Curve, Dot, named_axis, number_axis, scatter

VALUES = st.lists(st.floats(1e-7, 1e6), min_size=1, max_size=12)


@given(VALUES, st.booleans())
def test_an_axis_holds_its_values_and_ticks(values: list[float], log: bool) -> None:
    axis = number_axis(values, log=log)
    assert all(0 < axis.at(value) < 1 for value in values)
    assert all(-1e-9 <= axis.at(value) <= 1 + 1e-9 for value, _ in axis.ticks)
    assert 1 <= len(axis.ticks) <= 12


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (1e-6, 1e-1, ["1e-6", "1e-5", "1e-4", "0.001", "0.01", "0.1"]),
        (16, 320, ["20", "50", "100", "200"]),
        (90, 110, ["90", "100", "110"]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in number_axis([low, high], log=True).ticks] == labels


def test_labels() -> None:
    assert [number_label(v) for v in (0, 1e-5, 0.003, 2.5, 2000)] == ["0", "1e-5", "0.003", "2.5", "2,000"]


@given(VALUES)
def test_dots_lie_inside_the_picture(values: list[float]) -> None:
    dots = [Dot(value, float(i), "held", f"<{value}>", i - 0.5, i + 0.5) for i, value in enumerate(values)]
    picture = scatter(
        dots,
        number_axis(values, log=True),
        number_axis([-0.5, len(values) + 0.5]),
        size=(400, 200),
        title='"a" & <b>',
        curves=[Curve([(dot.x, dot.y) for dot in dots], "fit")],
    )
    assert "<b>" not in picture
    circles = [(float(x), float(y)) for x, y in re.findall(r'cx="([-\d.]+)" cy="([-\d.]+)"', picture)]
    assert len(circles) == len(values)
    assert all(0 <= x <= 400 and 0 <= y <= 200 for x, y in circles)


def test_names_stand_side_by_side() -> None:
    axis = named_axis(["a", "b"])
    assert [axis.at(0), axis.at(1)] == [0.25, 0.75]
    assert [label for _, label in axis.ticks] == ["a", "b"]
