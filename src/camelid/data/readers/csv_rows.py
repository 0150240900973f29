"""CSV and TSV with a header line; quoted fields may span lines.

Strict: `"He said "hi""` is damage, not a guess. The columns come back as text; `camelid.data.formats` parses those
that hold lists.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

from camelid.data.readers.decode import TextStream
from camelid.data.readers.lines import read_lines
from camelid.data.readers.rows import HEAD, MAX_ROW, Damage, RawRow
from camelid.errors import UserError

_HEADER = 1 << 16  # characters in which the header line is looked for


class _Feed:
    """Lines for csv.reader, and which of them went into the record that is being read."""

    def __init__(self, lines: Iterator[tuple[int, str] | Damage]) -> None:
        self._lines = lines
        self.record: list[tuple[int, str]] = []
        self.damages: list[Damage] = []
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if isinstance(line, Damage):
                self.damages.append(line)
                continue
            self.record.append(line)
            yield line[1] + "\n"
        self.ended = True


def read_csv(stream: TextStream, *, tabs: bool, where: str, quotes: bool = True) -> Iterator[RawRow | Damage]:
    """Yield one row a record as {column: text}; raise `UserError` when the header is of no use.

    quotes: False where a quote is a character like any other
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW))  # for the whole process: csv offers nothing narrower
    delimiter = "\t" if tabs else _delimiter(stream.peek(_HEADER)[:_HEADER])
    feed = _Feed(read_lines(stream))
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(feed, delimiter=delimiter, strict=True, quoting=quoting)
    columns: list[str] | None = None
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            if columns is None:
                raise UserError(f"its header line cannot be read: {error}", where=where) from error
            yield from _salvage(feed.record, str(error), columns, delimiter, stream)
            fields = None if feed.ended else []
        else:
            if fields and columns is None:
                columns = _header(fields, where)
            elif fields and columns is not None:
                yield _row(feed.record, fields, columns, stream)
        yield from feed.damages
        feed.record, feed.damages = [], []
        if fields is None:
            return


def _delimiter(head: str) -> str:
    # European spreadsheets write semicolons; the header line tells.
    first = head.lstrip("\ufeff\r\n").partition("\n")[0]
    return max(",;\t", key=lambda delimiter: (first.count(delimiter), delimiter == ","))


def _header(fields: list[str], where: str) -> list[str]:
    columns = [field.strip() for field in fields]
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise UserError(f"its header names the column {twice[0]!r} twice", where=where, mend="rename one of them")
    return columns


def _row(record: list[tuple[int, str]], fields: list[str], columns: list[str], stream: TextStream) -> RawRow | Damage:
    line, head = record[0][0], record[0][1][:HEAD]
    if len(fields) != len(columns):
        return Damage(line, f"{len(fields)} fields, where the header has {len(columns)}", head)
    return RawRow(line, dict(zip(columns, fields, strict=True)), head, True)


def _salvage(
    record: list[tuple[int, str]], reason: str, columns: list[str], delimiter: str, stream: TextStream
) -> Iterator[RawRow | Damage]:
    """A quote out of place: its line is damage; of the lines that it drew in, those that are whole rows are kept."""
    if not record:
        return
    (line, text), *others = record
    following = f"; lines {line} to {others[-1][0]} are affected" if others else ""
    yield Damage(line, f"broken CSV: {reason}{following}", text[:HEAD])
    if len(columns) < 2:
        return  # any line of a text would pass for a row
    in_damage = True
    for number, text in others:
        try:
            fields = next(csv.reader([text], delimiter=delimiter, strict=True), [])
        except csv.Error:
            fields = []
        if len(fields) == len(columns):
            yield _row([(number, text)], fields, columns, stream)
        elif text and not in_damage:
            yield Damage(number, f"broken CSV: {reason}", text[:HEAD])
        in_damage = len(fields) != len(columns)
