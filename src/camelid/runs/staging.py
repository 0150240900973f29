"""Directories that appear as a whole: written under a hidden name beside their place, then renamed into it.

Hidden names, by what they are for (`<pid>` tells one writer from another in a listing, nothing depends on it):
`.NAME.partial-<pid>` being written, `.NAME.replaced-<pid>` the former NAME while the new one moves in,
`.NAME.deleted-<pid>` being deleted. A kill leaves at most one of them; `clean_leftovers` puts it right.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from camelid.runs.durable import fsync_directory

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<state>partial|replaced|deleted)-\d+")


@contextmanager
def staged_directory(target: Path, *, fsync_files: bool = True) -> Iterator[Path]:
    """Yield an empty directory; when the block ends well it becomes `target`, durably, else it is removed.

    A former `target` stands until the new one is complete. `fsync_files=False` is for a writer that has synced every
    file itself. Raises OSError; then `target` is what it was.
    """
    staging = _hidden(target, "partial")
    try:
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir()
        yield staging
        if fsync_files:
            _fsync_files(staging)
        fsync_directory(staging)
        _move_in(staging, target)
    except BaseException:
        # A second error in here would hide the first; what cannot be removed now is removed at the next start.
        shutil.rmtree(staging, ignore_errors=True)
        raise


def remove_directory(target: Path) -> None:
    """Delete `target` so that no half-deleted one is ever seen under its name. Raises OSError."""
    doomed = _hidden(target, "deleted")
    target.rename(doomed)
    fsync_directory(target.parent)
    shutil.rmtree(doomed)


def clean_leftovers(parent: Path) -> list[str]:
    """Remove what killed writers left in `parent`, and undo a replacement cut in the middle. Returns the names.

    Only for the one process that writes there: it would take a live writer's staging for a dead one's.
    """
    cleaned = []
    for name, state, path in _leftovers(parent):
        target = parent / name
        if state == "replaced" and not target.exists():
            path.rename(target)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
        cleaned.append(path.name)
    if cleaned:
        fsync_directory(parent)
    return cleaned


def stand_ins(parent: Path) -> dict[str, Path]:
    """Former directories whose replacement was cut between two renames: name -> where it stands. Changes nothing."""
    return {
        name: path
        for name, state, path in _leftovers(parent)
        if state == "replaced" and not (parent / name).exists() and path.is_dir()
    }


def _leftovers(parent: Path) -> list[tuple[str, str, Path]]:
    if not parent.is_dir():
        return []
    matches = ((_LEFTOVER.fullmatch(path.name), path) for path in sorted(parent.iterdir()))
    return [(match["name"], match["state"], path) for match, path in matches if match]


def _hidden(target: Path, state: str) -> Path:
    return target.with_name(f".{target.name}.{state}-{os.getpid()}")


def _move_in(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        fsync_directory(target.parent)
        return
    former = _hidden(target, "replaced")
    if former.exists():
        shutil.rmtree(former)
    target.rename(former)
    try:
        staging.rename(target)
    except BaseException:
        former.rename(target)
        raise
    fsync_directory(target.parent)
    shutil.rmtree(former)


def _fsync_files(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            fsync_directory(path)
        elif path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
