"""The clock and the counts of one contestant. Standard library only: it runs in every peer's environment.

A step lasts from the end of the step before it to its own end, so that data loading, logging and the optimiser count.
"""

import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path

COUNTED = ("useful", "computed", "trained", "head", "pairs")


def peak_rss() -> int:
    """The largest resident set of this process so far (since the last reset, where the kernel has one), in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak_rss() -> None:
    """Start a new peak at the present resident set; see proc(5), clear_refs. Silently impossible off Linux."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


class Meter:
    """Counts batches and times optimiser steps; `write` leaves the result for the referee."""

    def __init__(self, steps: int) -> None:
        self.steps_wanted = steps
        self.steps: list[dict[str, float]] = []
        self.losses: list[float] = []
        self.load_peak = 0
        self.train_peak = 0
        self._now: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self._wall = self._cpu = 0.0

    @property
    def done(self) -> bool:
        """Whether every wanted step has been timed."""
        return len(self.steps) >= self.steps_wanted

    def start(self) -> None:
        """Training begins: everything before (loading, tokenising) is not timed, but its memory is kept apart."""
        self.load_peak = peak_rss()
        reset_peak_rss()
        self._mark()

    def batch(self, lengths: Sequence[int], *, computed: int, trained: int, head: int) -> None:
        """One forward pass over rows of these true lengths; `computed` counts padding, `head` the logits' positions."""
        self._now["useful"] += sum(lengths)
        self._now["pairs"] += sum(length * (length + 1) // 2 for length in lengths)
        self._now["computed"] += computed
        self._now["trained"] += trained
        self._now["head"] += head

    def step(self) -> None:
        """An optimiser step has ended."""
        if self.done:
            return
        took = {"seconds": time.perf_counter() - self._wall, "cpu_seconds": time.process_time() - self._cpu}
        self.steps.append({**took, **self._now})
        self._now = dict.fromkeys(COUNTED, 0)
        self.train_peak = peak_rss()
        self._mark()

    def write(self, path: Path, **facts: object) -> None:
        """The result as JSON; `facts` are the contestant's own (versions, types)."""
        result = {
            "steps": self.steps,
            "losses": self.losses,
            "peak_rss": max(self.load_peak, self.train_peak),
            "train_peak_rss": self.train_peak,
            **facts,
        }
        path.write_text(json.dumps(result, indent=1))

    def _mark(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
