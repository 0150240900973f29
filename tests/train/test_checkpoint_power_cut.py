"""Power cuts and failing calls at every file call of a save: the last good one stands, nothing half-written counts."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from lossy_disk import WATCHED, LossyDisk, PowerCut

from camelid.errors import UserError
from camelid.train.checkpoint import (
    DiskFull,
    NotSaved,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)

CHANCES = (0.0, 1.0, None)  # all unsynced work lost, all kept, and a throw of coins


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where there is such a place: 2,000 small directories are slow on a busy disk."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _no_real_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is durable is modelled here; waiting for the real disk would only make 2,000 saves slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def save(root: Path, step: int, keep: int = 1) -> None:
    weight = torch.arange(300, dtype=torch.float32) * step
    save_checkpoint(root, step, {"model": {"w": weight}, "optimizer": {"m": weight + 1}}, {"step": step}, keep=keep)


def require_sound(root: Path, *, steps: tuple[int, ...]) -> int:
    """The newest checkpoint is one of `steps` and holds that step's tensors; no checkpoint at all is damaged."""
    for path in list_checkpoints(root):
        load_checkpoint(path)
    damage = []
    checkpoint = latest_checkpoint(root, on_damage=lambda path, reason: damage.append(f"{path.name}: {reason}"))
    assert checkpoint is not None
    assert not damage
    assert checkpoint.step in steps
    assert checkpoint.state == {"step": checkpoint.step}
    assert torch.equal(checkpoint.tensors["model"]["w"], torch.arange(300, dtype=torch.float32) * checkpoint.step)
    return checkpoint.step


def prepared(root: Path, steps: int = 2) -> Path:
    root.mkdir()
    for step in range(1, steps + 1):
        save(root, step, keep=2)
    return root


def calls_of_a_save(folder: Path, step: int = 3) -> int:
    with LossyDisk(prepared(folder)) as disk:
        save(folder, step)
    return len(disk.calls)


def cut_and_rebuild(folder: Path, name: str, call: int, step: int, chance: float | None, **options: Any) -> Path:
    coin = random.Random(f"{name} {call} {step}")
    root = prepared(folder / name)
    with LossyDisk(root, **options) as disk:
        disk.cut(call)
        with pytest.raises(PowerCut):
            save(root, step)
    left = folder / f"{name}-left"
    disk.rebuild(left, (lambda: coin.choice((0.0, 0.5, 1.0))) if chance is None else (lambda: chance))
    return left


@pytest.mark.parametrize("step", [3, 2], ids=["new step", "same step again"])
def test_power_cut_at_every_call_leaves_a_sound_newest_checkpoint(tmp_path: Path, step: int) -> None:
    total = calls_of_a_save(tmp_path / "count", step)
    assert total > 25
    reached = set()
    for call in range(total):
        for number, chance in enumerate(CHANCES):
            left = cut_and_rebuild(tmp_path, f"{call}-{number}", call, step, chance)
            reached.add(require_sound(left, steps=(2, step)))
            save(left, 4)  # and the next start can save over whatever was left
            assert require_sound(left, steps=(4,)) == 4
            assert not [path for path in left.iterdir() if path.name.startswith(".")]
    assert reached == {2, step}


def test_power_cut_loses_at_most_the_save_it_falls_into(tmp_path: Path) -> None:
    root = prepared(tmp_path / "root")
    with LossyDisk(root) as disk:
        save(root, 3)
        disk.cut(len(disk.calls))
    disk.rebuild(tmp_path / "left", lambda: 0.0)
    assert require_sound(tmp_path / "left", steps=(3,)) == 3  # a save that returned is durable


def test_the_power_cut_test_sees_missing_fsyncs(tmp_path: Path) -> None:
    total = calls_of_a_save(tmp_path / "count")
    unsound = 0
    for call in range(total):
        left = cut_and_rebuild(tmp_path, str(call), call, 3, None, ignore=("fsync",))
        try:
            require_sound(left, steps=(1, 2, 3))
        except (AssertionError, UserError):
            unsound += 1
    assert unsound > 0


class FailingCall:
    """Makes one watched call raise OSError, alone or with all that follow."""

    def __init__(self, number: int, code: int, *, sticky: bool) -> None:
        self.number, self.code, self.sticky, self.seen = number, code, sticky, 0
        self.failed = ""

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in WATCHED:
            patch.setattr(os, name, self._wrap(name, vars(os)[name]))

    def _wrap(self, name: str, real: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            number, self.seen = self.seen, self.seen + 1
            if number == self.number or (self.sticky and number > self.number and name != "close"):
                self.failed = self.failed or name
                if name == "close":
                    real(*arguments)  # a failing close closes all the same
                raise OSError(self.code, os.strerror(self.code))
            return real(*arguments, **keywords)

        return call


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("step", [3, 2], ids=["new step", "same step again"])
def test_every_failing_call_of_a_save_is_reported_and_the_last_good_one_stands(
    tmp_path: Path, step: int, code: int, sticky: bool
) -> None:
    total = calls_of_a_save(tmp_path / "count", step)
    failed = set()
    for number in range(total):
        root = prepared(tmp_path / str(number))
        fault = FailingCall(number, code, sticky=sticky)
        with pytest.MonkeyPatch.context() as patch:
            fault.install(patch)
            with pytest.raises(NotSaved) as caught:
                save(root, step)
        failed.add(fault.failed)
        if fault.failed != "close":  # shutil.rmtree closes twice if the first one fails: another error then
            assert isinstance(caught.value, DiskFull) == (code == errno.ENOSPC)
            assert os.strerror(code) in str(caught.value)
        assert "stands" in str(caught.value)
        require_sound(root, steps=(2, step))
        save(root, 4)
        assert require_sound(root, steps=(4,)) == 4
        assert not [path for path in root.iterdir() if path.name.startswith(".")]
    assert {"open", "write", "fsync", "mkdir", "rename"} <= failed


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:100]))
    save(tmp_path, 1)
    require_sound(tmp_path, steps=(1,))
