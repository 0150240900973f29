"""The child process in which foreign chat templates run: started once, killed when it overruns, started anew.

One batch is one request, so 1,000 rows cost one round trip; each row has `SECONDS` of processor time of its own. The
child's own timer counts them, and a template can do nothing but compute, so the clock on the wall does not matter: a
machine that is busy or was put to sleep rejects no row that an idle one keeps. Only where there is no such timer (on
Windows) is the wall clock watched instead, with patience.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from camelid.data.templates import sandbox

SECONDS = 2.0  # of processor time for one rendering
HAS_TIMER = sys.platform != "win32"
PATIENCE = 10.0  # where there is no timer: seconds on the wall for each second of processor time
# What an interpreter needs to start. Keys and tokens of the user's stay out of a process that runs foreign programs.
_KEPT_VARIABLES = {"PATH", "HOME", "LANG", "TZ", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV"}
_KEPT_PREFIXES = ("PYTHON", "LC_", "LD_", "DYLD_", "CONDA_PREFIX")


class RenderProcess:
    """Renders rows in the child. Safe to share between threads; a forked copy starts a child of its own."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._owner = 0
        self._stop: weakref.finalize | None = None

    def render(
        self, source: str, rows: Sequence[Mapping[str, Any]], *, mark: bool = False, now: str | None = None
    ) -> list[dict[str, str]]:
        """One reply a row, in order: {"text"}, {"error"} or {"limit"}, as `sandbox` describes them."""
        replies: list[dict[str, str]] = []
        with self._lock:
            while len(replies) < len(rows):
                replies += self._attempt(source, rows[len(replies) :], mark, now)
        return replies

    def _attempt(self, source: str, rows: Sequence[Mapping[str, Any]], mark: bool, now: str | None) -> list[dict]:
        """Replies up to and including the first row that broke the child, which is then gone."""
        process = self._started()
        request = {"source": source, "mark": mark, "now": now, "seconds": self.seconds, "rows": list(rows)}
        assert process.stdin is not None
        replies: list[dict[str, str]] = []
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            while len(replies) < len(rows):
                line = self._lines.get(timeout=None if HAS_TIMER else PATIENCE * self.seconds)
                if not line.endswith(b"\n"):  # the end of the stream, perhaps in the middle of a reply
                    raise BrokenPipeError
                replies.append(json.loads(line))
        except queue.Empty:
            self.close()
            replies.append({"limit": f"the chat template ran longer than {PATIENCE * self.seconds:g} s"})
        except (BrokenPipeError, ConnectionError):
            process.wait()
            self.close()
            replies.append({"limit": self._last_words(process.returncode)})
        return replies

    def _last_words(self, code: int) -> str:
        if HAS_TIMER and code == -signal.SIGPROF:
            return f"the chat template ran longer than {self.seconds:g} s"
        return f"the chat template broke its process (exit code {code})"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self.close()
        environment = {k: v for k, v in os.environ.items() if k in _KEPT_VARIABLES or k.startswith(_KEPT_PREFIXES)}
        # -P: the script's own folder stays off the path, so that no sibling file can pass for a library.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(sandbox.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._owner, self._lines = os.getpid(), queue.Queue()
        assert self._process.stdout is not None
        threading.Thread(target=_forward, args=(self._process.stdout, self._lines), daemon=True).start()
        self._stop = weakref.finalize(self, _stop, self._process, os.getpid())
        if not self._lines.get():  # the end of the stream
            raise RuntimeError("the process for chat templates did not start")
        return self._process

    def close(self) -> None:
        """Kill the child, if this process started it."""
        if self._stop is not None:
            self._stop()
        self._process = self._stop = None


def _forward(stream: IO[bytes], lines: queue.Queue[bytes]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(b"")  # the child is gone


def _stop(process: subprocess.Popen[bytes], owner: int) -> None:
    if owner != os.getpid():
        return  # a fork's copy of the handle: the child is not ours to kill
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):  # unsent bytes of a request that nobody will answer
                stream.close()


_shared: RenderProcess | None = None


def shared_process() -> RenderProcess:
    """The one child that all templates of this Python process share."""
    global _shared
    if _shared is None:
        _shared = RenderProcess()
    return _shared
