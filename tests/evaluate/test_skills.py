"""Accuracy on skill rows, with answerers that are known to be right, wrong, or half right."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.data.skills import make_skill_rows
from camelid.evaluate.skills import skill_accuracy
from camelid.runs.interval import Share

ROWS = make_skill_rows(5, 120, split="heldout")
RIGHT = {row.prompt: row.answer for row in ROWS}


def test_a_perfect_answerer_has_everything_right():
    report = skill_accuracy(lambda asked, limit: [RIGHT[c.messages[-1].content] for c in asked], ROWS)
    assert report.overall == Share(120, 120)
    assert report.wrong == ()
    assert set(report.by_language) == {"en", "zh"}
    assert sum(share.total for share in report.by_family.values()) == 120


def test_a_language_that_fails_shows_in_that_language_only():
    def answer(asked, limit):
        prompts = [conversation.messages[-1].content for conversation in asked]
        return [RIGHT[prompt] if prompt.isascii() else "?" for prompt in prompts]

    report = skill_accuracy(answer, ROWS)
    assert report.by_language == {"en": Share(60, 60), "zh": Share(0, 60)}
    assert report.overall == Share(60, 120)
    assert {row.language for row, _ in report.wrong} == {"zh"}
    for family, share in report.by_family.items():
        cells = [report.by_family_and_language[family, language] for language in ("en", "zh")]
        assert (sum(c.right for c in cells), sum(c.total for c in cells)) == (share.right, share.total)


def test_the_prompt_is_asked_without_the_answer_and_with_the_limit():
    asked_for = []

    def answer(asked, limit):
        asked_for.append(limit)
        assert all(c.messages[-1].role == "user" for c in asked)
        return [""] * len(asked)

    assert skill_accuracy(answer, ROWS, 7).overall.right == 0
    assert asked_for == [7]


def test_a_missing_answer_is_a_fault():
    with pytest.raises(ValueError, match="120 prompts"):
        skill_accuracy(lambda asked, limit: ["x"], ROWS)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (8, 10, 0.49016, 0.94332), (190, 200, 0.91042, 0.97262)],
)
def test_wilson_interval_as_published_tables_have_it(right, total, low, high):
    assert Share(right, total).interval == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_ends_of_the_interval_solve_the_score_equation(pair):
    """An independent road: |p - q| = z sqrt(q (1 - q) / n) at both ends q."""
    share = Share(*pair)
    low, high = share.interval
    assert 0 <= low <= share.value <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            distance = 1.959963984540054 * math.sqrt(end * (1 - end) / share.total)
            assert abs(share.value - end) == pytest.approx(distance, abs=1e-9)


def test_nothing_asked_is_said():
    assert str(Share(0, 0)) == "0/0"
    assert Share(0, 0).interval == (0.0, 1.0)
    assert math.isnan(Share(0, 0).value)
