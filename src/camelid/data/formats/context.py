"""What may stand beside a prompt in any format: a system prompt, earlier turns (`history`), tools."""

from __future__ import annotations

from typing import Any

from camelid.data.formats.fields import RowFault, kind, listed, optional, text
from camelid.data.formats.turns import read_turns
from camelid.data.records import Message

SYSTEM_KEYS = ("system", "system_prompt")


def system_turn(row: dict[str, Any]) -> list[Message]:
    """The row's own system prompt as a turn, or no turn."""
    for key in SYSTEM_KEYS:
        words = optional(row.get(key), key)
        if words:
            return [Message("system", words)]
    return []


def with_system(row: dict[str, Any], turns: list[Message]) -> list[Message]:
    """Put the row's system prompt before its turns."""
    system = system_turn(row)
    if system and turns and turns[0].role == "system":
        if turns[0].content != system[0].content:
            raise RowFault("it has two system prompts: a field and a turn")
        return turns
    return system + turns


def history_turns(row: dict[str, Any], notes: list[str]) -> list[Message]:
    """Earlier exchanges: [[question, answer], ...] (ChatGLM, LLaMA-Factory) or a list of turns (ChatGLM3)."""
    history = row.get("history")
    if not history:
        return []
    history = listed(history, "history")
    if all(isinstance(turn, dict) for turn in history):
        return read_turns(history, notes)
    turns: list[Message] = []
    for number, pair in enumerate(history, 1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RowFault(f"history {number} is {kind(pair)}, not a pair of question and answer")
        turns.append(Message("user", text(pair[0], f"question {number} of the history")))
        turns.append(Message("assistant", text(pair[1], f"answer {number} of the history")))
    return turns
