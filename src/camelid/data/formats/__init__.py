"""Formats of rows: each recognised by the names of its fields, one module a concept.

The order matters: a row of `prompt`, `chosen` and `rejected` is a preference before it is anything else. A row is
recognised by itself, so a file may mix formats; what no format recognises is rejected with the fields that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from camelid.data.formats import (
    alpaca,
    conversations,
    labelled,
    message_tree,
    pairs,
    preference,
    running_text,
    self_instruct,
)
from camelid.data.formats.fields import RowFault, kind
from camelid.data.records import Origin, Ranked, Record

__all__ = ["FORMATS", "Format", "RowFault", "convert_row", "recognise"]


@dataclass(frozen=True, slots=True)
class Format:
    """`convert` gives the records of one row, appends to `notes` what it repaired, and raises `RowFault`.

    `title` names the fields that were chosen, where a format has several spellings that one row could hold at once.
    """

    name: str
    recognises: Callable[[frozenset[str]], bool]
    convert: Callable[[dict[str, Any], Origin, list[str]], Sequence[Record]]
    title: Callable[[dict[str, Any]], str] | None = None


FORMATS: tuple[Format, ...] = (
    Format(message_tree.NAME, message_tree.recognises, message_tree.convert),
    Format(preference.NAME, preference.recognises, preference.convert),
    Format(labelled.NAME, labelled.recognises, labelled.convert),
    Format(conversations.SHAREGPT, conversations.recognises_sharegpt, conversations.convert),
    Format(conversations.MESSAGES, conversations.recognises_messages, conversations.convert),
    Format(self_instruct.NAME, self_instruct.recognises, self_instruct.convert),
    Format(alpaca.NAME, alpaca.recognises, alpaca.convert),
    Format(pairs.NAME, pairs.recognises, pairs.convert, pairs.title),
    Format(running_text.NAME, running_text.recognises, running_text.convert),
)
_REMEMBERED = 256  # sets of field names whose format is remembered; real files have one or two
_by_keys: dict[tuple[str, ...], Format | None] = {}


def recognise(row: dict[str, Any]) -> Format | None:
    """The format that a row's fields tell, or None."""
    keys = tuple(row)
    if keys not in _by_keys:
        if len(_by_keys) >= _REMEMBERED:
            _by_keys.clear()
        fields = frozenset(keys)
        _by_keys[keys] = next((form for form in FORMATS if form.recognises(fields)), None)
    return _by_keys[keys]


def convert_row(row: Any, origin: Origin, notes: list[str]) -> tuple[str, Sequence[Record]]:
    """Name of the format and the records of a row; raises `RowFault`, with the fields where none recognises them."""
    if isinstance(row, list) and row and all(isinstance(turn, dict) for turn in row):
        row = {"messages": row}  # some files hold bare lists of messages
    if not isinstance(row, dict):
        raise RowFault(f"the row is {kind(row)}, not an object")
    if None in row.values():  # tables fill up with null what a row does not have
        filled = {key: value for key, value in row.items() if value is not None}
        row = filled if recognise(filled) else row
    form = recognise(row)
    if form is None:
        raise UnknownFormat(row)
    records = form.convert(row, origin, notes)
    name = form.title(row) if form.title else form.name
    return (f"{name}, ranked" if isinstance(records[0], Ranked) else name), records


class UnknownFormat(RowFault):
    """No format recognises the row's fields."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.fields = list(row)
        shown = ", ".join(str(key)[:30] for key in self.fields[:8]) or "none"
        super().__init__(f"no known format has these fields: {shown}")
