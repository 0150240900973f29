"""Alpaca: {instruction, input, output}, with LLaMA-Factory's `history` and `system`; Dolly's {instruction, context,
response}; an `output` that is a list is answers from best to worst.
"""

from __future__ import annotations

from typing import Any

from camelid.data.formats.context import history_turns, system_turn
from camelid.data.formats.fields import RowFault, filled, optional
from camelid.data.formats.tools import read_tools
from camelid.data.formats.turns import prompt, whole
from camelid.data.records import Conversation, Message, Origin, Ranked

NAME = "Alpaca"
_INPUT_KEYS = ("input", "context")
_OUTPUT_KEYS = ("output", "response")


def recognises(keys: frozenset[str]) -> bool:
    return "instruction" in keys and not keys.isdisjoint(_OUTPUT_KEYS)


def convert(row: dict[str, Any], origin: Origin, notes: list[str]) -> list[Conversation | Ranked]:
    output_key = "output" if "output" in row else "response"
    answer = row[output_key]
    if isinstance(answer, list):
        answers = tuple(filled(one, f"answer {number}") for number, one in enumerate(answer, 1))
        if len(answers) < 2:
            raise RowFault(f"{output_key} is a list of {len(answers)}; ranked answers are two or more")
        return [Ranked(prompt(prompt_turns(row, notes), notes), answers, origin)]
    turns = prompt_turns(row, notes)
    turns.append(Message("assistant", filled(answer, output_key)))
    return [Conversation(whole(turns), origin, read_tools(row.get("tools")))]


def prompt_turns(row: dict[str, Any], notes: list[str]) -> list[Message]:
    """System prompt, history, and the instruction with its input as the user's turn."""
    turns = system_turn(row)
    turns.extend(history_turns(row, notes))
    turns.append(user_turn(row))
    return turns


def user_turn(row: dict[str, Any]) -> Message:
    """Instruction and input in one turn, parted by a line break (as LLaMA-Factory joins them)."""
    words = optional(row.get("input", row.get("context")), "input")
    instruction = row["instruction"]
    if not words:
        return Message("user", filled(instruction, "instruction"))
    instruction = optional(instruction, "instruction")
    if not instruction:
        return Message("user", words)
    return Message("user", f"{instruction}\n{words}", input_start=len(instruction) + 1)
