"""The run directory: one recipe, one writer, nothing of the user's ever overwritten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from camelid.config import make_recipe
from camelid.errors import UserError
from camelid.runs.directory import FREE_FIELDS, LAYOUT_FIELDS, RunDirectory
from camelid.runs.durable import NotSaved
from camelid.runs.manifest import make_manifest

RECIPE = make_recipe({"data": "数据/*.jsonl", "learning_rate": 1e-5}).model_dump(mode="json")


def create(path: Path, resume: str = "auto", **changes: Any) -> RunDirectory:
    return RunDirectory.create(path, resume, recipe={**RECIPE, **changes})


def manifest(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "data": [{"file": "a.jsonl", "sha256": "1", "bytes": 5, "rows": 2}],
        "template": {"name": "chatml", "sha256": "2"},
        "base": {"label": "nano", "sha256": "3"},
        "seed": 42,
        "dtype": {"chosen": "float32"},
    }
    return make_manifest(**{**values, **changes})


def test_a_new_run_writes_its_recipe_and_reads_it_back_exactly(tmp_path: Path) -> None:
    with create(tmp_path / "deep" / "run") as run:
        assert not run.resuming
        assert run.checkpoints.is_dir()
        assert yaml.safe_load(run.recipe_file.read_text()) == RECIPE
        assert "数据" in run.recipe_file.read_text()
    assert RunDirectory.open(tmp_path / "deep" / "run").recipe == RECIPE


def test_the_same_recipe_goes_on_whatever_the_free_fields_say(tmp_path: Path) -> None:
    create(tmp_path / "run").close()
    with create(tmp_path / "run", save_steps=7, logging_steps=3, output_dir="elsewhere") as run:
        assert run.resuming
        assert yaml.safe_load(run.recipe_file.read_text())["save_steps"] == 7


OTHERS = [
    ({"learning_rate": 2e-5}, "learning_rate: 1e-05 there, 2e-05 here"),
    ({"lora": {**RECIPE["lora"], "r": 16}}, "lora.r: 8 there, 16 here"),
    ({"data": ["a", "b"]}, "data: "),
    ({"seed": 43, "max_steps": 5, "base": "nano", "optim": "muon"}, "and 1 more"),
    ({"new_field": 1}, "new_field: None there, 1 here"),
]


@pytest.mark.parametrize(("changes", "shown"), OTHERS, ids=[next(iter(change)) for change, _ in OTHERS])
def test_another_recipes_run_is_refused_with_the_difference_and_the_mend(
    tmp_path: Path, changes: dict[str, Any], shown: str
) -> None:
    create(tmp_path / "run").close()
    with pytest.raises(UserError) as caught:
        create(tmp_path / "run", **changes)
    assert shown in str(caught.value)
    assert "choose another output_dir" in str(caught.value)
    assert "\n" not in str(caught.value)
    create(tmp_path / "run").close()  # the refusal held no lock and changed nothing


def test_a_changed_layout_goes_on_and_says_what_that_means(tmp_path: Path) -> None:
    create(tmp_path / "run").close()
    said: list[str] = []
    recipe = {**RECIPE, "max_tokens_per_row": 4096, "gradient_checkpointing": True}
    RunDirectory.create(tmp_path / "run", recipe=recipe, announce=said.append).close()
    assert len(said) == 1
    assert said[0].startswith("gradient_checkpointing, max_tokens_per_row changed")
    assert said[0].endswith("equal to rounding, not bit for bit")


def test_the_fields_that_may_change_exist() -> None:
    assert set(RECIPE) >= FREE_FIELDS | LAYOUT_FIELDS


def test_resume_no_sets_the_old_run_aside_and_says_where(tmp_path: Path) -> None:
    said: list[str] = []
    for number in (1, 2):
        with create(tmp_path / "run") as run:
            (run.path / "mark").write_text(str(number))
        RunDirectory.create(tmp_path / "run", "no", recipe=RECIPE, announce=said.append).close()
    assert (tmp_path / "run.old-1" / "mark").read_text() == "1"
    assert (tmp_path / "run.old-2" / "mark").read_text() == "2"
    assert not (tmp_path / "run" / "mark").exists()
    assert ["run.old-1" in said[0], "run.old-2" in said[1]] == [True, True]


def test_a_directory_with_other_files_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"thesis\.tex.*choose an empty or a new directory"):
        create(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "thesis.tex"]


def test_a_start_that_died_before_its_recipe_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / ".recipe.yaml.partial-99").write_text("ba")
    with create(tmp_path / "run") as run:
        assert not run.resuming
        assert not (tmp_path / "run" / ".recipe.yaml.partial-99").exists()


def test_checkpoints_without_a_recipe_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints" / "step-5").mkdir(parents=True)
    with pytest.raises(UserError, match="checkpoints/step-5"):
        create(tmp_path / "run")


@pytest.mark.parametrize("below", ["", "deeper"])
def test_an_output_dir_that_is_a_file_is_the_users_fault(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        create(tmp_path / "file" / below)


def test_a_disk_that_refuses_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(NotSaved, match="Read-only file system"):
        create(tmp_path / "run")


DAMAGED: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "list": lambda path: path.write_text("[1]"),
    "not YAML": lambda path: path.write_text("a: [1"),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "directory": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_opening_what_is_no_run_says_so(tmp_path: Path, how: str) -> None:
    create(tmp_path / "run").close()
    DAMAGED[how](tmp_path / "run" / "recipe.yaml")
    with pytest.raises(UserError, match=r"recipe\.yaml"):
        RunDirectory.open(tmp_path / "run")


def test_the_manifest_refuses_other_inputs_and_keeps_every_start(tmp_path: Path) -> None:
    with create(tmp_path / "run") as run:
        run.record(manifest())
        run.record(manifest(step=40, dtype={"chosen": "bfloat16"}))
        starts = json.loads(run.manifest_file.read_text())["starts"]
        assert [start["step"] for start in starts] == [0, 40]
        with pytest.raises(UserError, match=r"data: a\.jsonl changed"):
            run.record(manifest(data=[{"file": "a.jsonl", "sha256": "9", "bytes": 5, "rows": 2}]))
        with pytest.raises(UserError, match="base: sha256 was 3, is 4"):
            run.record(manifest(base={"label": "nano", "sha256": "4"}))
        assert len(json.loads(run.manifest_file.read_text())["starts"]) == 2


def test_rejected_rows_start_anew_with_each_start(tmp_path: Path) -> None:
    with create(tmp_path / "run") as run:
        for _ in range(2):
            with run.rejected() as rejected:
                rejected.write({"file": "a.jsonl", "line": 3, "reason": "no answer", "excerpt": "…"})
        assert run.rejected_file.read_text().count("\n") == 1


def test_final_appears_whole(tmp_path: Path) -> None:
    with create(tmp_path / "run") as run:
        with run.writing_final() as folder:
            (folder / "adapter_config.json").write_text("{}")
            assert not run.final.exists()
        assert [path.name for path in run.final.iterdir()] == ["adapter_config.json"]


# --- the lock --------------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from camelid.runs.directory import RunDirectory
run = RunDirectory.create(sys.argv[1], recipe={"data": "x"})
print("held", flush=True)
time.sleep(60)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_two_processes_do_not_write_one_run_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    holder = hold(tmp_path / "run")
    try:
        for resume in ("auto", "no"):
            with pytest.raises(UserError, match=rf"another process is writing this run \(process {holder.pid}, since"):
                RunDirectory.create(tmp_path / "run", resume, recipe={"data": "x"})
        assert RunDirectory.open(tmp_path / "run").recipe == {"data": "x"}  # reading is free
        assert not (tmp_path / "run.old-1").exists()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with RunDirectory.create(tmp_path / "run", recipe={"data": "x"}) as run:
        assert run.resuming


def test_the_lock_ends_with_close(tmp_path: Path) -> None:
    first = create(tmp_path / "run")
    with pytest.raises(UserError, match="another process"):
        create(tmp_path / "run")
    first.close()
    create(tmp_path / "run").close()


def test_a_file_system_without_locks_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    said: list[str] = []
    RunDirectory.create(tmp_path / "run", recipe=RECIPE, announce=said.append).close()
    assert len(said) == 1
    assert "no locks" in said[0]
