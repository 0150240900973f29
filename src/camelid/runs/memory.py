"""How much memory this process has needed at most, and giving back what it no longer needs."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys
from pathlib import Path


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


def give_back_memory() -> None:
    """Return what glibc keeps of freed blocks to the system: after a tokenizer was read, much of what that took.

    Nothing under another C library.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
