"""The search for edits: single ones before several, the least costly first, none that does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from runs_for_tests import tiny_recipe

from camelid.config import Recipe
from camelid.errors import UserError
from camelid.train.plan.draft import Drafter, Exam, Plan
from camelid.train.plan.edits import candidates, edits_that_fit
from camelid.train.plan.locate import located
from camelid.train.plan.machines import this_machine
from camelid.train.plan.memory import PROGRAM


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A real plan; the tests put other figures in the place of its memory and pace."""
    folder = tmp_path_factory.mktemp("plan")
    recipe = tiny_recipe(folder, method="full", retention=False, max_length=256)
    with located(recipe.base, accept_license=None, announce=print) as found:
        return Drafter(found, this_machine, Exam([], 1), print, folder).plan(recipe)


def test_memory_that_a_run_touches_for_the_first_time_takes_its_time(plan: Plan) -> None:
    assert 0 < plan.machine.touched < 1e-8  # ten seconds a gigabyte
    free = replace(plan, machine=replace(plan.machine, touched=0.0))
    assert plan.memory.stepping > 1e5
    assert plan.seconds == pytest.approx(free.seconds + plan.machine.touched * plan.memory.stepping)


def needing(plan: Plan, peak: float, price: float = 1.0) -> Plan:
    """The plan with another peak, so many times as slow."""
    now = plan.pace
    pace = replace(now, token=now.token * price, learnt=now.learnt * price, update=now.update * price)
    return replace(plan, memory=replace(plan.memory, peak=peak, parts={PROGRAM: 0.0}), pace=pace)


def test_single_edits_that_fit_the_least_costly_first(plan: Plan) -> None:
    costs = {"max_tokens_per_row=512": (90, 1.3), "gradient_checkpointing=true": (80, 1.4), "method=lora": (70, 0.7)}

    def again(change: tuple[str, ...]) -> Plan:
        return needing(plan, *costs.get(change[0], (150, 1.0)))

    tight = needing(replace(plan, machine=plan.machine.with_memory(100)), 200)
    edits = edits_that_fit(tight, lambda change: replace(again(change), machine=tight.machine))
    assert [edit.overrides[0] for edit in edits] == [
        "method=lora",
        "max_tokens_per_row=512",
        "gradient_checkpointing=true",
    ]


def test_several_together_where_none_is_enough(plan: Plan) -> None:
    saves = {"max_tokens_per_row=512": 30, "gradient_checkpointing=true": 0, "optim=adafactor": 80}

    def again(change: tuple[str, ...]) -> Plan:
        if "method=lora" in change:
            raise UserError("something else in the recipe forbids it")
        saved = sum(saves.get(item, 0) for item in change)
        return replace(needing(plan, 200 - saved), machine=tight.machine)

    tight = needing(replace(plan, machine=plan.machine.with_memory(100)), 200)
    (edit,) = edits_that_fit(tight, again)
    assert edit.overrides == ("max_tokens_per_row=512", "optim=adafactor")


def test_no_edit_is_named_that_does_not_fit(plan: Plan) -> None:
    tight = needing(replace(plan, machine=plan.machine.with_memory(100)), 200)
    assert edits_that_fit(tight, lambda change: replace(needing(plan, 150), machine=tight.machine)) == []


def test_nothing_is_tried_where_the_program_alone_is_too_large(plan: Plan) -> None:
    tight = replace(plan, machine=plan.machine.with_memory(1))
    assert edits_that_fit(tight, lambda change: pytest.fail("planned again")) == []


def test_a_recipe_is_not_told_what_it_says_already(tmp_path: Path) -> None:
    said = {"retention": False, "gradient_checkpointing": True, "max_length": 64, "max_tokens_per_row": 64}
    recipe: Recipe = tiny_recipe(tmp_path, quantization="4bit", **said)
    assert candidates(recipe) == []
    recipe = tiny_recipe(tmp_path, quantization="8bit", **said)
    assert candidates(recipe) == [("quantization=4bit",)]
    recipe = tiny_recipe(tmp_path, **said)
    assert candidates(recipe) == [("quantization=8bit",), ("quantization=4bit",)]
    recipe = tiny_recipe(tmp_path, method="full", optim="adafactor", **said)
    assert candidates(recipe) == [("method=lora",)]
