"""A JSON array (or values one after another), streamed: rows leave as they are parsed, and damage costs its row alone.

The window is the text read so far and not yet consumed. Python's own C scanner parses each row in it; a row that
is not whole yet makes the window grow (doubling, so that a row of 10 MB is scanned a few times and not a hundred).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from camelid.data.readers.decode import TextStream
from camelid.data.readers.json_decoder import Failed, JsonDecoder, Parsed
from camelid.data.readers.json_lines import CONFLICT_MARKER
from camelid.data.readers.rows import HEAD, MAX_ROW, Damage, RawRow

_GAP = re.compile("[ \t\r\n,\ufeff]*")
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.){0,200}")\s*:')
_TAIL = 4096  # characters kept of skipped text: no row's opening is longer


@dataclass(slots=True)
class _Shape:
    """What the rows of a file look like, learnt from those that could be parsed; it tells where the next one begins."""

    indentation: str | None = None  # the white space before a row, None where rows are not first on their lines
    first_key: str | None = None  # with its quotes
    keys: set[str] | None = None  # those that every row so far has

    def learn(self, row: dict[str, Any], text: str, position: int, indentation: str | None) -> None:
        if self.keys is None or indentation != self.indentation:
            self.indentation, self.first_key = indentation, _first_key(text, position)
        if self.keys is None:
            self.keys = set(row)
        elif not self.keys <= row.keys():
            self.keys &= row.keys()

    def fits(self, value: Any) -> bool:
        """Whether a value can be a row, and not a part of a broken one."""
        return self.keys is None or (isinstance(value, dict) and self.keys <= value.keys())


def _first_key(text: str, position: int) -> str | None:
    found = _FIRST_KEY.match(text, position)
    return found.group(1) if found else None


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

    def ahead(self, size: int) -> str:
        """The next `size` characters, fewer only where the file ends."""
        while len(self.text) - self.position < size and not self.ended:
            self.more()
        return self.text[self.position : self.position + size]

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
    inside = cut = doubtful = False
    usual = _Shape()
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
        if isinstance(outcome, Failed):
            head = window.ahead(HEAD)
            cut = _resynchronise(window, _row_start(window, indentation, usual, inside))
            doubtful = indentation is None
            yield Damage(line, _reason(outcome, head, line, window.line, cut), head)
            continue
        if doubtful and not usual.fits(outcome.value):  # a part of the broken row: left out with it
            cut = _resynchronise(window, _row_start(window, indentation, usual, inside))
            continue
        doubtful = False
        if isinstance(outcome.value, dict):
            usual.learn(outcome.value, window.text, window.position, indentation)
        head = window.text[window.position : min(outcome.end, window.position + HEAD)]
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


def _resynchronise(window: _Window, begins: re.Pattern[str]) -> bool:
    """Skip to where the next row plausibly begins; True when the file ends before that."""
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


def _row_start(window: _Window, indentation: str | None, usual: _Shape, inside: bool) -> re.Pattern[str]:
    """What the beginning of a row looks like, seen from a broken one, or from garbage, at the window's position.

    Where rows are first on their lines, one begins where a bracket opens behind the same white space. Elsewhere one
    begins where an object opens, behind a comma or a bracket, with the key with which the rows of this file open (so
    that ten thousand openings one inside the other are one damage).
    """
    character = window.text[window.position]
    if character not in "{[":  # no row: text that got in between, or what is left of a row that closed too early
        if not inside or usual.keys is None:
            return re.compile(r"(?=[\[{])" if indentation is None else r"\n[ \t]*(?=[\[{])")
        character, indentation = "{", usual.indentation
    if indentation is not None:
        return re.compile(rf"\n{re.escape(indentation)}(?=\{character})")
    first_key = usual.first_key or _first_key(window.text, window.position)
    opening = re.escape(character) if first_key is None else rf"\{{\s*{re.escape(first_key)}\s*:"
    return re.compile(rf"[,}}\]]\s*(?={opening})")


def _reason(failed: Failed, head: str, begin: int, end: int, cut: bool) -> str:
    if CONFLICT_MARKER.match(head):
        return "a git conflict marker"
    ends_early = cut and failed.incomplete and head[0] in '{["'
    reason = "the file ends inside this row: it was cut off" if ends_early else failed.reason
    return reason if end <= begin + 1 else f"{reason}; lines {begin} to {end} were left out"
