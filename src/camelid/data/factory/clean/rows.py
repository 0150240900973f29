"""Rows of a source cleaned one by one: what goes out of each, and what became of its turns.

for row in clean_rows(sources, rules, ledger=ledger, on_reject=..., unread=turns): ...
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camelid.data.factory.clean.conversation import Cleaned, Turns, clean_chat
from camelid.data.factory.clean.forms import clean_form
from camelid.data.factory.clean.reading import Chat, read_row, turns_in
from camelid.data.factory.clean.text import Rules
from camelid.data.factory.rows import Row, text_of
from camelid.data.formats.fields import RowFault
from camelid.data.groups import bare, digest, group_rows, hold_out
from camelid.data.ledger import Ledger
from camelid.data.records import Conversation, Message, Origin, Rejection
from camelid.data.sources import Reading, Sources, read_with

UNREAD = "cannot be read"
_NAMES = ("conversation_id", "conversation_hash", "conv_id", "dialog_id", "dialogue_id", "session_id", "thread_id")


@dataclass(frozen=True, slots=True)
class CleanRow:
    """value: the row as it came; rows: what goes out, none where it was dropped; asked: by what its conversation is
    known again, its first question"""

    value: Any
    origin: Origin
    rows: Sequence[Any]
    asked: str
    cleaned: Cleaned


def clean_rows(
    sources: Sources,
    rules: Rules,
    *,
    ledger: Ledger,
    on_reject: Callable[[Rejection], None],
    unread: Turns,
    announce: Callable[[str], None] | None = None,
) -> Iterator[CleanRow]:
    """All rows in order. What cannot be read goes to `on_reject`, its turns to `unread`. Raises as `read_records`."""

    def convert(value: Any, origin: Origin, notes: list[str]) -> tuple[str, Sequence[Chat | Row]]:
        try:
            return read_row(value, origin, notes)
        except RowFault:
            if count := turns_in(value):
                unread.came += count
                unread.removed[UNREAD] += count
            raise

    reading = Reading(lambda part: part.open(), convert)
    for row in read_with(reading, sources, seed=0, ledger=ledger, on_reject=on_reject, announce=announce):
        yield _clean_chat(row, rules) if isinstance(row, Chat) else _clean_form(row, rules)


def held_out(asked: Sequence[tuple[str, Origin]], fraction: float, seed: int) -> Collection[int]:
    """Which of the rows that went out are for validation: whole conversations, whatever the order of the rows.

    asked: of each row its first question and its origin. Rows belong together as `camelid.data.groups` says.
    """
    digests = [digest(bare(question)).hex() for question, _ in asked]
    groups = group_rows(
        [Conversation((Message("user", one),), origin) for one, (_, origin) in zip(digests, asked, strict=True)]
    )
    # numbered by what their members ask and not by their places
    first: dict[int, str] = {}
    for group, one in zip(groups.tolist(), digests, strict=True):
        first[group] = min(first.get(group, one), one)
    rank = {group: number for number, group in enumerate(sorted(first, key=lambda group: first[group]))}
    ranked = np.array([rank[group] for group in groups.tolist()], np.int64)
    return set(hold_out(ranked, fraction, seed)[1].tolist())


def _clean_chat(chat: Chat, rules: Rules) -> CleanRow:
    cleaned = clean_chat(chat, rules)
    several = len(cleaned.parts) > 1
    rows = []
    for number, part in enumerate(cleaned.parts):
        row: dict[str, Any] = {"id": f"{chat.name}_{number}" if several else chat.name}
        if isinstance(chat.value, dict):
            row |= {key: chat.value[key] for key in _NAMES if key in chat.value}
        if several and not row.keys() & set(_NAMES):
            row["conversation_id"] = chat.name
        if chat.tools:
            row["tools"] = list(chat.tools)
        rows.append({**row, "messages": [_written(message) for message in part]})
    messages = cleaned.parts[0] if cleaned.parts else ()
    asked = next((message.content for message in messages if message.role == "user"), "")
    return CleanRow(chat.value, chat.origin, rows, asked, cleaned)


def _clean_form(row: Row, rules: Rules) -> CleanRow:
    value, cleaned = clean_form(row, rules)
    kept = not cleaned.reason
    asked = text_of(row, "instruction") or text_of(row, "all")
    return CleanRow(row.value, row.origin, [value] if kept else [], asked, cleaned)


def _written(message: Message) -> dict[str, Any]:
    """A message as the reader takes it."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = list(message.tool_calls)
    if message.name is not None:
        turn["name"] = message.name
    if message.trained is not None:
        turn["weight"] = int(message.trained)
    return turn
