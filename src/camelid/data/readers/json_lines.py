"""JSON Lines: one object a line. A line that cannot be parsed costs that line alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

from camelid.data.readers.decode import TextStream
from camelid.data.readers.json_decoder import Failed, JsonDecoder
from camelid.data.readers.lines import read_lines
from camelid.data.readers.rows import HEAD, Damage, RawRow

CONFLICT_MARKER = re.compile(r"(<{7}|={7}|>{7}|\|{7})(\s|$)")  # what git leaves in a file that it could not merge
_GAP = re.compile(r"[ \t\r,]*")


def read_json_lines(stream: TextStream) -> Iterator[RawRow | Damage]:
    """Yield the rows of each line; usually one, but two objects whose line break got lost are two rows."""
    decoder = JsonDecoder()
    for line in read_lines(stream):
        if isinstance(line, Damage):
            yield line
            continue
        number, text = line
        position = _GAP.match(text).end()  # type: ignore[union-attr]
        while position < len(text):
            parsed = decoder.decode(text, position)
            if isinstance(parsed, Failed):
                yield Damage(number, _reason(text, parsed), text[position : position + HEAD])
                break
            head = text[position : min(parsed.end, position + HEAD)]
            if parsed.repeated is not None:
                yield Damage(number, f"the key {parsed.repeated!r} occurs twice", head)
            else:
                yield RawRow(number, parsed.value, head, stream.damaged or parsed.suspect)
            position = _GAP.match(text, parsed.end).end()  # type: ignore[union-attr]


def _reason(text: str, failed: Failed) -> str:
    if CONFLICT_MARKER.match(text):
        return "a git conflict marker"
    return f"{failed.reason}, column {failed.position + 1}" if failed.position >= 0 else failed.reason
