"""Append-only JSON lines that survive a kill: one object a line, one write a line, a torn last line cut off."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from camelid.runs.durable import not_saved, write_all


class JsonLines:
    """A file open for appending. A written line outlives the process at once; after `sync`, a power cut too."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Open `path`, made if need be, and cut off a torn last line; `fresh` empties it first. Raises OSError."""
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if fresh else 0)
        self._descriptor: int | None = os.open(path, flags, 0o644)
        self.cut_from(lambda row: False)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one object. Any text of the user's can be written: a lone surrogate becomes a JSON escape.

        Raises ValueError for NaN and infinity, which JSON has not, TypeError for what is no JSON value, and NotSaved
        where the disk refuses; the file then ends with the line before.
        """
        line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
        end = os.fstat(self._open).st_size
        try:
            write_all(self._open, line.encode("utf-8", errors="backslashreplace"))
        except OSError as error:
            os.ftruncate(self._open, end)
            raise not_saved(error, self.path) from error

    def cut_from(self, first: Callable[[Mapping[str, Any]], bool]) -> int:
        """Drop the first row for which `first` holds, and all after it, by one ftruncate, which is atomic.

        What follows the last whole line is dropped in any case. Returns how many whole lines were dropped.
        """
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        keep, dropped, offset = whole, 0, 0
        for line in content[:whole].split(b"\n")[:-1]:
            row = _parse(line)
            if dropped or (row is not None and first(row)):
                keep = min(keep, offset)
                dropped += 1
            offset += len(line) + 1
        if keep < len(content):
            os.ftruncate(self._open, keep)
        return dropped

    def sync(self) -> None:
        os.fsync(self._open)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()

    @property
    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self.path} is closed")
        return self._descriptor


def read_lines(path: Path, *, on_damage: Callable[[int, str], None] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the objects of `path` in order; nothing if it does not exist.

    A torn last line is left out (the writer died in it). Any other unreadable line goes to `on_damage(line, reason)`;
    without `on_damage` it raises ValueError.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            row = _parse(line) if line.endswith(b"\n") else None
            if row is not None:
                yield row
            elif line.endswith(b"\n"):
                reason = "not a JSON object"
                if on_damage is None:
                    raise ValueError(f"{path}:{number}: {reason}")
                on_damage(number, reason)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested without end
        return None
    return row if isinstance(row, dict) else None
