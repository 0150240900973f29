"""Which models of few layers a plan times, and how: both at a time, one after the other, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs_for_tests import tiny_recipe

from camelid.train.plan import draft
from camelid.train.plan.draft import Drafter, Exam
from camelid.train.plan.locate import located
from camelid.train.plan.machines import this_machine
from camelid.train.plan.pace import Pace

NONE, APART, TOGETHER = range(3)


def test_the_less_memory_the_fewer_models_are_timed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that do not fit together are timed still, one after the other; one that does not fit alone is reckoned."""
    ways: list[int] = []

    def measured(*_: Any, together: bool, **more: Any) -> Pace:
        ways.append(TOGETHER if together else APART)
        return Pace(1.0, 0.0, 1.0, measured=True)

    monkeypatch.setattr(draft.paces, "measured_pace", measured)
    recipe = tiny_recipe(tmp_path, method="full", retention=False, dtype="float32")
    kinds = [TOGETHER]
    with located(recipe.base, accept_license=None, announce=print) as found:
        drafter = Drafter(found, this_machine, Exam([], 1), lambda line: None, tmp_path)
        memory = 64e6
        while kinds[-1] != NONE and memory > 1e5:
            drafter.machine = drafter.machine.with_memory(memory)
            ways.clear()
            plan = drafter.plan(recipe)
            kinds += ways or [NONE]
            assert plan.pace.measured == (ways != [])
            memory /= 1.4
    assert kinds == sorted(kinds, reverse=True)
    assert (kinds[1], kinds[-1]) == (TOGETHER, NONE)
    assert APART in kinds
