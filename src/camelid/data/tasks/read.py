"""Files of labelled text to records; every row kept or rejected with file, line and reason, as for any other data."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from camelid.data.formats.fields import RowFault
from camelid.data.ledger import FileReport, Ledger
from camelid.data.locate import Located, Part, SourceSpec, locate
from camelid.data.readers import STRUCTURED, kind_of, open_rows
from camelid.data.readers.decode import TextStream
from camelid.data.readers.lines import read_lines
from camelid.data.readers.rows import CHUNK, HEAD, Damage, RawRow, RowSource, bad_text, excerpt
from camelid.data.records import Origin, Rejection
from camelid.data.sampling import draw
from camelid.data.tasks.columns import convert
from camelid.data.tasks.conll import read_conll
from camelid.data.tasks.records import TaskRecord
from camelid.errors import UserError


def read_task_records(
    sources: str | Sequence[str | Mapping[str, Any]],
    task: str,
    columns: Mapping[str, str],
    *,
    seed: int,
    ledger: Ledger,
    announce: Callable[[str], None],
) -> list[TaskRecord]:
    """The records of all sources. Raises UserError for a source that gives none."""
    records: list[TaskRecord] = []
    for source in [sources] if isinstance(sources, str) else sources:
        located = locate(SourceSpec.of(source))
        before = len(records)
        reports: dict[str, FileReport] = {}
        items = _items(located, task, reports, ledger)
        drawn = draw(items, sample=located.sample, weight=located.spec.weight, seed=f"{seed}:{located.spec.path}")
        for part, item in drawn:
            report = reports[part.label]
            report.read += 1
            try:
                record = _record(part, item, task, columns)
            except RowFault as fault:
                report.rejected += 1
                head = item.head or (item.value if isinstance(item, RawRow) else "")
                ledger.refuse(Rejection(part.label, item.line, str(fault), excerpt(head)))
                continue
            ledger.keep()
            report.kept += 1
            report.formats[task] += 1
            records.append(record)
        if len(records) == before:
            reasons = ledger.top_reasons() or "there is no row in it"
            raise UserError(f"none of its rows can be used: {reasons}", where=located.spec.path)
        for report in reports.values():
            rejected = f", {report.rejected:,} rejected" if report.rejected else ""
            announce(f"{Path(report.file).name}: {task}, {report.read:,} of {report.rows:,} rows{rejected}")
    return records


def _record(part: Part, item: RawRow | Damage, task: str, columns: Mapping[str, str]) -> TaskRecord:
    if isinstance(item, Damage):
        raise RowFault(item.reason)
    if item.suspect and (reason := bad_text(item.value)):
        raise RowFault(reason)
    row = part.mapping.apply(item.value) if part.mapping else item.value
    return convert(row, Origin(part.label, item.line), task, columns)


def _items(
    source: Located, task: str, reports: dict[str, FileReport], ledger: Ledger
) -> Iterator[tuple[Part, RawRow | Damage]]:
    for part in source.parts:
        opened = _open(part, task)
        report = reports[part.label] = FileReport(part.label, encoding=opened.encoding)
        ledger.files.append(report)
        try:
            for item in opened.rows:
                report.rows += 1
                yield part, item
        finally:
            opened.close()


def _open(part: Part, task: str) -> RowSource:
    """Sequence labelling comes in CoNLL files of any name; tab-separated tables of tasks quote nothing."""
    path = Path(part.label)
    kind = kind_of(path)
    if path.is_file() and task == "tag" and kind not in STRUCTURED:
        stream = TextStream(path, CHUNK)
        return RowSource(read_conll(stream), stream.encoding, stream.close)
    if path.is_file() and task != "tag" and kind == ".tsv":
        stream = TextStream(path, CHUNK)
        return RowSource(_read_unquoted(stream, str(path)), stream.encoding, stream.close)
    return part.open() if not path.is_file() else open_rows(path)


def _read_unquoted(stream: TextStream, where: str) -> Iterator[RawRow | Damage]:
    """A tab-separated table with a header, in which a quote is a quote (GLUE's convention)."""
    columns: list[str] | None = None
    for line in read_lines(stream):
        if isinstance(line, Damage):
            yield line
            continue
        number, text = line
        (fields,) = csv.reader([text], delimiter="\t", quoting=csv.QUOTE_NONE)
        if columns is None:
            columns = [field.strip() for field in fields]
            if len(set(columns)) < len(columns):
                raise UserError("its header names a column twice", where=where)
        elif len(fields) != len(columns):
            if fields:
                yield Damage(number, f"{len(fields)} fields, where the header has {len(columns)}", text[:HEAD])
        else:
            yield RawRow(number, dict(zip(columns, fields, strict=True)), text[:HEAD], True)
