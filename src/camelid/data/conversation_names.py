"""What a raw row calls the conversation that it belongs to."""

from __future__ import annotations

from typing import Any

# Names of fields whose value is a conversation's own, whatever else the row holds.
_NAMED = ("conversation_id", "conversation_hash", "conv_id", "dialog_id", "dialogue_id", "session_id", "thread_id")
_TURNS = ("conversations", "conversation", "messages")


def conversation_of(row: Any, file: str) -> str:
    """What names the conversation that a raw row belongs to; "" where nothing does."""
    if not isinstance(row, dict):
        return ""
    value = next((row[key] for key in (*_NAMED, "message_tree_id") if row.get(key) not in (None, "")), None)
    if value is None and any(key in row for key in _TURNS):
        value = row.get("id")
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        return ""
    # a bare number counts the rows of its own file
    return f"{file}:{value}" if str(value).isdigit() else str(value)
