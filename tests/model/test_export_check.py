"""What an export is judged by."""

from __future__ import annotations

import pytest

from camelid.model.export_check import judge_right


@pytest.mark.parametrize(
    ("asked", "right", "lost", "gained", "holds"),
    [
        (50, 13, 0, 1, True),
        (2, 1, 1, 0, True),  # one near tie is no proof
        (50, 13, 6, 0, True),
        (50, 13, 8, 0, False),
        (50, 13, 10, 8, True),  # many part, for better and for worse
        (200, 100, 10, 0, True),  # the share that may be lost
        (200, 100, 30, 0, False),
        (20, 0, 0, 0, True),
    ],
)
def test_right_answers_may_be_lost_by_chance_but_not_by_more(
    asked: int, right: int, lost: int, gained: int, holds: bool
) -> None:
    before = [i < right for i in range(asked)]
    after = [lost <= i < right + gained for i in range(asked)]
    found = judge_right(before, after, 0.1)
    assert found.holds is holds, found
    assert found.figures == {
        "before": right,
        "after": right - lost + gained,
        "lost": lost,
        "gained": gained,
        "asked": asked,
    }
