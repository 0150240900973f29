"""What a recipe trains on and what it holds out: shares that nest, rows held out that no share changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs_for_tests import tiny_recipe
from tiny import tiny_base

from camelid.model.load import resolve, source_vocabulary
from camelid.train.data import TrainingData, prepare_data


def _prepared(folder: Path, **fields: Any) -> TrainingData:
    recipe = tiny_recipe(folder, eval_fraction=0.25, **fields)
    return prepare_data(recipe, source_vocabulary(resolve(str(tiny_base()))), say=lambda text: None)


def _texts(data: TrainingData) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    """(trained, held out), each as token ids."""
    units = [data.units[i] for i in range(data.schedule.units)] if isinstance(data.units, list) else None
    trained = units if units is not None else [e for i in range(data.schedule.units) for e in data.units.get(i)]  # type: ignore[union-attr]
    found = ({tuple(e.ids.tolist()) for e in trained}, {tuple(e.ids.tolist()) for e in data.evaluation(None)})
    data.close()
    return found


def _classes(folder: Path) -> dict[str, Any]:
    rows = [{"text": f"Sort {i}", "label": f"class {i % 4}"} for i in range(24)]
    (folder / "classes.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return {"task": "classify", "data": str(folder / "classes.jsonl")}


@pytest.mark.parametrize("task", ["chat", "classify"])
def test_a_share_changes_no_held_out_row_and_lies_in_a_larger_one(tmp_path: Path, task: str) -> None:
    fields = _classes(tmp_path) if task == "classify" else {}
    made = {share: _texts(_prepared(tmp_path, train_fraction=share, **fields)) for share in (0.1, 0.5, 1.0)}
    assert [len(made[share][0]) for share in (0.1, 0.5, 1.0)] == [2, 9, 18]
    assert made[0.1][0] < made[0.5][0] < made[1.0][0]
    assert made[0.1][1] == made[0.5][1] == made[1.0][1]
    assert len(made[1.0][1]) == 6
    assert not made[1.0][0] & made[1.0][1]


@pytest.mark.parametrize("task", ["chat", "classify"])
def test_split_seed_holds_out_the_same_rows_for_every_seed(tmp_path: Path, task: str) -> None:
    fields = _classes(tmp_path) if task == "classify" else {}
    one, other = (_texts(_prepared(tmp_path, seed=s, split_seed=7, train_fraction=0.5, **fields)) for s in (1, 2))
    assert one[1] == other[1]
    assert one[0] != other[0], "the share is drawn by the seed"
    assert _texts(_prepared(tmp_path, seed=1, **fields))[1] != _texts(_prepared(tmp_path, seed=2, **fields))[1]


def test_a_share_knows_the_classes_of_all_rows(tmp_path: Path) -> None:
    data = _prepared(tmp_path, train_fraction=0.05, **_classes(tmp_path))
    assert data.task is not None
    assert len(data.task.labels) == 4
    assert data.schedule.units == 1
