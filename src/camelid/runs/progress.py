"""The progress of training on standard error: a bar on a terminal, lines elsewhere, notes alone for scripts.

progress = Progress("silent" if json else "auto")
progress.start(total_steps)
progress.update(step, loss, useful_tokens=900, computed_tokens=700)
progress.close()
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Literal, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from camelid.runs.memory import peak_memory_bytes

View = Literal["auto", "bar", "lines", "silent"]
_WINDOW = 20  # steps over which speed and time left are taken: recent, but not jumpy


@dataclass(frozen=True, slots=True)
class Figures:
    """What is shown after a step. Speeds are tokens/s over the last steps; times are seconds."""

    step: int
    total_steps: int
    loss: float
    useful_per_s: float
    computed_per_s: float
    memory_bytes: int
    left_s: float | None
    eval_loss: float | None

    def text(self, limit: int | None = None) -> str:
        """The figures in one line, without the step; what matters least is left out to fit `limit` characters."""
        parts = [  # (what is left out first has the largest number, text)
            (0, f"loss {_number(self.loss)}"),
            (3, "" if self.eval_loss is None else f"eval {_number(self.eval_loss)}"),
            (2, f"{_count(self.useful_per_s)} useful tok/s" if self.useful_per_s else ""),
            (5, f"{_count(self.computed_per_s)} computed" if self.computed_per_s else ""),
            (4, f"{self.memory_bytes / 2**30:.1f} GiB"),
            (1, "" if self.left_s is None else f"{duration(self.left_s)} left"),
        ]
        for most in range(5, -1, -1):
            line = " · ".join(text for number, text in parts if text and number <= most)
            if limit is None or len(line) <= limit:
                return line
        return line


class Progress:
    """Counts speed, memory and time left, and hands them to a view."""

    def __init__(
        self,
        view: View = "auto",
        *,
        every: int = 10,
        stream: IO[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """view: "auto" is a bar if `stream` (standard error) is a terminal, else lines; "silent" shows notes alone.

        every: steps between lines.
        """
        out: IO[str] = sys.stderr if stream is None else stream
        if view == "auto":
            view = "bar" if out.isatty() else "lines"
        self._view: _View = _Bar(out) if view == "bar" else _Lines(out, every if view == "lines" else 0)
        self._clock = clock
        self._total = 0
        # (time, useful tokens, computed tokens) at the end of each of the last steps
        self._ends: deque[tuple[float, int, int]] = deque(maxlen=_WINDOW + 1)
        self._eval_loss: float | None = None

    def start(self, total_steps: int, *, first_step: int = 0) -> None:
        """Begin; `first_step` steps are already done (a run that goes on)."""
        self._total = total_steps
        self._ends.clear()
        self._ends.append((self._clock(), 0, 0))
        self._view.open(total_steps, first_step)

    def update(
        self,
        step: int,
        loss: float,
        *,
        useful_tokens: int = 0,
        computed_tokens: int = 0,
        eval_loss: float | None = None,
        memory_bytes: int | None = None,
    ) -> Figures:
        """Show step `step` (counted from 1). The token counts are those of this step; `eval_loss` stays shown.

        useful_tokens: tokens of the examples, as if each were alone; computed_tokens: those that went through the
        model after sharing. memory_bytes: peak of a GPU; without it, of this process.
        """
        self._ends.append((self._clock(), useful_tokens, computed_tokens))
        if eval_loss is not None:
            self._eval_loss = eval_loss
        steps = len(self._ends) - 1
        seconds = self._ends[-1][0] - self._ends[0][0]
        useful, computed = (sum(end[kind] for end in list(self._ends)[1:]) for kind in (1, 2))
        figures = Figures(
            step=step,
            total_steps=self._total,
            loss=loss,
            useful_per_s=useful / seconds if seconds > 0 else 0.0,
            computed_per_s=computed / seconds if seconds > 0 else 0.0,
            memory_bytes=peak_memory_bytes() if memory_bytes is None else memory_bytes,
            left_s=seconds / steps * (self._total - step) if seconds > 0 else None,
            eval_loss=self._eval_loss,
        )
        self._view.show(figures)
        return figures

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Inside (an evaluation, a save), time does not count as training time."""
        began = self._clock()
        try:
            yield
        finally:
            away = self._clock() - began
            self._ends = deque([(end + away, useful, computed) for end, useful, computed in self._ends], _WINDOW + 1)

    def note(self, text: str) -> None:
        """One line of text beside the bar; no markup, and no control character (a row of data could hold any)."""
        self._view.note("".join(letter for letter in " ".join(text.split()) if letter.isprintable()))

    def close(self) -> None:
        self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()


class _View(Protocol):
    def open(self, total_steps: int, first_step: int) -> None: ...
    def show(self, figures: Figures) -> None: ...
    def note(self, text: str) -> None: ...
    def close(self) -> None: ...


class _Bar:
    """A bar that is drawn anew after each step; no thread of its own."""

    def __init__(self, stream: IO[str]) -> None:
        self._console = Console(file=stream)
        self._width = min(24, max(8, self._console.width // 6))
        self._bar = RichProgress(
            BarColumn(bar_width=self._width),
            TextColumn("{task.completed:.0f}/{task.total:.0f}", style="bold"),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self._console,
            auto_refresh=False,
        )

    def open(self, total_steps: int, first_step: int) -> None:
        self._task = self._bar.add_task("", total=total_steps, completed=first_step, figures="")
        self._bar.start()

    def show(self, figures: Figures) -> None:
        room = self._console.width - self._width - 2 * len(str(figures.total_steps)) - 4
        self._bar.update(self._task, completed=figures.step, figures=figures.text(room))
        self._bar.refresh()

    def note(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()


class _Lines:
    """A plain line every `every` steps, for logs: no colours, no cursor movements. 0: notes only."""

    def __init__(self, stream: IO[str], every: int) -> None:
        self._stream, self._every = stream, every
        self._latest: Figures | None = None
        self._shown, self._begun = 0, False

    def open(self, total_steps: int, first_step: int) -> None:
        self._shown, self._begun = first_step, False

    def show(self, figures: Figures) -> None:
        if not self._every:
            return
        self._latest = figures
        due = figures.step % self._every == 0 or figures.step == figures.total_steps or not self._begun
        if due or not math.isfinite(figures.loss):
            self._print(figures)

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        if self._latest is not None and self._latest.step != self._shown:
            self._print(self._latest)  # stopped early: say where
        self._latest = None

    def _print(self, figures: Figures) -> None:
        self._shown, self._begun = figures.step, True
        width = len(str(figures.total_steps))
        line = f"step {figures.step:>{width}}/{figures.total_steps} · {figures.text()}"
        print(line, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """59 s, 2:05, 1:02:03."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"


def _number(value: float) -> str:
    """Three decimals, or three digits for what is smaller."""
    return f"{value:.3f}" if abs(value) >= 0.1 or not math.isfinite(value) else f"{value:.3g}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
