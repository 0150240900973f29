"""How far a program has come through rows: rows, rows a second, time left; a bar on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from camelid.runs.progress import duration

_BAR_S, _LINE_S = 0.2, 15.0  # seconds between two


class Meter:
    """Counts; `share` tells how much of the work is done, 0 to 1, where that is known (else 0).

    note: what else is said, "" for nothing
    """

    def __init__(
        self,
        what: str,
        share: Callable[[], float] = lambda: 0.0,
        note: Callable[[], str] = lambda: "",
        *,
        stream: IO[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._share, self._note, self._clock = what, share, note, clock
        self._stream = sys.stderr if stream is None else stream
        self._bar: Progress | None = None
        if self._stream.isatty():
            columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=Console(file=self._stream), auto_refresh=False, transient=True)
        self.count = 0
        self._every = _BAR_S if self._bar else _LINE_S
        self._begin = clock()
        self._next = self._begin + self._every

    def step(self, count: int = 1) -> None:
        """So many more are done; none where only the note has changed."""
        self.count += count
        now = self._clock()
        if now < self._next:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=self._share(), description=self.text(now))
            self._bar.refresh()
        else:
            print(self.text(now), file=self._stream, flush=True)
        self._next = now + self._every

    def text(self, now: float) -> str:
        """Rows, rows a second, the note, share and time left."""
        taken, share = now - self._begin, self._share()
        parts = [f"{self.count:,} {self._what}"]
        if taken > 0:
            rate = self.count / taken
            parts.append(f"{rate:,.0f}/s" if rate >= 1 else f"{60 * rate:.0f}/min")
        parts += [note] if (note := self._note()) else []
        if 0 < share <= 1:
            parts += [f"{share:.0%}", f"{duration(taken * (1 / share - 1))} left"]
        return " · ".join(parts)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self._bar is not None:
            self._bar.stop()
