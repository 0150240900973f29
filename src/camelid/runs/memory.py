"""How much memory this process has and has needed at most, and giving back what it no longer needs."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

# A process gives memory back when it has grown by so many times the most that one row has added, by so much at least,
# and once in so many rows at most: a row after it takes an eighth longer, for all pages come back cleared.
_GROWTH, _LEAST, _ROWS = 1.25, 64 << 20, 8


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far, in bytes (main memory; a GPU's is its library's to tell)."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: Linux lets a child inherit the peak of the process that started it.
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_memory() -> int:
    """Bytes of this process that are in memory now."""
    return psutil.Process().memory_info().rss


def give_back_memory() -> None:
    """Return what glibc keeps of freed blocks to the system: after a tokenizer was read, much of what that took.

    Nothing under another C library.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


class HeapLimit:
    """Keeps what a process holds from growing row by row.

    Rows of changing lengths leave holes in glibc's heap that the next length finds too small (dev/LOG.md).
    """

    def __init__(
        self, resident: Callable[[], int] = resident_memory, give_back: Callable[[], None] = give_back_memory
    ) -> None:
        self._resident, self._give_back = resident, give_back
        self._start: int | None = None
        self._most = self._rows = 0

    @contextmanager
    def row(self) -> Iterator[None]:
        """Around all that is computed of one row."""
        before = self._resident()
        if self._start is None:
            self._start = before
        yield
        after = self._resident()
        self._rows += 1
        self._most = max(self._most, after - before)
        if self._rows >= _ROWS and after - self._start > max(_GROWTH * self._most, _LEAST):
            self._give_back()
            self._start, self._rows = self._resident(), 0
