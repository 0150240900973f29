"""What a run came to: read from its own files, so that a resumed one is as one that was never stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from camelid.cli.child_run import RESULT, held_out_losses, measure_of, quality_of, result_of
from camelid.config import Recipe, load_recipe, make_recipe
from camelid.train.interrupt import Interrupts


def _recipe(**fields: Any) -> Recipe:
    return make_recipe({"data": "rows.jsonl", "eval_fraction": 0.1, **fields})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [
        {"step": 0, "eval_loss": 3.0, "progress": 0.0},
        {"step": 1, "loss": 2.5},
        {"step": 5, "eval_loss": 1.0, "progress": 0.5},
        {"step": 10, "eval_loss": 1.5, "progress": 1.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_the_quality_is_that_of_the_weights_which_are_kept(run: Path) -> None:
    assert held_out_losses(run) == [(0, 3), (0.5, 1), (1, 1.5)]
    assert quality_of(_recipe(), {"eval_losses": []}, run) == (1.5, None), "a run that was resumed at its end"
    best = _recipe(load_best_model_at_end=True, eval_steps=5)
    assert quality_of(best, {}, run) == (1.0, None)


@pytest.mark.parametrize(
    ("task", "score", "quality", "measure"),
    [
        ("classify", {"accuracy": 0.8, "macro_f1": 0.7, "interval": [0.7, 0.9]}, 0.8, "accuracy"),
        ("tag", {"f1": 0.6, "accuracy": 0.9, "interval": [0.7, 0.9]}, 0.6, "entity F1"),
    ],
)
def test_tasks_with_classes_have_their_score(run: Path, task: str, score: dict, quality: float, measure: str) -> None:
    recipe = _recipe(task=task)
    assert quality_of(recipe, {"score": score}, run) == (quality, (0.7, 0.9))
    assert measure_of(recipe) == measure


def test_what_has_ended_is_read_and_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("data: nowhere.jsonl\n")  # could not be run
    known = load_recipe(path).model_dump(mode="json", exclude={"resume"})
    (tmp_path / RESULT).write_text(json.dumps({"recipe": known, "result": {"steps": 3}}))
    with Interrupts() as interrupts:
        assert result_of(path, [], tmp_path, interrupts) == {"steps": 3}
