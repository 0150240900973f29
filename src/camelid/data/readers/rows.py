"""What readers yield: parsed rows, and regions that could not be parsed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from camelid.data.records import EXCERPT_LENGTH

CHUNK = 1 << 20  # bytes read at a time
MAX_ROW = 64 << 20  # characters; a longer row is damage, so that a lost quote cannot draw a whole file into memory
HEAD = 200  # characters of a row's text that are kept for its excerpt

# NUL marks a file that was cut off by a crash; a lone surrogate is no character and no tokenizer can encode it.
_BAD = re.compile("[\x00\ud800-\udfff]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(slots=True)
class RawRow:
    """One parsed row. `suspect` says that its strings may hold NUL or lone surrogates and must be looked through."""

    line: int
    value: Any
    head: str  # how the row begins in the file; "" where it has no text of its own (Parquet)
    suspect: bool = False


@dataclass(slots=True)
class Damage:
    """One region of a file in which no row could be read."""

    line: int
    reason: str
    head: str


@dataclass(slots=True)
class RowSource:
    """The rows of one file, and how its text was encoded ("" for binary formats)."""

    rows: Iterator[RawRow | Damage]
    encoding: str = ""
    close: Callable[[], None] = lambda: None  # releases the file; safe to call at any time, and twice
    share: Callable[[], float] = lambda: 0.0  # how much of the file has been read, 0 to 1; 0 where nobody knows


def bad_text(value: Any) -> str | None:
    """The reason why some string of a parsed row (keys included) must not be used, or None. Iterative: rows nest."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            found = None if item.isascii() and "\x00" not in item else _BAD.search(item)
            if found:
                return _why(found.group())
        elif isinstance(item, dict):
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(item)
    return None


def _why(character: str) -> str:
    code = ord(character)
    if code == 0:
        return "holds a NUL character"
    if 0xDC00 <= code <= 0xDCFF:  # what `decode` puts in the place of a byte that its encoding does not allow
        return f"holds a lone surrogate or a byte that is not valid in the file's encoding (\\x{code - 0xDC00:02x})"
    return f"holds a lone surrogate (\\u{code:04x})"


def excerpt(row: Any) -> str:
    """At most EXCERPT_LENGTH characters of a row, on one line, safe to print and to write as UTF-8."""
    if isinstance(row, dict):  # a row without text of its own: its first fields, each cut before it is joined
        row = ", ".join(f"{key}: {_short(value)}" for key, value in list(row.items())[:8])
    text = " ".join(_short(row).split())
    text = _UNPRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
    return text if len(text) <= EXCERPT_LENGTH else text[: EXCERPT_LENGTH - 1] + "…"


def _short(value: Any) -> str:
    # Never the repr of a container: it may be huge, and deep enough to exhaust the stack.
    if isinstance(value, list | tuple):
        return f"[{len(value)} items]"
    if isinstance(value, dict):
        return "{" + ", ".join(str(key)[:20] for key in list(value)[:5]) + "}"
    return str(value)[: 2 * EXCERPT_LENGTH] if isinstance(value, str) else repr(value)[: 2 * EXCERPT_LENGTH]
