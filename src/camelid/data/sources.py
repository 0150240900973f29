"""Data in: from a recipe's `data:` to a stream of records, every row kept or rejected with file, line and reason.

    ledger = Ledger()
    for record in read_records("alpaca_data.json", seed=0, ledger=ledger, announce=print): ...
    ledger.check(max_rejected=0.01)

Locating (`camelid.data.locate`), parsing (`camelid.data.readers`), drawing (`camelid.data.sampling`) and recognising
(`camelid.data.formats`) each have their own module; here they meet, and here the rows are counted.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from camelid.data.conversation_names import conversation_of
from camelid.data.formats import RowFault, UnknownFormat, convert_row
from camelid.data.ledger import FileReport, Ledger
from camelid.data.locate import Located, Part, SourceSpec, locate
from camelid.data.readers.rows import CHUNK, Damage, RawRow, RowSource, bad_text, excerpt
from camelid.data.records import Origin, Record, Rejection
from camelid.data.sampling import draw
from camelid.errors import UserError

__all__ = ["Ledger", "Reading", "SourceSpec", "read_records", "read_with"]

R = TypeVar("R")

Source = str | Path | Mapping[str, Any] | SourceSpec
Sources = Source | Sequence[Source]
UNKNOWN_ROWS = 100  # first rows of a file that no format recognises, after which the file is given up
_FILES_NAMED = 5  # a source of more files is announced as a whole
_USUAL_FIELDS = (
    *("instruction", "input", "output", "system", "history", "conversations", "messages", "prompt", "completion"),
    *("response", "question", "answer", "query", "content", "summary", "chosen", "rejected", "label", "text"),
)


@dataclass(frozen=True, slots=True)
class Reading(Generic[R]):
    """What is read out of files. open: gives a part's rows; convert: a row's format and records, as `convert_row`."""

    open: Callable[[Part], RowSource]
    convert: Callable[[Any, Origin, list[str]], tuple[str, Sequence[R]]]


_CONVERSATIONS: Reading[Record] = Reading(lambda part: part.open(), convert_row)


def read_records(
    spec: Sources,
    *,
    seed: int,
    ledger: Ledger,
    on_reject: Callable[[Rejection], None] | None = None,
    announce: Callable[[str], None] | None = None,
    chunk: int = CHUNK,
) -> Iterator[Record]:
    """Stream the records of one source or of several, one after the other.

    Paths are looked up at once: `UserError` for what does not exist. While streaming, `UserError` comes up for a file
    that cannot be read at all, whose format is not known, or that gives no usable row. What is wrong with a single
    row is counted in `ledger` and handed to `on_reject`. `announce` gets one line for each file when it has been read.
    `chunk`, in bytes, is how much is read at a time; it changes nothing else.
    """
    return read_with(
        _CONVERSATIONS, spec, seed=seed, ledger=ledger, on_reject=on_reject, announce=announce, chunk=chunk
    )


def read_with(
    reading: Reading[R],
    spec: Sources,
    *,
    seed: int,
    ledger: Ledger,
    on_reject: Callable[[Rejection], None] | None = None,
    announce: Callable[[str], None] | None = None,
    chunk: int = CHUNK,
) -> Iterator[R]:
    """`read_records` for another kind of record."""
    if on_reject is not None:
        ledger.on_reject = on_reject
    sources = list(spec) if isinstance(spec, Sequence) and not isinstance(spec, str) else [spec]
    if not sources:
        raise UserError("no data source is given", mend="for example data: my_rows.jsonl")
    located = [locate(SourceSpec.of(source), chunk) for source in sources]
    ledger.parts = sum(len(source.parts) for source in located)
    return _records(reading, located, seed, ledger, announce or (lambda line: None))


def _records(
    reading: Reading[R], located: list[Located], seed: int, ledger: Ledger, announce: Callable[[str], None]
) -> Iterator[R]:
    for source in located:
        reports: list[FileReport] = []
        items = _items(reading, source, reports, ledger)
        drawn = draw(items, sample=source.sample, weight=source.spec.weight, seed=f"{seed}:{source.spec.path}")
        for part, report, item in drawn:
            yield from _convert(reading, part, report, item, ledger)
        for report in reports:
            if report.unknown and not report.recognised:
                raise _unknown_format(report)
        _check_source(source, reports, ledger)
        for line in _announcement(source, reports):
            announce(line)


def _items(
    reading: Reading[R], source: Located, reports: list[FileReport], ledger: Ledger
) -> Iterator[tuple[Part, FileReport, RawRow | Damage]]:
    for part in source.parts:
        opened = reading.open(part)
        report = FileReport(part.label, encoding=opened.encoding)
        reports.append(report)
        ledger.files.append(report)
        ledger.share_of_file = opened.share
        try:
            for item in opened.rows:
                report.rows += 1
                yield part, report, item
        finally:
            opened.close()


def _convert(reading: Reading[R], part: Part, report: FileReport, item: RawRow | Damage, ledger: Ledger) -> Iterator[R]:
    """The records of one row, counted; or none, and its rejection counted."""
    if isinstance(item, Damage):
        _reject(report, ledger, item.line, item.reason, item.head)
        return
    notes: list[str] = []
    try:
        if item.suspect and (reason := bad_text(item.value)):
            raise RowFault(reason)
        row = part.mapping.apply(item.value) if part.mapping else item.value
        origin = Origin(part.label, item.line, conversation_of(item.value, part.label))
        name, records = reading.convert(row, origin, notes)
    except UnknownFormat as fault:
        report.unknown += 1
        report.fields = report.fields or fault.fields
        _reject(report, ledger, item.line, str(fault), item.head or item.value)
        if report.unknown >= UNKNOWN_ROWS and not report.recognised:
            raise _unknown_format(report) from fault
        return
    except RowFault as fault:
        report.recognised = report.recognised or isinstance(item.value, dict)
        _reject(report, ledger, item.line, str(fault), item.head or item.value)
        return
    report.recognised = True
    for note in notes:
        ledger.notes[note] += 1
        report.notes[note] += 1
    for record in records:
        ledger.keep()
        report.read += 1
        report.kept += 1
        report.formats[name] += 1
        yield record


def _reject(report: FileReport, ledger: Ledger, line: int, reason: str, row: Any) -> None:
    report.read += 1
    report.rejected += 1
    ledger.refuse(Rejection(report.file, line, reason, excerpt(row)))


def _unknown_format(report: FileReport) -> UserError:
    shown = ", ".join(field[:30] for field in report.fields[:8]) or "no fields"
    for field in report.fields:
        near = difflib.get_close_matches(field.lower(), _USUAL_FIELDS, n=1)
        if near and near[0] not in report.fields:
            mend = f"did you mean {near[0]!r} for {field!r}?"
            break
    else:
        mend = (
            "rename them to instruction/output, messages, prompt/response or text, or map them in a dataset_info.json"
        )
    return UserError(f"the format of its rows is not known: they have the fields {shown}", where=report.file, mend=mend)


def _check_source(source: Located, reports: list[FileReport], ledger: Ledger) -> None:
    """Raise `UserError` when a source gave nothing to train on."""
    where = source.spec.path
    if any(report.kept for report in reports):
        return
    if not any(report.rows for report in reports):
        raise UserError("the data set is empty: there is no row in it", where=where)
    read = sum(report.read for report in reports)
    if not read:
        raise UserError(f"weight {source.spec.weight:g} draws none of its rows", where=where, mend="raise the weight")
    raise UserError(
        f"none of its {read:,} rows can be used: {ledger.top_reasons()}", where=where, mend="see the reasons above"
    )


def _announcement(source: Located, reports: list[FileReport]) -> Iterator[str]:
    remark = f" ({source.remark})" if source.remark else ""
    if len(reports) <= _FILES_NAMED:
        for report in reports:
            yield _summary(Path(report.file).name, [report]) + remark
    else:
        yield _summary(f"{source.spec.path}, {len(reports):,} files", reports) + remark


def _summary(name: str, reports: list[FileReport]) -> str:
    """For example `alpaca_data.json: Alpaca, 52,002 rows, 28 rejected`."""
    formats: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for report in reports:
        formats.update(report.formats)
        notes.update(report.notes)
    rows, read = sum(report.rows for report in reports), sum(report.read for report in reports)
    rejected = sum(report.rejected for report in reports)
    several = len(formats) > 1
    parts = [f"{form} ({count:,})" if several else form for form, count in formats.most_common()] or ["no usable row"]
    parts.append(f"{rows:,} rows" if read == rows else f"{read:,} drawn of {rows:,} rows")
    if rejected:
        parts.append(f"{rejected:,} rejected")
    parts += sorted({report.encoding for report in reports} - {"", "UTF-8"})
    line = f"{name}: {', '.join(parts)}"
    return "; ".join([line, *(f"{count:,} {note}" for note, count in notes.most_common())])
