"""Processes that save checkpoints and die, for test_checkpoint_kill.py. Run as a script; prints one JSON object.

kill ROOT KILLS SEED [in-place]   fork writers, SIGKILL each at a random moment, look at what is left
trace ROOT                        fork writers that strace makes fail at each system call of one save
fill ROOT                         save larger and larger checkpoints until the disk is full
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from camelid.train import checkpoint as checkpoints
from camelid.train.checkpoint import DiskFull, NotSaved, latest_checkpoint, save_checkpoint

SAVING, COMPLETED, STARTED = 0, 8, 16  # places in the shared page: inside a save; last saved step; first save begun


def group(step: int, numbers: int = 100_000) -> dict[str, dict[str, torch.Tensor]]:
    weight = torch.full((numbers,), float(step))
    return {"model": {"w": weight, "tied": weight}, "optimizer": {"m": weight[: numbers // 2] + 1}}


def sound(root: Path) -> tuple[int, int]:
    """(newest sound step or -1, damaged ones passed). Raises AssertionError if its content is another step's."""
    damaged: list[Path] = []
    newest = latest_checkpoint(root, on_damage=lambda path, reason: damaged.append(path))
    if newest is None:
        return -1, len(damaged)
    assert newest.state == {"step": newest.step}
    assert torch.equal(newest.tensors["model"]["w"], torch.full_like(newest.tensors["model"]["w"], newest.step))
    return newest.step, len(damaged)


def write_number(page: mmap.mmap, at: int, value: int) -> None:
    page[at : at + 8] = value.to_bytes(8, "little", signed=True)


def read_number(page: mmap.mmap, at: int) -> int:
    return int.from_bytes(page[at : at + 8], "little", signed=True)


def train_until_killed(root: Path, page: mmap.mmap, pause: float) -> None:
    newest = latest_checkpoint(root, on_damage=lambda path, reason: None)
    step = newest.step if newest is not None else 0
    while True:
        step += 1
        write_number(page, SAVING, 1)
        write_number(page, STARTED, 1)
        save_checkpoint(root, step, group(step), {"step": step}, keep=2)
        write_number(page, COMPLETED, step)
        write_number(page, SAVING, 0)
        time.sleep(pause)


def kill(root: Path, kills: int, seed: int) -> dict[str, int]:
    chance = random.Random(seed)
    page = mmap.mmap(-1, mmap.PAGESIZE)
    counts = {"kills": 0, "inside": 0, "wedged": 0, "damaged": 0, "lost": 0, "resumed": 0, "leftovers": 0, "step": 0}
    write_number(page, COMPLETED, -1)
    for number in range(kills):
        save_s = seconds_of_a_save(root.with_name("timed"), 3 * number)
        write_number(page, STARTED, 0)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                train_until_killed(root, page, pause=0.004)
            os._exit(1)
        ended = 0
        while read_number(page, STARTED) == 0 and not ended:
            time.sleep(0.0005)
            ended, _ = os.waitpid(child, os.WNOHANG)
        if ended:  # it could not go on from what the one before it left
            counts["kills"] += 1
            counts["wedged"] += 1
            shutil.rmtree(root)
            write_number(page, COMPLETED, -1)
            continue
        time.sleep(chance.uniform(0, 4 * save_s))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the writer ended by itself"
        look(root, page, counts)
    return counts


def seconds_of_a_save(root: Path, after: int) -> float:
    """Disks differ by a hundred times, and one from minute to minute; kills must fall into saves on all of them."""
    started = time.perf_counter()
    for step in range(after + 1, after + 4):
        save_checkpoint(root, step, group(step), {"step": step}, keep=2)
    return (time.perf_counter() - started) / 3


def look(root: Path, page: mmap.mmap, counts: dict[str, int]) -> None:
    counts["kills"] += 1
    counts["inside"] += read_number(page, SAVING)
    completed = read_number(page, COMPLETED)
    counts["leftovers"] += any(path.name.startswith(".") for path in root.iterdir()) if root.is_dir() else 0
    try:
        counts["step"], damaged = sound(root)
    except Exception:
        counts["wedged"] += 1
        return
    counts["damaged"] += damaged
    counts["lost"] += counts["step"] < completed
    counts["resumed"] += counts["step"] > 0


@contextlib.contextmanager
def in_place(target: Path, *, fsync_files: bool = True) -> Iterator[Path]:
    """What many trainers do: write straight into the final directory."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    yield target


CALLS = ("mkdir", "openat", "write", "fsync", "close", "rename", "unlinkat", "fstatfs,statfs", "getdents64")
ERRORS = ("error=ENOSPC", "error=EIO", "signal=KILL")


def trace(root: Path) -> dict[str, object]:
    """Every system call of one save, made to fail in a forked writer by strace, one at a time."""
    outcomes: dict[str, int] = {"reported": 0, "killed": 0, "unharmed": 0, "wedged": 0}
    for calls in CALLS:
        for error in ERRORS:
            number = 1
            while trace_one(root, calls, error, number, outcomes):
                number += 1
    return {**outcomes, "injected": sum(outcomes.values())}


def trace_one(root: Path, calls: str, error: str, number: int, outcomes: dict[str, int]) -> bool:
    """Inject one fault; False if the save made fewer such calls."""
    folder = Path(tempfile.mkdtemp(dir=root))
    for step in (1, 2):
        save_checkpoint(folder, step, group(step, 500), {"step": step}, keep=2)
    go_read, go_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go_read, 1)
        try:
            save_checkpoint(folder, 3, group(3, 500), {"step": 3}, keep=2)
        except NotSaved:
            os._exit(7)
        except BaseException as other:
            print(repr(other), file=sys.stderr, flush=True)
            os._exit(8)
        os._exit(0)
    log = folder.with_suffix(".log")
    command = ["strace", "-p", str(child), "-o", str(log), "-e", f"trace={calls}"]
    tracer = subprocess.Popen(
        [*command, "-e", f"inject={calls}:{error}:when={number}"], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr is not None
    assert "attached" in tracer.stderr.readline()
    os.write(go_write, b"g")
    _, status = os.waitpid(child, 0)
    tracer.wait()
    os.close(go_read)
    os.close(go_write)
    killed = os.WIFSIGNALED(status)
    injected = killed or bool(re.search(r"\(INJECTED\)", log.read_text()))
    if injected:
        code = -9 if killed else os.waitstatus_to_exitcode(status)
        if code not in (0, 7, -9) or not survived(folder, code):
            print(f"{calls} {error} {number}: exit {code}", log.read_text(), file=sys.stderr)
            code = 1
        outcomes[{0: "unharmed", 7: "reported", -9: "killed"}.get(code, "wedged")] += 1
    return injected


def survived(folder: Path, code: int) -> bool:
    """Whether a good one is there, a save that reported no error is complete, and the next save works."""
    try:
        step, damaged = sound(folder)
        save_checkpoint(folder, 4, group(4, 500), {"step": 4}, keep=2)
        return step in (2, 3) and damaged == 0 and (code != 0 or step == 3) and sound(folder) == (4, 0)
    except (NotSaved, AssertionError) as error:
        print(error, file=sys.stderr)
        return False


def fill(root: Path) -> dict[str, object]:
    """On a small disk: with the check of free space, and without it, so that the disk fills in the middle of a file."""
    reports = []
    for check in (True, False):
        folder = root / f"check-{check}"
        if not check:
            checkpoints._require_space = lambda root, needed: None
        step = 0
        try:
            while step < 1000:
                step += 1
                save_checkpoint(folder, step, group(step, 20_000 * step), {"step": step}, keep=1)
        except DiskFull as error:
            reports.append(str(error))
        newest, damaged = sound(folder)
        assert (newest, damaged) == (step - 1, 0), (newest, damaged, step)
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]
        for path in folder.iterdir():
            checkpoints.remove_directory(path)
    return {"reports": reports}


def main() -> None:
    mode, root, *rest = sys.argv[1:]
    torch.set_num_threads(1)
    if mode == "kill":
        if rest[2:] == ["in-place"]:
            checkpoints.staged_directory = in_place
        result: object = kill(Path(root), int(rest[0]), int(rest[1]))
    else:
        result = {"trace": trace, "fill": fill}[mode](Path(root))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
