"""A disk that loses power: what a directory may look like afterwards, by the rules of POSIX and not by good luck.

`LossyDisk` watches this process's file calls. `cut(n)` makes the n-th of them, and all after it, raise `PowerCut`.
`rebuild(target, keep)` then builds the directory as it may stand at the next start: of a file only what was fsynced
is sure, of a directory only the names that it had at its last fsync; `keep` decides what else survives. (kill -9 cannot
test this: the operating system keeps what a dead process wrote.)
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WATCHED = ("open", "write", "fsync", "close", "mkdir", "rename", "replace", "unlink", "rmdir", "ftruncate")


class PowerCut(BaseException):
    """Not an Exception: nothing may catch it and go on, as nothing goes on without power."""


class LossyDisk:
    """Watches calls around `root`, a directory whose present content counts as durable. Use as a context manager."""

    def __init__(self, root: Path, *, ignore: tuple[str, ...] = ()) -> None:
        """ignore: calls that shall have no effect on what is durable, to see a test go red ("fsync")."""
        self.root = root
        self.calls: list[str] = []  # names of the watched calls so far
        self._limit: int | None = None
        self._ignore = ignore
        self._patch = pytest.MonkeyPatch()
        self._real: dict[str, Callable[..., Any]] = {name: vars(os)[name] for name in WATCHED}
        self._held: dict[int, int] = {}  # inode -> open descriptor; an inode that is held is not used again
        self._bytes: dict[int, bytes] = {}  # inode of a file -> content at its last fsync
        self._names: dict[int, dict[str, int]] = {}  # inode of a directory -> names at its last fsync -> inodes

    def __enter__(self) -> LossyDisk:
        for path in (self.root, *self.root.rglob("*")):
            self._note_durable(self._hold(path))
        for name in WATCHED:
            self._patch.setattr(os, name, self._watched(name))
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    def cut(self, call: int) -> None:
        """Lose power instead of making watched call number `call` (from 0)."""
        self._limit = call

    def rebuild(self, target: Path, keep: Callable[[], float]) -> None:
        """Build at `target`, which must not exist, what is left of `root`, and let go of everything held.

        `keep()` is asked once for each file and directory with unsynced changes: 0 loses them, 1 keeps them, and a
        number between keeps that share of a file's bytes.
        """
        self._build(self.root.stat().st_ino, target, keep)
        for descriptor in self._held.values():
            os.close(descriptor)

    def _watched(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if self._limit is not None and len(self.calls) >= self._limit:
                raise PowerCut
            self.calls.append(name)
            if name == "fsync":  # the real one would add nothing here but time
                if name not in self._ignore:
                    self._note_durable(os.fstat(arguments[0]).st_ino)
                return None
            result = self._real[name](*arguments, **keywords)
            if name == "mkdir":
                self._hold(Path(arguments[0]))
            elif name == "open" and arguments[1] & os.O_CREAT:
                self._hold(Path(f"/proc/self/fd/{result}"))
            return result

        return call

    def _hold(self, path: Path) -> int:
        inode = path.stat().st_ino
        if inode not in self._held:
            self._held[inode] = self._real["open"](path, os.O_RDONLY)
        return inode

    def _note_durable(self, inode: int) -> None:
        if self._is_directory(inode):
            self._names[inode] = self._names_now(inode)
        else:
            self._bytes[inode] = self._bytes_now(inode)

    def _is_directory(self, inode: int) -> bool:
        return stat.S_ISDIR(os.fstat(self._held[inode]).st_mode)

    def _names_now(self, inode: int) -> dict[str, int]:
        folder = Path(f"/proc/self/fd/{self._held[inode]}")
        return {name: self._hold(folder / name) for name in sorted(entry.name for entry in folder.iterdir())}

    def _bytes_now(self, inode: int) -> bytes:
        descriptor = self._held[inode]
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def _build(self, inode: int, target: Path, keep: Callable[[], float]) -> None:
        if not self._is_directory(inode):
            durable, now = self._bytes.get(inode, b""), self._bytes_now(inode)
            share = keep() if durable != now else 1.0
            target.write_bytes(now[: int(len(now) * share)] if share else durable)
            return
        durable, now = self._names.get(inode, {}), self._names_now(inode)
        target.mkdir()
        for name, child in (now if durable == now or keep() >= 0.5 else durable).items():
            self._build(child, target / name, keep)
