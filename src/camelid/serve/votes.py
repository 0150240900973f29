"""Votes between two answers, kept durably in a form that `camelid train` reads: TRL's {prompt, chosen, rejected}."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from camelid.data.formats import RowFault, convert_row
from camelid.data.readers.rows import bad_text
from camelid.data.records import Origin
from camelid.runs.durable import fsync_directory, not_saved, write_all
from camelid.serve.asks import Vote
from camelid.serve.faults import ApiFault, encoded

_MOST_BYTES = 1 << 30  # of a votes file


@final
class VotesFile:
    """`path` takes preferences, `path` with `.ties` before its suffix the rest. Several processes may share them."""

    def __init__(self, path: Path) -> None:
        self.path, self.ties = path, path.with_suffix(f".ties{path.suffix}")

    def keep(self, vote: Vote) -> Path:
        """Write the vote, on the disk when this returns. Blocks.

        Raises ApiFault 400 for a vote that no reader would take, and NotSaved.
        """
        row: dict[str, Any] = vote.model_dump(exclude={"tie", "both_bad"})
        row["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        reason = bad_text(row)
        try:
            if reason is None and not vote.tie and not vote.both_bad:
                convert_row(row, Origin("vote", 0), [])
        except RowFault as fault:
            reason = str(fault)
        if reason is not None:
            raise ApiFault(400, f"the vote cannot be used: {reason}")
        if not vote.tie and not vote.both_bad:
            return _append(self.path, row)
        # Names that no reader knows: a tie must not pass for a preference, wherever the file is moved.
        named = {"answer_a": row.pop("chosen"), "answer_b": row.pop("rejected")}
        models = {"model_a": row.pop("model_chosen"), "model_b": row.pop("model_rejected")}
        return _append(self.ties, {**row, **named, **models, "tie": vote.tie, "both_bad": vote.both_bad})


def _append(path: Path, row: dict[str, Any]) -> Path:
    line = encoded(row) + b"\n"
    try:
        fresh = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # dropped by the close
            _write_line(descriptor, line)
        finally:
            os.close(descriptor)
        if fresh:
            fsync_directory(path.absolute().parent)
    except OSError as error:
        raise not_saved(error, path) from error
    return path


def _write_line(descriptor: int, line: bytes) -> None:
    end = os.fstat(descriptor).st_size
    if end + len(line) > _MOST_BYTES:
        raise OSError(27, f"the file has {end:,} bytes already")  # EFBIG
    if end and os.pread(descriptor, 1, end - 1) != b"\n":
        line = b"\n" + line  # a line that was torn by a power cut stays as it is, and is a line of its own
    try:
        write_all(descriptor, line)
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, end)
        raise
