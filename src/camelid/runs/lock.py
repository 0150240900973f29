"""One writer per run: an advisory lock that the operating system drops when its holder dies, however it dies.

So there is no stale lock to clear by hand: the file `.lock` stays, the lock on it does not.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from camelid.errors import UserError

_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN)
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class Lock:
    """An exclusive lock on the file `path`, held until `release` or the end of the process."""

    def __init__(self, path: Path, *, announce: Callable[[str], None]) -> None:
        """Take the lock. Raises UserError naming the holder if another process has it, and OSError.

        A file system that cannot lock (some network shares) is announced, and the run goes on without the lock.
        """
        self.path = path
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._take(announce)
        except BaseException:
            self.release()
            raise

    def still_at(self, path: Path) -> bool:
        """Whether the locked file is the one at `path` now: its directory may have been moved while we waited."""
        if self._descriptor is None or not path.exists():
            return False
        mine, there = os.fstat(self._descriptor), path.stat()
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)  # closing drops the lock
            self._descriptor = None

    def _take(self, announce: Callable[[str], None]) -> None:
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                announce(f"{self.path.parent}: this file system has no locks; start no second process on this run")
                return
            if error.errno not in _BUSY:
                raise
            raise UserError(
                f"another process is writing this run{self._holder()}",
                where=str(self.path.parent),
                mend="wait for it, stop it, or choose another output_dir",
            ) from error
        holder = {"pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(holder).encode(), 0)

    def _holder(self) -> str:
        assert self._descriptor is not None
        try:
            holder = json.loads(os.pread(self._descriptor, 200, 0))
            return f" (process {int(holder['pid'])}, since {str(holder['since'])[:25]})"
        except (ValueError, TypeError, KeyError):  # it is just writing its name
            return ""
