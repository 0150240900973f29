"""What a verb of the factory leaves: a data set, what was dropped and why, and a manifest whose counts add up.

`mine.jsonl` is what `camelid train` reads; `mine.dropped.jsonl` holds every row that came in and did not go out, but
for those that were only left over; `mine.manifest.json` the inputs' hashes, the options and the counts. They appear
together at the end, or not at all.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from camelid.data.records import Origin, Rejection
from camelid.errors import UserError
from camelid.runs.durable import fsync_directory, not_saved, write_durably
from camelid.runs.manifest import code_version, describe_files


class Output:
    """The three files of one data set, being written.

    apart: what a fourth file is called that some rows will be moved to, `validation` for `mine.validation.jsonl`.
    Raises UserError where `path` is there already and `overwrite` is not set.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, apart: str = "") -> None:
        if path.suffix != ".jsonl":
            raise UserError("a data set is written as JSON Lines", where=str(path), mend=f"{path.stem or 'rows'}.jsonl")
        self.path, self._apart = path, apart
        self.apart_file = path.with_suffix(f".{apart}.jsonl") if apart else None
        for file in (path, self.apart_file):
            if file is not None and file.exists() and not overwrite:
                raise UserError("is there already", where=str(file), mend="another --output, or --overwrite")
        self.dropped_file, self.manifest_file = path.with_suffix(".dropped.jsonl"), path.with_suffix(".manifest.json")
        self.read = self.used = self.written = 0
        self.moved = 0
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

    def again(self, value: Any) -> None:
        """A row that went out already goes out once more."""
        self.written += 1
        self._write(self._rows, value)

    def leave(self, count: int, reason: str) -> None:
        """So many rows that came in do not go out. Nothing is wrong with them, so they are counted and not copied."""
        if count:
            self.read += count
            self.dropped[reason] += count

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

    def set_apart(self, places: Collection[int]) -> None:
        """Move rows to the fourth file, by their places in the order in which they were written, from 0."""
        assert self.apart_file is not None
        rest, moved = _staged(self.path).with_suffix(".rest"), _staged(self.apart_file)
        try:
            self._rows.close()
            with _staged(self.path).open("rb") as rows, rest.open("wb") as kept, moved.open("wb") as apart:
                for place, line in enumerate(rows):
                    (apart if place in places else kept).write(line)
                apart.flush()
                os.fsync(apart.fileno())
            rest.replace(_staged(self.path))
            self._rows = _staged(self.path).open("ab")
        except OSError as error:
            raise not_saved(error, self.path) from error
        finally:
            rest.unlink(missing_ok=True)
        self.moved = len(places)

    def finish(self, verb: str, options: Mapping[str, Any], inputs: Iterable[Path], **more: Any) -> dict[str, Any]:
        """Put the files into their places; the manifest, which is written last. more: what else it tells.

        Raises UserError, and leaves everything as it was, where one of `inputs` would be written over.
        """
        inputs = list(inputs)
        for path in (self.path, self.apart_file):
            if path is not None and path.resolve() in {one.resolve() for one in inputs}:
                raise UserError("is read and written at once", where=str(path), mend="another --output")
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
            if self.apart_file is not None and self.moved:
                _staged(self.apart_file).replace(self.apart_file)
                more[self._apart] = describe_files([self.apart_file], {str(self.apart_file): self.moved})[0]
            fsync_directory(self.path.parent)
            manifest = {
                "verb": verb,
                "options": dict(options),
                "counts": counts,
                "reasons": dict(self.dropped.most_common()),
                "inputs": described,
                "output": describe_files([self.path], {str(self.path): self.written - self.moved})[0],
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
        if self.apart_file is not None:
            _staged(self.apart_file).unlink(missing_ok=True)

    def _write(self, file: IO[bytes], value: Any) -> None:
        try:
            # a lone surrogate has no UTF-8; written \ud800 it is JSON
            file.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        except OSError as error:
            raise not_saved(error, self.path) from error


def _staged(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
