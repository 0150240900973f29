"""`camelid tune`: every trial a run of its own; killed with SIGKILL it goes on; its best is a recipe."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from program import camelid, recipe_file

from camelid.cli.child_run import held_out_losses
from camelid.cli.tune import plan, tune
from camelid.config import load_recipe
from camelid.errors import UserError
from camelid.runs.lock import Lock
from camelid.runs.metrics import read_metrics


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trials=0"], "how many trials"),
        (["trials=many"], "how many trials"),
        (["space.lora.r=[unclosed"], "not readable as YAML"),
        (["space.learning_rat=[1]"], "did you mean 'learning_rate'"),
        (["space.lora.r=[0]"], "lora.r=0"),
        (["space=nowhere.yaml"], "no readable space"),
        (["learning_rat=1"], "unknown key"),
        (["eval_fraction=0"], "no run is trained on"),
    ],
)
def test_faults_are_found_before_the_first_trial(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        tune(recipe_file(tmp_path, eval_fraction=0.3), arguments, as_json=False)
    assert message in str(caught.value)
    assert not list(tmp_path.glob("*-tune"))


def test_a_space_beside_the_recipe_is_taken_and_the_command_line_goes_before(tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, eval_fraction=0.3)
    assert {d.field for d in plan(recipe, []).space} == {"learning_rate", "lora.r", "lora.lora_dropout", "weight_decay"}
    (tmp_path / "recipe.space.yaml").write_text("learning_rate: log 1e-5 1e-2\nlora.r: [16, 32]\n")
    assert [str(d) for d in plan(recipe, []).space] == ["log 1e-05 0.01", "[8, 16, 32]"]
    asked = plan(recipe, ["space.lora.r=[64]", "lora.r=64", "trials=3"])
    assert [str(d) for d in asked.space] == ["log 1e-05 0.01", "[64]"]
    assert (asked.trials, asked.overrides) == (3, ["lora.r=64"])
    (tmp_path / "recipe.space.yaml").write_text("- a list\n")
    with pytest.raises(UserError, match="a YAML mapping of fields"):
        plan(recipe, [])


def test_killed_it_goes_on_ends_what_is_bad_and_writes_the_best_as_a_recipe(tmp_path: Path) -> None:
    """The first trial is good and killed half-way; the second one's rate is next to nothing."""
    recipe = recipe_file(tmp_path, eval_fraction=0.3, max_steps=80, save_steps=10, learning_rate=1e-2)
    arguments = ["tune", str(recipe), "trials=2", "space.learning_rate=uniform 1e-9 2e-9", "--json"]
    folder = tmp_path / "run-tune"
    first = folder / "trial-000"
    with subprocess.Popen([sys.executable, "-m", "camelid", *arguments], stdout=subprocess.DEVNULL) as search:
        _until(lambda: len(list(first.glob("checkpoints/step-*"))) > 1 or search.poll() is not None)
        search.kill()
    assert search.returncode == -signal.SIGKILL
    _until(lambda: _is_free(first), "its child ends by itself")
    saved = max(int(path.name.split("-")[1]) for path in first.glob("checkpoints/step-*"))
    assert 0 < saved < 80
    before = read_metrics(first / "metrics.jsonl")

    code, out, err = camelid(*arguments)
    assert code == 0, err
    found = json.loads(out)
    after = read_metrics(first / "metrics.jsonl")
    assert after[: len(before)] == before, "the first trial went on from its checkpoint"
    assert [row["step"] for row in after if "loss" in row] == list(range(1, 81))
    assert [share for share, _ in held_out_losses(first)] == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert [trial["state"] for trial in found["trials"]] == ["done", "pruned"]
    assert found["best"]["trial"] == 0
    assert found["given"] == held_out_losses(first)[-1][1]
    assert max(share for share, _ in held_out_losses(folder / "trial-001")) < 1
    assert not list(folder.glob("trial-*/checkpoints")), "nothing goes on from them any more"
    assert json.loads((folder / "tune.json").read_text())["trials"] == found["trials"]
    best = folder / "best.yaml"
    assert best.read_text().startswith("# best: trial 0, held-out loss ")
    given, written = load_recipe(recipe), load_recipe(best)
    assert written.model_dump(exclude={"output_dir"}) == given.model_dump(exclude={"output_dir"})
    assert written.output_dir == f"{given.output_dir}-best"
    assert "<svg" in (folder / "tune.html").read_text()

    # once more: nothing is run again; another space or recipe is another search
    assert camelid(*arguments)[0] == 0
    assert read_metrics(first / "metrics.jsonl") == after
    code, _, err = camelid(*arguments, "space.learning_rate=uniform 1e-9 3e-9")
    assert code == 2
    assert "there is another search (space.learning_rate: 'uniform 1e-09 2e-09' there" in err
    code, _, err = camelid(*arguments, "weight_decay=0.1")
    assert code == 2
    assert "weight_decay: 0.0 there, 0.1 here" in err


def test_when_every_trial_fails_the_search_ends_with_the_reason(tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, eval_fraction=0.3, base=str(tmp_path / "no-base"))
    code, _, err = camelid("tune", recipe, "trials=1", "space.lora.r=[4, 8]")
    assert code == 2
    assert "failed: " in err
    assert "no trial has ended well" in err
    assert not (tmp_path / "run-tune" / "best.yaml").exists()


def _until(condition, what: str = "the search trains", seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


def _is_free(run: Path) -> bool:
    try:
        Lock(run / ".lock", announce=print).release()
    except UserError:
        return False
    return True
