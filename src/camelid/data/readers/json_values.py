"""A JSON array (or values one after another), streamed: rows leave as they are parsed, and damage costs its row alone.

The window is the text read so far and not yet consumed. Python's own C scanner parses each row in it; a row that
is not whole yet makes the window grow (doubling, so that a row of 10 MB is scanned a few times and not a hundred).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from camelid.data.readers.decode import TextStream
from camelid.data.readers.json_decoder import Failed, JsonDecoder, Parsed
from camelid.data.readers.json_lines import CONFLICT_MARKER
from camelid.data.readers.rows import MAX_ROW, Damage, RawRow

_GAP = re.compile("[ \t\r\n,\ufeff]*")
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.){0,200}")\s*:')
_TAIL = 4096  # characters kept of skipped text: no row's opening is longer


class _Window:
    """Text from `position` on is not consumed yet; `line` is the line of `position`."""

    def __init__(self, stream: TextStream) -> None:
        self.stream, self.text, self.position, self.line = stream, "", 0, 1
        self.begun = self.ended = False

    def more(self) -> None:
        """Drop what is consumed and read on, at least as much again as is left."""
        left = self.text[self.position :]
        pieces, length = [left], 0
        while length <= len(left) and not self.ended:
            piece = self.stream.read()
            pieces.append(piece)
            length += len(piece)
            self.ended = not piece
        self.text, self.position = "".join(pieces), 0

    def advance(self, position: int) -> None:
        self.line += self.text.count("\n", self.position, position)
        self.position = position

    def skip_gap(self) -> str | None:
        """Skip white space and commas; return the indentation when the next character is the first of its line."""
        indentation: str | None = None if self.begun else ""
        self.begun = True
        while True:
            end = _GAP.match(self.text, self.position).end()  # type: ignore[union-attr]
            gap = self.text[self.position : end]
            newline = gap.rfind("\n")
            if newline >= 0:
                indentation = gap[newline + 1 :]
            elif indentation is not None:
                indentation += gap
            self.advance(end)
            if end < len(self.text) or self.ended:
                return indentation
            self.more()


def read_json_values(stream: TextStream) -> Iterator[RawRow | Damage]:
    """Yield the rows of the top-level array, or the top-level values themselves."""
    window, decoder = _Window(stream), JsonDecoder()
    inside = cut = False
    first_key: str | None = None
    while True:
        indentation = window.skip_gap()
        if window.position == len(window.text):
            break
        character = window.text[window.position]
        if (character == "[" and not inside) or (character == "]" and inside):
            inside = not inside
            window.advance(window.position + 1)
            continue
        line = window.line
        outcome = _decode(window, decoder)
        head = window.text[window.position : window.position + 200]
        if isinstance(outcome, Failed):
            cut = _resynchronise(window, indentation, first_key)
            yield Damage(line, _reason(outcome, head, line, window.line, cut), head)
            continue
        if first_key is None and character == "{":
            found = _FIRST_KEY.match(window.text, window.position)
            first_key = found.group(1) if found else None
        window.advance(outcome.end)
        if outcome.repeated is not None:
            yield Damage(line, f"the key {outcome.repeated!r} occurs twice", head)
        else:
            yield RawRow(line, outcome.value, head, stream.damaged or outcome.suspect)
    if stream.fault:
        yield Damage(window.line, stream.fault, "")
    elif inside and not cut:
        yield Damage(window.line, "the file ends inside its array: it was cut off", "")


def _decode(window: _Window, decoder: JsonDecoder) -> Parsed | Failed:
    while True:
        outcome = decoder.decode(window.text, window.position)
        if window.ended:
            return outcome
        if isinstance(outcome, Parsed):
            if outcome.end < len(window.text) or window.text[window.position] in '{["':
                return outcome  # only a number may go on behind the end of the window
        elif not outcome.incomplete:
            return outcome
        elif len(window.text) - window.position > MAX_ROW:
            return Failed(f"a row longer than {MAX_ROW >> 20} Mi characters", -1, False)
        window.more()


def _resynchronise(window: _Window, indentation: str | None, first_key: str | None) -> bool:
    """Skip to where the next row plausibly begins; True when the file ends before that."""
    begins = _row_start(window, indentation, first_key)
    window.advance(window.position + 1)
    while True:
        found = begins.search(window.text, window.position)
        if found:
            # A line break stays unread: the gap that follows tells the indentation once more.
            window.advance(found.start() if window.text[found.start()] == "\n" else found.end())
            return False
        if window.ended:
            window.advance(len(window.text))
            return True
        window.advance(max(window.position, len(window.text) - _TAIL))
        window.more()


def _row_start(window: _Window, indentation: str | None, first_key: str | None) -> re.Pattern[str]:
    """What the beginning of a row looks like, seen from the broken one at the window's position.

    A row begins where a bracket opens at the broken row's own indentation (if that is first on its line), or where
    an object opens with the key with which the rows of this file open. Garbage that is no row at all ends at the next
    line that opens an object or an array.
    """
    character = window.text[window.position]
    on_own_line = indentation is not None
    if character not in "{[":
        return re.compile(r"\n[ \t]*(?=[\[{])" if on_own_line else r"(?=[\[{])")
    if first_key is None and (found := _FIRST_KEY.match(window.text, window.position)):
        first_key = found.group(1)
    opening = re.escape(character) if first_key is None else rf"\{{\s*{re.escape(first_key)}\s*:"
    if not on_own_line:  # behind a closed value only: a row nested ten thousand deep is one damage, not ten thousand
        return re.compile(rf"[}}\]]\s*,?\s*(?={opening})")
    return re.compile(rf"\n{re.escape(indentation or '')}(?=\{character})|\n[ \t]*(?={opening})")


def _reason(failed: Failed, head: str, begin: int, end: int, cut: bool) -> str:
    if CONFLICT_MARKER.match(head):
        return "a git conflict marker"
    reason = "the file ends inside this row: it was cut off" if cut and failed.incomplete else failed.reason
    return reason if end <= begin + 1 else f"{reason}; lines {begin} to {end} were left out"
