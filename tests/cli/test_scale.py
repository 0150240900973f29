"""`camelid scale`: nested shares, the same held-out rows, the same epochs, one answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import camelid, recipe_file
from tiny import chat_rows

from camelid.cli.scale import plan, scale
from camelid.errors import UserError


def _recipe(folder: Path) -> Path:
    rows = str(chat_rows(folder / "rows.jsonl", 40))
    return recipe_file(
        folder, data=rows, eval_fraction=0.2, max_steps=None, num_train_epochs=1, per_device_train_batch_size=8
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shares=[0.5]"], "at least two shares"),
        (["shares=[0.5, 0.5]"], "at least two shares"),
        (["shares=[0, 1]"], "at least two shares"),
        (["shares=[0.5, 2]"], "at least two shares"),
        (["shares=half"], "at least two shares"),
        (["shares=[true, 0.5]"], "at least two shares"),
        (["seeds=0"], "how many seeds"),
        (["max_steps=5"], "max_steps gives a small share more epochs"),
        (["train_fraction=0.5"], "is what is varied here"),
        (["eval_fraction=0"], "no run is trained on"),
        (["learning_rat=1"], "unknown key"),
    ],
)
def test_faults_are_found_before_the_first_run(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        scale(_recipe(tmp_path), arguments, as_json=False)
    assert message in str(caught.value)
    assert not list(tmp_path.glob("*-scale"))


def test_shares_are_ascending_and_two_seeds_the_default(tmp_path: Path) -> None:
    asked = plan(_recipe(tmp_path), ["shares=[1, 0.25]", "lora.r=4"])
    assert (asked.shares, asked.seeds, asked.overrides) == ([0.25, 1.0], 2, ["lora.r=4"])


def test_shares_are_run_once_and_too_few_points_are_said(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path)
    arguments = ["scale", recipe, "shares=[0.25, 1]", "seeds=1", "--json"]
    code, out, err = camelid(*arguments)
    assert code == 0, err
    found = json.loads(out)
    assert [(row["rows"], row["seeds"]) for row in found["shares"]] == [(8, 1), (32, 1)]
    assert (found["answer"], found["fit"]) == ("few", None)
    assert "Too few points" in err
    assert "点太少" in err
    folder = tmp_path / "run-scale"
    made = [json.loads((folder / f"share-{s}-seed42" / "result.json").read_text()) for s in ("0.25", "1")]
    assert [one["result"]["steps"] for one in made] == [1, 4], "one epoch each"
    assert all(one["recipe"]["split_seed"] == 42 for one in made)
    assert found["untrained"] == made[0]["result"]["eval_losses"][0][1] == made[1]["result"]["eval_losses"][0][1], (
        "the same held-out rows"
    )
    assert "<svg" in (folder / "scale.html").read_text()
    again = camelid(*arguments)
    assert again[2].count("done before") == 2
    assert json.loads(again[1]) == found
