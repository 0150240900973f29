"""How much memory this process has needed at most."""

from __future__ import annotations

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
