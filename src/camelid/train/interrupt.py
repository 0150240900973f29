"""SIGTERM and Ctrl-C become a flag that the loop polls at every micro-batch: save, then leave with 143 or 130.

Polled between micro-batches and not only at step boundaries: a spot machine gives seconds, and a step can take minutes.
A second Ctrl-C stops at once (KeyboardInterrupt), a third one kills through the operating system even inside a long
native call. A repeated SIGTERM stays graceful: schedulers send it again while they wait.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
# torchrun passes a Ctrl-C on to workers that the terminal has already signalled: within this time it is the same one.
_SAME_S = 0.5


class Interrupted(Exception):
    """Raised by `check`: leave now, there is nothing to save. `exit_code` is 143 or 130; the text is for the user."""

    def __init__(self, exit_code: int, text: str = "interrupted before the first step; nothing was trained") -> None:
        super().__init__(text)
        self.exit_code = exit_code


def stop_at_end_of_input() -> None:
    """Send this process SIGTERM when its standard input ends: the program that started it is gone, however it died."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="end of input", daemon=True).start()


class Interrupts:
    """Context manager: while it is entered, SIGTERM and SIGINT set `requested` and do nothing else."""

    def __init__(self, *, notice: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """notice: a line written to standard error on the first signal (default: what happens next; "" for none)."""
        self._notice = notice
        self._clock = clock
        self._signal: signal.Signals | None = None
        self._since = 0.0
        self._former: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether to save and stop. Cheap: poll it as often as you like."""
        return self._signal is not None

    @property
    def exit_code(self) -> int:
        """143 after SIGTERM, 130 after Ctrl-C, 0 if neither came."""
        return 0 if self._signal is None else _CODES[self._signal]

    def check(self) -> None:
        """Raise Interrupted if a signal came: for phases (loading, data, warm-up) that have nothing to save."""
        if self._signal is not None:
            raise Interrupted(self.exit_code)

    def __enter__(self) -> Self:
        """Raises ValueError outside the main thread, where Python takes no signals."""
        self._signal = None
        for number in _CODES:
            self._former[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        for number, former in self._former.items():
            # None: the handler was not set by Python; the default is the nearest that Python can set.
            signal.signal(number, signal.SIG_DFL if former is None else former)
        self._former.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = self._clock()
        if self._signal is None:
            self._signal, self._since = signal.Signals(number), now
            self._tell(number)
        elif number == signal.SIGINT and now - self._since > _SAME_S:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise KeyboardInterrupt

    def _tell(self, number: int) -> None:
        text = self._notice
        if text is None:
            name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            text = f"{name}: saving a checkpoint, then stopping (Ctrl-C again: stop at once)"
        if text:
            # Not print: a handler may run in the middle of another print, whose buffer is locked. And a standard error
            # that is closed must not turn a request to save into a crash.
            with contextlib.suppress(OSError):
                os.write(2, f"\n{text}\n".encode())
