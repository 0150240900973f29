"""Checkpoints: what is saved comes back exactly, old ones go, and every damage is found and named."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from camelid.errors import UserError
from camelid.train.checkpoint import (
    DamagedCheckpoint,
    DiskFull,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    set_aside_after,
)

MOTHER_STEPS = (10, 20, 30)


def tensors_of(step: int) -> dict[str, dict[str, torch.Tensor]]:
    weight = torch.arange(64, dtype=torch.float32).reshape(8, 8) * step
    return {
        "model": {"embed": weight, "head": weight, "norm": torch.full((8,), float(step), dtype=torch.bfloat16)},
        "optimizer": {"embed.m": weight / 3, "embed.step": torch.tensor(step)},
        "rng": {"torch_cpu": torch.arange(50, dtype=torch.uint8)},
    }


def save(root: Path, step: int, **options: Any) -> Path:
    return save_checkpoint(root, step, tensors_of(step), {"step": step, "loss": 1 / 3, "epoch": None}, **options)


def never(path: Path, reason: str) -> None:
    raise AssertionError(f"{path} was called damaged: {reason}")


def steps_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


@pytest.fixture(scope="module")
def mother(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sound checkpoints, to be copied and damaged."""
    root = tmp_path_factory.mktemp("mother")
    for step in MOTHER_STEPS:
        save(root, step)
    return root


def test_what_is_loaded_equals_what_was_saved_and_ties_stay_ties(tmp_path: Path) -> None:
    path = save(tmp_path, 7)
    checkpoint = load_checkpoint(path)
    assert (checkpoint.step, checkpoint.path, path.name) == (7, path, "step-7")
    assert checkpoint.state == {"step": 7, "loss": 1 / 3, "epoch": None}
    expected = tensors_of(7)
    assert {stem: set(group) for stem, group in checkpoint.tensors.items()} == {k: set(v) for k, v in expected.items()}
    for stem, group in expected.items():
        for name, tensor in group.items():
            loaded = checkpoint.tensors[stem][name]
            assert loaded.dtype == tensor.dtype
            assert torch.equal(loaded, tensor)
    assert checkpoint.tensors["model"]["embed"] is checkpoint.tensors["model"]["head"]


def test_no_checkpoint_is_none_and_no_directory_too(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path, on_damage=never) is None
    assert latest_checkpoint(tmp_path / "nothing here", on_damage=never) is None


def test_latest_is_by_number_and_not_by_name(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        save(tmp_path, step)
    newest = latest_checkpoint(tmp_path, on_damage=never)
    assert newest is not None
    assert newest.step == 100


def test_pruning_keeps_the_newest_the_protected_and_the_later_ones(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40, 90):
        save(tmp_path, step)
    save(tmp_path, 50, keep=2, protect=[10])
    assert steps_in(tmp_path) == ["step-10", "step-40", "step-50", "step-90"]
    save(tmp_path, 60, keep=1, protect={10})
    assert steps_in(tmp_path) == ["step-10", "step-60", "step-90"]
    with pytest.raises(ValueError, match="keep=0"):
        save(tmp_path, 70, keep=0)


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save_checkpoint(tmp_path, 5, {"model": {}}, {"second": True})
    assert load_checkpoint(tmp_path / "step-5").state == {"second": True}
    assert steps_in(tmp_path) == ["step-5"]


def test_leftovers_of_killed_writers_never_count_and_are_cleaned_by_the_next_save(tmp_path: Path) -> None:
    save(tmp_path, 1)
    for name in (".step-2.partial-4242", ".step-0.deleted-7", ".step-1.replaced-9"):
        shutil.copytree(tmp_path / "step-1", tmp_path / name)
    newest = latest_checkpoint(tmp_path, on_damage=never)
    assert newest is not None
    assert newest.step == 1
    save(tmp_path, 3)
    assert steps_in(tmp_path) == ["step-1", "step-3"]


def test_a_replacement_cut_between_two_renames_is_found_and_undone(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-1").rename(tmp_path / ".step-1.replaced-77")
    newest = latest_checkpoint(tmp_path, on_damage=never)
    assert newest is not None
    assert newest.step == 1
    save(tmp_path, 2)
    assert steps_in(tmp_path) == ["step-1", "step-2"]


def test_going_on_from_an_older_one_sets_the_later_ones_aside(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert [path.name for path in set_aside_after(tmp_path, 1)] == ["superseded-step-2", "superseded-step-3"]
    newest = latest_checkpoint(tmp_path, on_damage=never)
    assert newest is not None
    assert newest.step == 1
    save(tmp_path, 2)
    set_aside_after(tmp_path, 1)
    assert steps_in(tmp_path) == ["step-1", "superseded-step-2", "superseded-step-3"]


STATES: list[tuple[Any, type[Exception]]] = [
    ({"a": (1, 2)}, TypeError),
    ({"a": {1: 2}}, TypeError),
    ({"a": float("nan")}, ValueError),
    ({"a": torch.tensor(1)}, TypeError),
]


@pytest.mark.parametrize(("state", "error"), STATES, ids=["tuple", "integer key", "nan", "tensor"])
def test_a_state_that_would_come_back_changed_is_refused(tmp_path: Path, state: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        save_checkpoint(tmp_path, 1, {}, state)
    assert steps_in(tmp_path) == []


@pytest.mark.parametrize("stem", ["../up", "", "a/b", ".hidden", "a\0b"])
def test_file_stems_cannot_leave_the_directory(tmp_path: Path, stem: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        save_checkpoint(tmp_path, 1, {stem: {}}, {})


def test_only_rank_0_writes_and_all_meet_at_the_barrier_even_after_an_error(tmp_path: Path) -> None:
    met: list[int] = []
    save(tmp_path, 1, rank=1, barrier=lambda: met.append(1))
    assert (met, steps_in(tmp_path)) == ([1], [])
    with pytest.raises(ValueError, match="no name"):
        save_checkpoint(tmp_path, 1, {"/": {}}, {}, rank=0, barrier=lambda: met.append(0))
    assert met == [1, 0]


def test_too_little_space_is_refused_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((*real[:4], 3, *real[5:])))
    with pytest.raises(DiskFull, match=r"MiB needed.*step-1 stands") as caught:
        save(tmp_path, 2)
    assert "\n" not in str(caught.value)
    assert steps_in(tmp_path) == ["step-1"]


# --- damages ---------------------------------------------------------------------------------------------------------


def _flip(content: bytes, place: float, size: float, bit: int) -> bytes:
    at = min(int(place * len(content)), len(content) - 1)
    return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]


def _zero(content: bytes, place: float, size: float, bit: int) -> bytes:
    at = int(place * len(content))
    count = max(1, int(size * (len(content) - at)))
    return content[:at] + bytes(count) + content[at + count :]


def _truncate(content: bytes, place: float, size: float, bit: int) -> bytes:
    return content[: int(place * len(content))]


def _extend(content: bytes, place: float, size: float, bit: int) -> bytes:
    return content + bytes([bit]) * (1 + int(size * 100))


def _insert(content: bytes, place: float, size: float, bit: int) -> bytes:
    at = int(place * len(content))
    return content[:at] + b" " + content[at:]


def _swap(content: bytes, place: float, size: float, bit: int) -> bytes:
    half = len(content) // 2
    return content[half:] + content[:half]


CHANGES: dict[str, Callable[[bytes, float, float, int], bytes]] = {
    "flip": _flip,
    "zero": _zero,
    "truncate": _truncate,
    "extend": _extend,
    "insert": _insert,
    "swap": _swap,
}
FILES = ("model.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json", "manifest.json")


def damage(path: Path, how: str, place: float, size: float, bit: int, other: Path) -> bool:
    """Damage one file; False if that left it as it was."""
    before = path.read_bytes()
    if how == "delete":
        path.unlink()
    elif how == "rename":
        path.rename(path.with_name(path.name + ".bak"))
    elif how == "directory":
        path.unlink()
        path.mkdir()
    elif how == "of another step":
        path.write_bytes(other.read_bytes())
    else:
        path.write_bytes(CHANGES[how](before, place, size, bit))
    return not path.is_file() or path.read_bytes() != before


def check_damage(copy: Path, name: str, how: str, place: float, size: float, bit: int) -> None:
    """Damage `name` in the newest of three checkpoints, look, and put it back."""
    path = copy / "step-30" / name
    content = path.read_bytes()
    try:
        if damage(path, how, place, size, bit, copy / "step-20" / name):
            require_found(copy, name)
    finally:
        if path.is_dir():
            path.rmdir()
        path.write_bytes(content)


def require_found(copy: Path, name: str) -> None:
    found: list[tuple[str, str]] = []
    checkpoint = latest_checkpoint(copy, on_damage=lambda path, reason: found.append((path.name, reason)))
    assert checkpoint is not None
    assert checkpoint.step == 20
    assert torch.equal(checkpoint.tensors["model"]["embed"], tensors_of(20)["model"]["embed"])
    assert [step for step, _ in found] == ["step-30"]
    assert name in found[0][1]  # the damaged file is named
    with pytest.raises(DamagedCheckpoint, match=re.escape(name)):
        load_checkpoint(copy / "step-30")


@pytest.fixture(scope="module")
def copy(mother: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(mother, tmp_path_factory.mktemp("damaged") / "checkpoints")


damages = given(
    name=st.sampled_from(FILES),
    how=st.sampled_from([*CHANGES, "delete", "rename", "directory", "of another step"]),
    place=st.floats(0, 1),
    size=st.floats(0, 1),
    bit=st.integers(0, 7),
)


@settings(max_examples=150)
@damages
@example(name="manifest.json", how="truncate", place=0, size=0, bit=0)
def test_every_damage_is_found_and_the_checkpoint_before_is_used(
    copy: Path, name: str, how: str, place: float, size: float, bit: int
) -> None:
    if (name, how) != ("manifest.json", "of another step"):  # a sound one that belongs elsewhere: its own test below
        check_damage(copy, name, how, place, size, bit)


@pytest.mark.slow
@settings(max_examples=10_000)
@damages
def test_ten_thousand_damages(copy: Path, name: str, how: str, place: float, size: float, bit: int) -> None:
    if how != "of another step":
        check_damage(copy, name, how, place, size, bit)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_single_bit(mother: Path, tmp_path: Path, name: str) -> None:
    """Exhaustive where it can be: each bit of each file of a small checkpoint, flipped alone."""
    shutil.copytree(mother / "step-30", tmp_path / "step-30")
    path = tmp_path / "step-30" / name
    content = path.read_bytes()
    for at in range(len(content)):
        for bit in range(8):
            path.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
            with pytest.raises(DamagedCheckpoint, match=re.escape(name)):
                load_checkpoint(tmp_path / "step-30")
    path.write_bytes(content)
    load_checkpoint(tmp_path / "step-30")


def test_a_manifest_of_another_checkpoint_is_found(mother: Path, tmp_path: Path) -> None:
    shutil.copytree(mother, tmp_path, dirs_exist_ok=True)
    shutil.copy(tmp_path / "step-20" / "manifest.json", tmp_path / "step-30" / "manifest.json")
    with pytest.raises(DamagedCheckpoint, match="step 20 under another name"):
        load_checkpoint(tmp_path / "step-30")


def test_a_checkpoint_under_another_steps_name_is_found(mother: Path, tmp_path: Path) -> None:
    shutil.copytree(mother, tmp_path, dirs_exist_ok=True)
    (tmp_path / "step-20").rename(tmp_path / "step-40")
    found: list[str] = []
    checkpoint = latest_checkpoint(tmp_path, on_damage=lambda path, reason: found.append(path.name))
    assert checkpoint is not None
    assert (checkpoint.step, found) == (30, ["step-40"])


def test_when_every_checkpoint_is_damaged_the_run_does_not_start_fresh(mother: Path, tmp_path: Path) -> None:
    shutil.copytree(mother, tmp_path, dirs_exist_ok=True)
    for path in list_checkpoints(tmp_path):
        (path / "state.json").write_text("{}")
    found: list[str] = []
    with pytest.raises(UserError, match="every checkpoint is damaged") as caught:
        latest_checkpoint(tmp_path, on_damage=lambda path, reason: found.append(path.name))
    assert found == ["step-30", "step-20", "step-10"]
    assert all(name in str(caught.value) for name in (*found, "resume=no"))


def test_an_unsealed_manifest_with_true_hashes_is_still_refused(mother: Path, tmp_path: Path) -> None:
    shutil.copytree(mother / "step-30", tmp_path / "step-30")
    manifest = json.loads((tmp_path / "step-30" / "manifest.json").read_text())
    manifest["digest"] = "0" * 64
    (tmp_path / "step-30" / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, indent=1))
    with pytest.raises(DamagedCheckpoint, match="its own digest"):
        load_checkpoint(tmp_path / "step-30")


def test_a_file_that_the_manifest_does_not_know_is_never_read(mother: Path, tmp_path: Path) -> None:
    shutil.copytree(mother / "step-30", tmp_path / "step-30")
    (tmp_path / "step-30" / "extra.safetensors").write_bytes(b"\x80\x04pickle")
    assert set(load_checkpoint(tmp_path / "step-30").tensors) == {"model", "optimizer", "rng"}
