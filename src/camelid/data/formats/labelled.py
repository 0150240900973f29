"""Answers marked as wanted or not (KTO): {messages, label}, {prompt, completion, label} (TRL), `kto_tag`."""

from __future__ import annotations

from typing import Any

from camelid.data.formats import alpaca, pairs
from camelid.data.formats.conversations import KEYS as CONVERSATION_KEYS
from camelid.data.formats.conversations import row_turns
from camelid.data.formats.fields import RowFault, kind
from camelid.data.formats.turns import whole
from camelid.data.records import Conversation, Labelled, Message, Origin

NAME = "labelled"
_WORDS = {"true": True, "1": True, "false": False, "0": False}


def recognises(keys: frozenset[str]) -> bool:
    if "kto_tag" in keys:
        return True
    # A `label` beside anything else is some classification task's.
    return "label" in keys and not keys.isdisjoint((*CONVERSATION_KEYS, "completion"))


def convert(row: dict[str, Any], origin: Origin, notes: list[str]) -> list[Labelled]:
    key = "kto_tag" if "kto_tag" in row else "label"
    label = row[key]
    if isinstance(label, str) and label.strip().lower() in _WORDS:  # as CSV writes it
        label = _WORDS[label.strip().lower()]
    if not isinstance(label, bool) and label not in (0, 1):
        raise RowFault(f"{key} is {kind(label)}, neither true nor false")
    return [Labelled(_messages(row, origin, notes), bool(label), origin)]


def _messages(row: dict[str, Any], origin: Origin, notes: list[str]) -> tuple[Message, ...]:
    keys = frozenset(row)
    if not keys.isdisjoint(CONVERSATION_KEYS):
        return whole(row_turns(row, notes))
    for form in (alpaca, pairs):
        if form.recognises(keys):
            record = form.convert(row, origin, notes)[0]
            if isinstance(record, Conversation):
                return record.messages
            raise RowFault("a label belongs to one answer, and this row has several")
    raise RowFault("it has a label, but no conversation that it belongs to")
