"""Checkpoints that a kill, a power cut, a full disk or a flipped bit cannot turn into a wrong run.

A checkpoint is a directory `step-N`: `<stem>.safetensors` for each group of tensors, `state.json`, and `manifest.json`
with the size and sha256 of each, sealed by a digest of its own. It is written beside its place
(`.step-N.partial-<pid>`), every file synced, the manifest last, the directory synced, renamed, the parent synced; only
then are older ones deleted. So at every moment each `step-N` is whole, or (by a fault of the disk) found damaged by
its hashes: then `latest_checkpoint` says so and takes the one before. Requirements: reliability rules of the project,
"write beside, fsync, manifest last, rename", and "never start fresh silently".
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from camelid.errors import UserError
from camelid.runs.durable import DiskFull, NotSaved, fsync_directory, make_directory, not_saved, write_all
from camelid.runs.staging import clean_leftovers, remove_directory, staged_directory, stand_ins
from camelid.train.tensor_file import NotATensorFile, TensorFile, read_tensors

__all__ = [
    "Checkpoint",
    "DamagedCheckpoint",
    "DiskFull",
    "NotSaved",
    "latest_checkpoint",
    "list_checkpoints",
    "load_checkpoint",
    "save_checkpoint",
    "set_aside_after",
]

FORMAT = 1
_STEP = re.compile(r"step-(0|[1-9][0-9]*)")
_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class DamagedCheckpoint(UserError):
    """A checkpoint that is not, byte for byte, what was saved. `reason` names the file."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"damaged checkpoint: {reason}", where=str(path), mend="resume=auto takes the newest sound one"
        )
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified checkpoint in memory. `tensors`: file stem -> name -> tensor; `state`: JSON values."""

    path: Path
    step: int
    tensors: dict[str, dict[str, torch.Tensor]]
    state: dict[str, Any]


def save_checkpoint(
    root: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
    state: Mapping[str, Any],
    keep: int | None = None,
    protect: Collection[int] = (),
    *,
    rank: int = 0,
    barrier: Callable[[], None] | None = None,
) -> Path:
    """Save the state after `step` optimiser steps as `root/step-<step>`; returns that path.

    tensors: file stem -> name -> tensor, on any device, tied ones allowed. state: JSON values, exactly (no tuples, no
    integer keys: what is loaded equals what was saved). keep: how many to keep, this one included (None: all); the
    steps in `protect` and those after `step` are never deleted. Of several ranks only rank 0 writes; all leave through
    `barrier`. Only one process may save under `root` (the run directory's lock sees to that).

    Raises DiskFull or NotSaved if the disk refuses (the checkpoints before it stand), TypeError or ValueError for what
    cannot be stored exactly; then nothing was written.
    """
    try:
        if rank == 0:
            _save(root, step, tensors, state)
            _prune(root, step, keep, protect)
    finally:
        if barrier is not None:
            barrier()
    return root / f"step-{step}"


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify every byte of a checkpoint. Raises DamagedCheckpoint naming the file that differs."""
    manifest = _read_manifest(path)
    if _STEP.fullmatch(path.name) and path.name != f"step-{manifest['step']}":
        raise DamagedCheckpoint(path, f"it is the checkpoint of step {manifest['step']} under another name")
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    state: dict[str, Any] = {}
    for name, entry in manifest["files"].items():
        try:
            if name == "state.json":
                state = json.loads(_read_exactly(path / name, entry))
            else:
                stem = name.removesuffix(".safetensors")
                tensors[stem] = read_tensors(path / name, size=entry["bytes"], sha256=entry["sha256"])
        except FileNotFoundError as error:
            raise DamagedCheckpoint(path, f"{name} is missing") from error
        except (OSError, NotATensorFile, ValueError) as error:
            raise DamagedCheckpoint(path, f"{name}: {error}" if isinstance(error, OSError) else str(error)) from error
    return Checkpoint(path, manifest["step"], tensors, state)


def latest_checkpoint(root: Path, *, on_damage: Callable[[Path, str], None]) -> Checkpoint | None:
    """The newest sound checkpoint under `root`, or None if there never was one. Reads only.

    Each newer one that is damaged goes to `on_damage(path, reason)` first. Raises UserError if there are checkpoints
    and none is sound: starting fresh would throw the run away, and only the user may decide that.
    """
    damaged = []
    try:
        newest_first = list_checkpoints(root)[::-1]
    except OSError as error:
        raise UserError(f"cannot be listed ({error.strerror})", where=str(root), mend="check the disk") from error
    for path in newest_first:
        try:
            return load_checkpoint(path)
        except DamagedCheckpoint as error:
            damaged.append(f"{path.name}: {error.reason}")
            on_damage(path, error.reason)
    if damaged:
        raise UserError(
            f"every checkpoint is damaged ({'; '.join(damaged)})",
            where=str(root),
            mend="restore one from a backup, or start anew with resume=no",
        )
    return None


def list_checkpoints(root: Path) -> list[Path]:
    """Paths of all checkpoints under `root`, sound or not, oldest first. Raises OSError."""
    if not root.is_dir():
        return []
    found = {int(match[1]): path for path in root.iterdir() if (match := _STEP.fullmatch(path.name))}
    for name, path in stand_ins(root).items():
        if match := _STEP.fullmatch(name):
            found[int(match[1])] = path
    return [found[step] for step in sorted(found)]


def set_aside_after(root: Path, step: int) -> list[Path]:
    """Rename the checkpoints after `step` to `superseded-step-N`. Returns the new paths; raises NotSaved.

    For the writer to call whenever a run goes on from `step`. What lies after it is damaged, or a future that the user
    abandoned by naming an older checkpoint: it must neither be resumed from later nor counted among those kept.
    """
    moved = []
    try:
        clean_leftovers(root)
        for path in list_checkpoints(root):
            if _step_of(path) > step:
                aside = root / f"superseded-{path.name}"
                if aside.exists():
                    remove_directory(aside)
                path.rename(aside)
                moved.append(aside)
        if moved:
            fsync_directory(root)
    except OSError as error:
        raise not_saved(error, root) from error
    return moved


def _save(root: Path, step: int, tensors: Mapping[str, Mapping[str, torch.Tensor]], state: Mapping[str, Any]) -> None:
    files = {f"{_checked(stem)}.safetensors": TensorFile(group) for stem, group in tensors.items()}
    state_bytes = _exact_json(state)
    try:
        make_directory(root)
        clean_leftovers(root)
        _require_space(root, sum(file.size for file in files.values()) + len(state_bytes) + (1 << 16))
        with staged_directory(root / f"step-{step}", fsync_files=False) as staging:
            entries = {name: _write_file(staging / name, file) for name, file in files.items()}
            entries["state.json"] = _write_file(staging / "state.json", state_bytes)
            _write_file(staging / "manifest.json", _seal({"format": FORMAT, "step": step, "files": entries}))
    except OSError as error:
        raise not_saved(error, root / f"step-{step}", kept=_standing(root)) from error


def _standing(root: Path) -> str:
    try:
        older = list_checkpoints(root)
    except OSError:
        return "what was saved before stands, but the disk cannot list it now"
    return f"step-{_step_of(older[-1])} stands" if older else "there is no checkpoint yet"


def _write_file(path: Path, content: TensorFile | bytes) -> dict[str, Any]:
    """Write and sync one new file; its manifest entry."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        if isinstance(content, TensorFile):
            entry = {"bytes": content.size, "sha256": content.write(descriptor)}
        else:
            write_all(descriptor, content)
            entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return entry


def _prune(root: Path, step: int, keep: int | None, protect: Collection[int]) -> None:
    """Delete old checkpoints down to `keep`, the one just saved included; protected and later ones do not count."""
    if keep is None:
        return
    if keep < 1:
        raise ValueError(f"keep={keep}: at least the checkpoint just saved is kept")
    try:
        older = [path for path in list_checkpoints(root) if _step_of(path) < step and _step_of(path) not in protect]
        for path in older[: max(0, len(older) - (keep - 1))]:
            remove_directory(path)
    except OSError as error:
        raise not_saved(
            error, root, kept=f"step-{step} stands, but an older checkpoint could not be deleted"
        ) from error


def _step_of(path: Path) -> int:
    match = _STEP.search(path.name)
    assert match is not None, path
    return int(match[1])


def _checked(stem: str) -> str:
    if not _STEM.fullmatch(stem):
        raise ValueError(f"'{stem}' is no name for a file of tensors")
    return stem


def _exact_json(state: Mapping[str, Any]) -> bytes:
    try:
        encoded = json.dumps(state, ensure_ascii=True, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"the checkpoint's state is no JSON: {error}") from error
    if json.loads(encoded) != state:
        raise TypeError("the checkpoint's state would come back changed (a tuple, or keys that are no strings)")
    return encoded.encode()


def _require_space(root: Path, needed: int) -> None:
    """Refuse before the first byte rather than fill the disk. Some network file systems report nothing: no refusal."""
    stats = os.statvfs(root)
    free = stats.f_bavail * stats.f_frsize
    if stats.f_blocks and free < needed:
        shown = f"{needed / 2**20:.0f} MiB needed, {free / 2**20:.0f} MiB free"
        raise OSError(errno.ENOSPC, shown)


def _seal(manifest: dict[str, Any]) -> bytes:
    """The manifest's one spelling: its fields, and a digest of them."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return json.dumps({**manifest, "digest": digest}, sort_keys=True, indent=1).encode()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        content = (path / "manifest.json").read_bytes()
        manifest = json.loads(content)
        digest = manifest.pop("digest")
        sound = _seal(manifest) == content and isinstance(digest, str)
        files = manifest["files"]
        known = all(_STEM.fullmatch(name) and _is_entry(entry) for name, entry in files.items())
        sound = sound and known and "state.json" in files and isinstance(manifest["step"], int)
    except FileNotFoundError as error:
        missing = "manifest.json is missing" if path.is_dir() else "no such directory"
        raise DamagedCheckpoint(path, missing) from error
    except OSError as error:
        raise DamagedCheckpoint(path, f"manifest.json: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedCheckpoint(path, "manifest.json is not readable") from error
    if not sound:
        raise DamagedCheckpoint(path, "manifest.json differs from its own digest")
    if manifest["format"] != FORMAT:
        raise DamagedCheckpoint(path, f"its format is {manifest['format']}, not {FORMAT}")
    return manifest


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("bytes"), int) and isinstance(entry.get("sha256"), str)


def _read_exactly(path: Path, entry: Mapping[str, Any]) -> bytes:
    content = path.read_bytes()
    if len(content) != entry["bytes"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise NotATensorFile(f"{path.name} differs from its sha256")
    return content
