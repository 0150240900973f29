"""What a verb of the factory leaves: a data set, what was dropped and why, and a manifest whose counts add up.

`mine.jsonl` is what `camelid train` reads; `mine.dropped.jsonl` holds every row that came in and did not go out;
`mine.manifest.json` the inputs' hashes, the options and the counts. They appear together at the end, or not at all.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from camelid.data.records import Origin, Rejection
from camelid.errors import UserError
from camelid.runs.durable import fsync_directory, not_saved, write_durably
from camelid.runs.manifest import code_version, describe_files


class Output:
    """The three files of one data set, being written.

    Raises UserError where `path` is there already and `overwrite` is not set.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        if path.suffix != ".jsonl":
            raise UserError("a data set is written as JSON Lines", where=str(path), mend=f"{path.stem or 'rows'}.jsonl")
        if path.exists() and not overwrite:
            raise UserError("is there already", where=str(path), mend="another --output, or --overwrite")
        self.path = path
        self.dropped_file, self.manifest_file = path.with_suffix(".dropped.jsonl"), path.with_suffix(".manifest.json")
        self.read = self.used = self.written = 0
        self.dropped: Counter[str] = Counter()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows, self._drops = _staged(path).open("wb"), _staged(self.dropped_file).open("wb")
        except OSError as error:
            raise not_saved(error, path) from error

    def keep(self, *values: Any) -> None:
        """A row that came in goes out: as it was, changed, or as several."""
        self.read += 1
        self.used += 1
        self.written += len(values)
        for value in values:
            self._write(self._rows, value)

    def drop(self, origin: Origin | None, reason: str, value: Any, **more: Any) -> None:
        """A row that came in does not go out.

        origin: None for what came from no file; reason: a few words, the same for all such rows; more: explains it
        """
        self.read += 1
        self.dropped[reason] += 1
        place = {} if origin is None else {"file": origin.file, "line": origin.line}
        self._write(self._drops, {**place, "reason": reason, **more, "row": value})

    def unreadable(self, rejection: Rejection) -> None:
        """A row that no reader could use."""
        self.read += 1
        self.dropped["cannot be read"] += 1
        values = {"file": rejection.file, "line": rejection.line, "reason": "cannot be read"}
        self._write(self._drops, {**values, "why": rejection.reason, "excerpt": rejection.excerpt})

    def commonest(self) -> str:
        """The three reasons for which most rows were dropped, in a line."""
        return ", ".join(f"{count:,} x {reason}" for reason, count in self.dropped.most_common(3))

    def finish(self, verb: str, options: Mapping[str, Any], inputs: Iterable[Path], **more: Any) -> dict[str, Any]:
        """Put the files into their places; the manifest, which is written last. more: what else it tells.

        Raises UserError, and leaves everything as it was, where one of `inputs` would be written over.
        """
        inputs = list(inputs)
        if self.path.resolve() in {path.resolve() for path in inputs}:
            raise UserError("is read and written at once", where=str(self.path), mend="another --output")
        dropped = sum(self.dropped.values())
        assert self.read == self.used + dropped
        counts = {"read": self.read, "used": self.used, "dropped": dropped, "written": self.written}
        try:
            described = describe_files(inputs)
            for file, place in ((self._drops, self.dropped_file), (self._rows, self.path)):
                file.flush()
                os.fsync(file.fileno())
                file.close()
                _staged(place).replace(place)
            fsync_directory(self.path.parent)
            manifest = {
                "verb": verb,
                "options": dict(options),
                "counts": counts,
                "reasons": dict(self.dropped.most_common()),
                "inputs": described,
                "output": describe_files([self.path], {str(self.path): self.written})[0],
                **more,
                "code": code_version(),
            }
        except OSError as error:
            raise not_saved(error, self.path) from error
        write_durably(self.manifest_file, json.dumps(manifest, ensure_ascii=False, indent=1).encode())
        return manifest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        for file, place in ((self._rows, self.path), (self._drops, self.dropped_file)):
            file.close()
            _staged(place).unlink(missing_ok=True)

    def _write(self, file: IO[bytes], value: Any) -> None:
        try:
            # a lone surrogate has no UTF-8; written \ud800 it is JSON
            file.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        except OSError as error:
            raise not_saved(error, self.path) from error


def _staged(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
