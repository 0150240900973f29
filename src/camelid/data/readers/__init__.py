"""Readers: one file in, its rows out, streamed, with the line on which each row begins.

A reader knows nothing of instructions and answers; `camelid.data.formats` does. It yields a `RawRow` for whatever
it could parse and a `Damage` for each region that it could not, and it never raises because of what a file holds
(only `UserError`, when the file as a whole cannot be read).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from camelid.data.readers.arrow_rows import read_arrow, read_parquet
from camelid.data.readers.csv_rows import read_csv
from camelid.data.readers.decode import COMPRESSED, TextStream
from camelid.data.readers.json_decoder import JsonDecoder, Parsed
from camelid.data.readers.json_lines import read_json_lines
from camelid.data.readers.json_values import read_json_values
from camelid.data.readers.plain_text import read_plain_text
from camelid.data.readers.rows import CHUNK, Damage, RawRow, RowSource, bad_text
from camelid.errors import UserError

JSON_LINES = {".jsonl", ".ndjson"}
PLAIN_TEXT = {".txt", ".md"}
STRUCTURED = {".json", *JSON_LINES, ".csv", ".tsv", ".parquet", ".arrow"}
_PEEK = 1 << 16  # characters that tell lines from an array; fixed, so that the size of a chunk changes nothing


def kind_of(path: Path) -> str:
    """The extension that says how to read a file, without that of its compression: `.jsonl` for `a.jsonl.gz`."""
    name = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return name.suffix.lower()


def open_rows(path: Path, chunk: int = CHUNK) -> RowSource:
    """Open a file and choose its reader, by extension first and by content where that leaves a choice."""
    kind = kind_of(path)
    if kind in (".parquet", ".arrow"):
        return RowSource(read_parquet(path) if kind == ".parquet" else read_arrow(path))
    stream = TextStream(path, chunk)
    rows = _text_rows(stream, stream.peek(_PEEK)[:_PEEK], kind, path)
    if rows is None:
        stream.close()
        raise UserError(
            f"files of kind {kind or path.name!r} are not read",
            where=str(path),
            mend=f"known kinds: {' '.join(sorted(STRUCTURED | PLAIN_TEXT))}, also with {' '.join(sorted(COMPRESSED))}",
        )
    return RowSource(rows, stream.encoding, stream.close, stream.share)


def _text_rows(stream: TextStream, head: str, kind: str, path: Path) -> Iterator[RawRow | Damage] | None:
    if kind in (".csv", ".tsv"):
        return read_csv(stream, tabs=kind == ".tsv", where=str(path))
    start = head.lstrip("\ufeff \t\r\n")
    if kind in STRUCTURED or (start[:1] in ("{", "[") and _is_json(start)):
        return read_json_lines(stream) if _one_row_a_line(start, kind) else read_json_values(stream)
    if kind in PLAIN_TEXT or (kind == "" and not bad_text(head)):
        return read_plain_text(stream)
    return None


def _is_json(start: str) -> bool:
    """Whether text of an unknown kind is JSON: its first line is a whole object, or opens an array of objects."""
    first = start.partition("\n")[0]
    parsed = JsonDecoder().decode(first, 0)
    if isinstance(parsed, Parsed):
        return isinstance(parsed.value, dict) and not first[parsed.end :].strip()
    return first[0] == "[" and start[1:].lstrip()[:1] == "{"


def _one_row_a_line(start: str, kind: str) -> bool:
    """Tell JSON Lines from an array or from objects spread over lines; extensions are often wrong about it."""
    first, _, rest = start.partition("\n")
    rest = rest.lstrip()
    if first[:1] == "[":  # an array; or lines of which each is an array of messages
        parsed = JsonDecoder().decode(first, 0)
        if not isinstance(parsed, Parsed) or first[parsed.end :].strip() or rest[:1] != "[":
            return False
        return all(isinstance(turn, dict) and not turn.keys().isdisjoint(("role", "from")) for turn in parsed.value)
    if first[:1] == "{":
        if first.strip() == "{":
            return False
        return kind in JSON_LINES or not rest or rest[0] == "{" or isinstance(JsonDecoder().decode(first, 0), Parsed)
    return kind in JSON_LINES
