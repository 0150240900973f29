"""Directories and files that are there as a whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from camelid.runs.durable import DiskFull, NotSaved, make_directory, not_saved, write_durably
from camelid.runs.staging import clean_leftovers, remove_directory, staged_directory, stand_ins


def fill(target: Path, text: str) -> None:
    with staged_directory(target) as staging:
        (staging / "below").mkdir()
        (staging / "below" / "file").write_text(text)


def content(target: Path) -> str:
    return (target / "below" / "file").read_text()


def test_it_appears_whole_and_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "final"
    with staged_directory(target) as staging:
        (staging / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    fill(target, "2")
    assert content(target) == "2"
    assert not (target / "a").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_an_error_in_the_block_leaves_the_former_one(tmp_path: Path) -> None:
    fill(tmp_path / "final", "former")

    def fail() -> None:
        with staged_directory(tmp_path / "final") as staging:
            (staging / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert content(tmp_path / "final") == "former"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_a_replacement_that_cannot_move_in_puts_the_former_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "final", "former")
    real, calls = os.rename, 0

    def second_fails(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(OSError, match="Input/output"):
        fill(tmp_path / "final", "new")
    assert content(tmp_path / "final") == "former"


def test_leftovers_are_cleaned_and_a_cut_replacement_is_undone(tmp_path: Path) -> None:
    for name in (".a.partial-1", ".b.replaced-2", ".c.deleted-3", ".d.replaced-4", "d", ".other", "normal"):
        fill(tmp_path / name, name)
    (tmp_path / ".report.html.partial-5").write_text("x")
    assert stand_ins(tmp_path) == {"b": tmp_path / ".b.replaced-2"}
    cleaned = clean_leftovers(tmp_path)
    assert sorted(cleaned) == sorted(
        [".a.partial-1", ".b.replaced-2", ".c.deleted-3", ".d.replaced-4", ".report.html.partial-5"]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", "b", "d", "normal"]
    assert content(tmp_path / "b") == ".b.replaced-2"
    assert content(tmp_path / "d") == "d"
    assert clean_leftovers(tmp_path / "not there") == []


def test_cleaning_does_not_follow_a_link_out_of_the_directory(tmp_path: Path) -> None:
    fill(tmp_path / "precious", "kept")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".x.partial-1").symlink_to(tmp_path / "precious")
    clean_leftovers(tmp_path / "runs")
    assert content(tmp_path / "precious") == "kept"
    assert list((tmp_path / "runs").iterdir()) == []


def test_removing(tmp_path: Path) -> None:
    fill(tmp_path / "old", "x")
    remove_directory(tmp_path / "old")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipe.yaml"
    write_durably(path, b"first")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull) as caught:
        write_durably(path, b"second")
    assert str(caught.value) == (
        f"{path}: not saved, the disk is full (No space left on device) — "
        "free some space, then run the same command again"
    )
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["recipe.yaml"]


def test_reasons_are_told_apart(tmp_path: Path) -> None:
    full = not_saved(OSError(errno.EDQUOT, "Disk quota exceeded"), tmp_path)
    broken = not_saved(OSError(errno.EIO, "Input/output error"), tmp_path, kept="step-3 stands")
    assert isinstance(full, DiskFull)
    assert not isinstance(broken, DiskFull)
    assert isinstance(broken, NotSaved)
    assert (broken.errno, full.errno) == (errno.EIO, errno.EDQUOT)
    assert "step-3 stands" in str(broken)


def test_directories_are_made_with_their_parents(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        make_directory(tmp_path / "file")
