"""Lists of turns: ShareGPT's `conversations` [{from, value}] and OpenAI's `messages` [{role, content}].

Real files mix the spellings of container and turns, so both are read by one function; `messages` of KdConv, whose
turns name no speaker, too.
"""

from __future__ import annotations

from typing import Any

from camelid.data.formats.context import with_system
from camelid.data.formats.fields import listed
from camelid.data.formats.tools import read_tools
from camelid.data.formats.turns import read_turns, sound
from camelid.data.records import Conversation, Message, Origin

SHAREGPT, MESSAGES = "ShareGPT", "messages"
_SHAREGPT_KEYS = ("conversations", "conversation")
_MESSAGES_KEYS = ("messages",)
KEYS = _SHAREGPT_KEYS + _MESSAGES_KEYS


def recognises_sharegpt(keys: frozenset[str]) -> bool:
    return not keys.isdisjoint(_SHAREGPT_KEYS)


def recognises_messages(keys: frozenset[str]) -> bool:
    return not keys.isdisjoint(_MESSAGES_KEYS)


def row_turns(row: dict[str, Any], notes: list[str]) -> list[Message]:
    """The turns of a row, its system prompt first."""
    key = next(key for key in KEYS if row.get(key) is not None or key in row)
    return with_system(row, read_turns(listed(row[key], key), notes))


def convert(row: dict[str, Any], origin: Origin, notes: list[str]) -> list[Conversation]:
    tools = read_tools(row.get("tools", row.get("functions")))
    return [Conversation(sound(row_turns(row, notes), notes), origin, tools)]
