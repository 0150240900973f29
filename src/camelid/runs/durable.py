"""Files that are either there as a whole or not at all, whatever dies in between.

A rename is atomic on every file system that we care about, but it orders nothing: without the fsyncs a power cut may
keep the new name and lose the bytes behind it (ext4 and XFS both do that). Hence always: write beside, fsync the file,
rename, fsync the directory.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from camelid.errors import UserError


class NotSaved(UserError):
    """The disk refused a write. What was saved before still stands; `errno` says why."""

    def __init__(self, what: str, *, where: str, mend: str, errno: int) -> None:
        super().__init__(what, where=where, mend=mend)
        self.errno = errno


class DiskFull(NotSaved):
    """The disk, or the user's share of it, is full."""


def not_saved(error: OSError, path: Path, *, kept: str = "") -> NotSaved:
    """The UserError for a failed write to `path`; `kept` says what still stands, for example "step-40 stands"."""
    code = error.errno or 0
    reason = error.strerror or str(error)
    tail = f"; {kept}" if kept else ""
    if code in (errno.ENOSPC, errno.EDQUOT):
        mend = "free some space, then run the same command again"
        return DiskFull(f"not saved, the disk is full ({reason}){tail}", where=str(path), mend=mend, errno=code)
    mend = "check the disk and its permissions, then run the same command again"
    return NotSaved(f"not saved ({reason}){tail}", where=str(path), mend=mend, errno=code)


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` by `data` atomically and durably. Raises NotSaved; the old content then still stands."""
    try:
        _replace(path, data)
    except OSError as error:
        raise not_saved(error, path) from error


def _replace(path: Path, data: bytes) -> None:
    staged = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte: one `write` may take fewer than it is given (a filling disk; 2 GiB at most on Linux)."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]


def fsync_directory(path: Path) -> None:
    """Make the names in `path` durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make `path` and its parents if need be, durably. Raises OSError."""
    if path.is_dir():
        return
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        fsync_directory(folder.parent)
