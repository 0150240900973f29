"""Writers that are killed, disks that fill, system calls that fail: real processes, see checkpoint_writer.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WRITER = Path(__file__).with_name("checkpoint_writer.py")


def run_writer(*arguments: str, prefix: tuple[str, ...] = ()) -> Any:
    done = subprocess.run(
        [*prefix, sys.executable, str(WRITER), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def require_survived(counts: dict[str, int], kills: int) -> None:
    assert counts["kills"] == kills
    assert counts["wedged"] == 0
    assert counts["damaged"] == 0  # not even the newest needed a fallback
    assert counts["lost"] == 0  # a save that returned was never lost
    # The test itself is tested: the kills must have hit saves, and the runs must have gone on from checkpoints.
    assert counts["inside"] >= 0.3 * kills
    assert counts["resumed"] >= 0.9 * kills - 1
    assert counts["leftovers"] > 0
    assert counts["step"] >= kills / 3


def test_ten_kills_leave_a_sound_newest_checkpoint(tmp_path: Path) -> None:
    require_survived(run_writer("kill", str(tmp_path / "root"), "10", "1"), 10)


@pytest.mark.slow
def test_two_hundred_kills_leave_a_sound_newest_checkpoint(tmp_path: Path) -> None:
    require_survived(run_writer("kill", str(tmp_path / "root"), "200", "2"), 200)


@pytest.mark.slow
def test_the_kill_test_sees_a_save_without_rename(tmp_path: Path) -> None:
    counts = run_writer("kill", str(tmp_path / "root"), "20", "3", "in-place")
    assert counts["damaged"] + counts["wedged"] > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_every_system_call_of_a_save_may_fail(tmp_path: Path) -> None:
    outcomes = run_writer("trace", str(tmp_path))
    assert outcomes["wedged"] == 0
    assert outcomes["reported"] > 40
    assert outcomes["killed"] > 20


def small_disk(tmp_path: Path) -> tuple[str, ...]:
    """A prefix for a command that then sees a tmpfs of 8 MiB at `tmp_path`, in a namespace of its own."""
    mount = f'mount -t tmpfs -o size=8m none "{tmp_path}" && exec "$@"'
    prefix = ("unshare", "-rm", "sh", "-c", mount, "sh")
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("no user namespaces here")
    return prefix


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_good_one(tmp_path: Path) -> None:
    prefix = small_disk(tmp_path)
    reports = run_writer("fill", str(tmp_path), prefix=prefix)["reports"]
    assert len(reports) == 2
    assert "MiB needed" in reports[0]
    assert "No space left on device" in reports[1]
    assert all("stands" in report and "free some space" in report and "\n" not in report for report in reports)
