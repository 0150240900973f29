"""Files of labelled text to records; every row kept or rejected with file, line and reason, as for any other data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from camelid.data.ledger import Ledger
from camelid.data.locate import Part
from camelid.data.readers import STRUCTURED, kind_of
from camelid.data.readers.csv_rows import read_csv
from camelid.data.readers.decode import TextStream
from camelid.data.readers.rows import CHUNK, RowSource
from camelid.data.records import Origin
from camelid.data.sources import Reading, Sources, read_with
from camelid.data.tasks.columns import convert
from camelid.data.tasks.conll import read_conll
from camelid.data.tasks.records import TaskRecord


def read_task_records(
    sources: Sources,
    task: str,
    columns: Mapping[str, str],
    *,
    seed: int,
    ledger: Ledger,
    announce: Callable[[str], None],
) -> list[TaskRecord]:
    """The records of all sources. Raises UserError for a source that gives none."""

    def converted(row: Any, origin: Origin, notes: list[str]) -> tuple[str, Sequence[TaskRecord]]:
        return task, (convert(row, origin, task, columns),)

    reading = Reading(lambda part: _open(part, task), converted)
    return list(read_with(reading, sources, seed=seed, ledger=ledger, announce=announce))


def _open(part: Part, task: str) -> RowSource:
    """Sequence labelling comes in CoNLL files of any name; a quote in a tab-separated table is a quote (GLUE)."""
    path = Path(part.label)
    kind = kind_of(path) if path.is_file() else ""
    if path.is_file() and task == "tag" and kind not in STRUCTURED:
        stream = TextStream(path, CHUNK)
        return RowSource(read_conll(stream), stream.encoding, stream.close)
    if kind == ".tsv" and task != "tag":
        stream = TextStream(path, CHUNK)
        return RowSource(read_csv(stream, tabs=True, quotes=False, where=str(path)), stream.encoding, stream.close)
    return part.open()
