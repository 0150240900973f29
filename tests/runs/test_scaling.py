"""The data-scaling curve: exact where the points are, honest where they are noisy, silent where they are few."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.runs.scaling import Fit, Point, Scaling, fit_curve
from camelid.runs.scaling_page import render_scaling
from camelid.runs.scaling_words import rows, sentence

SHARES = (0.1, 0.25, 0.5, 1.0)


def _points(
    a: float, b: float, c: float, noise: float = 0.0, *, seeds: int = 2, most: int = 1000, seed: int = 0
) -> list[Point]:
    chance = np.random.default_rng(seed)
    return [
        Point(round(most * share), c + a * (most * share) ** -b + noise * chance.standard_normal(), k, share, f"r{k}")
        for share in SHARES
        for k in range(seeds)
    ]


@given(st.floats(0.5, 20), st.floats(0.05, 1.5), st.floats(0, 3))
def test_points_on_a_curve_give_back_its_gain(a: float, b: float, c: float) -> None:
    fit = fit_curve(_points(a, b, c))
    assert fit is not None
    gain = a * 1000**-b * (1 - 2**-b)
    drop = a * (100**-b - 1000**-b)  # what the points show
    assert fit.gain == pytest.approx(gain, abs=0.01 * drop)
    assert fit.at(500) == pytest.approx(c + a * 500**-b, abs=0.01 * drop)


@pytest.mark.parametrize(("a", "b", "noise"), [(3, 0.3, 0.01), (3, 0.3, 0.05), (0, 0.3, 0.02), (50, 1, 0.005)])
def test_the_interval_holds_the_truth_as_often_as_it_says(a: float, b: float, noise: float) -> None:
    truth = a * 1000**-b * (1 - 2**-b)
    fits = [fit_curve(_points(a, b, 1, noise, seed=i)) for i in range(300)]
    assert sum(fit is not None and fit.low <= truth <= fit.high for fit in fits) >= 0.9 * len(fits)
    assert all(fit is not None and fit.low <= fit.gain <= fit.high for fit in fits)


@pytest.mark.parametrize(
    ("a", "noise", "answer"), [(3, 0.005, "yes"), (0, 0.02, "no"), (1, 0.04, "unclear"), (-2, 0.02, "no")]
)
def test_the_answer_is_the_one_that_the_points_support(a: float, noise: float, answer: str) -> None:
    answers = [
        Scaling("", "held-out loss", points, fit_curve(points)).answer
        for points in (_points(a, 0.3, 1, noise, seed=i) for i in range(60))
    ]
    assert answers.count(answer) > 30, answers
    if a <= 0:
        assert answers.count("yes") <= 2, "noise alone is no reason for more data"


@pytest.mark.parametrize(
    "points", [_points(3, 0.3, 1, seeds=1)[:3], _points(3, 0.3, 1)[:4], [], _points(3, 0.3, math.nan)]
)
def test_too_few_points_are_said_and_not_fitted(points: list[Point]) -> None:
    assert fit_curve(points) is None
    assert "Too few points" in sentence(Scaling("", "accuracy", points, None)).en


def test_the_sentence_says_rows_gain_and_noise_in_both_languages() -> None:
    points = _points(3, 0.3, 1, 0.002)
    said = sentence(Scaling("x", "held-out loss", points, fit_curve(points)))
    assert said.en.startswith("More data is worth it: from 1,000 to 2,000 rows the held-out loss should fall by 0.0")
    assert said.zh.startswith("值得增加数据：从 1,000 行增加到 2,000 行，验证集损失预计下降 0.0")
    for answer, a, noise in (("no", 0, 0.02), ("unclear", 1, 0.04)):
        for i in range(60):
            other = _points(a, 0.3, 1, noise, seed=i)
            scaling = Scaling("x", "accuracy", other, fit_curve(other))
            if scaling.answer == answer:
                assert "rise" in sentence(scaling).en
                assert "上升" in sentence(scaling).zh
                break
        else:
            pytest.fail(f"no seed gives {answer}")


def test_the_table_and_the_page_show_what_was_measured() -> None:
    points = [Point(50, 0.4, 1, 0.5, "share-0.5-seed1"), Point(50, 0.2, 2, 0.5, "b"), Point(100, 0.25, 1, 1.0, "<b>")]
    table = rows(Scaling("x", "accuracy", points, None))
    assert [(row["share"], row["rows"], row["seeds"]) for row in table] == [(0.5, 50, 2), (1.0, 100, 1)]
    assert table[0]["quality"] == pytest.approx(0.7)
    # two values 0.2 apart: s = 0.1414, half width 12.706 * s / sqrt(2)
    assert table[0]["high"] - table[0]["quality"] == pytest.approx(12.706 * 0.1, rel=1e-6)
    assert table[1]["low"] is None
    page = render_scaling(Scaling("<script>", "accuracy", points, None))
    assert "<script>" not in page
    assert page.count("<circle") == 3 * 2, "wide and narrow"
    assert 'href="share-0.5-seed1/report.html"' in page
    whole = _points(3, 0.3, 1, 0.01)
    assert render_scaling(Scaling("x", "held-out loss", whole, fit_curve(whole))).count("<circle") == 2 * (
        len(whole) + 1
    )


@pytest.mark.parametrize(
    ("gain", "low", "high", "answer"),
    [
        (0.05, 0.03, 0.07, "yes"),
        (0.05, -0.01, 0.2, "unclear"),
        (0.01, 0.005, 0.03, "unclear"),
        (0.01, 0.005, 0.019, "no"),
        (-0.01, -0.03, 0.01, "no"),
    ],
)
def test_yes_takes_a_sure_gain_above_the_noise_of_a_run(gain: float, low: float, high: float, answer: str) -> None:
    fit = Fit(c=1, a=3, b=0.3, gain=gain, low=low, high=high, noise=0.02, degrees=5)
    assert Scaling("x", "held-out loss", _points(3, 0.3, 1), fit).answer == answer
