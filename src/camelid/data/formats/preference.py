"""Preference pairs: a prompt under any of its usual names, with a better and a worse answer.

TRL's {prompt, chosen, rejected}, where both answers may be whole conversations (with the prompt, or in its place);
LLaMA-Factory's {conversations, chosen, rejected} and {instruction, input, chosen, rejected}; ms-swift's {messages,
rejected_response}, whose last answer is the chosen one; {question, response_chosen, response_rejected}.
"""

from __future__ import annotations

from typing import Any

from camelid.data.formats import alpaca
from camelid.data.formats.context import system_turn
from camelid.data.formats.conversations import KEYS as CONVERSATION_KEYS
from camelid.data.formats.conversations import row_turns
from camelid.data.formats.fields import RowFault
from camelid.data.formats.pairs import PROMPT_KEYS, answer_turns, asked_turns
from camelid.data.formats.turns import first_fault, prompt
from camelid.data.records import Message, Origin, Preference

NAME = "preference"
_CHOSEN_KEYS = ("chosen", "response_chosen", "chosen_response")
_REJECTED_KEYS = ("rejected", "response_rejected", "rejected_response", "rejected_messages")


def recognises(keys: frozenset[str]) -> bool:
    if keys.isdisjoint(_REJECTED_KEYS):
        return False
    return not keys.isdisjoint((*_CHOSEN_KEYS, "messages", "response"))


def convert(row: dict[str, Any], origin: Origin, notes: list[str]) -> list[Preference]:
    rejected_key = next(key for key in _REJECTED_KEYS if key in row)
    rejected = answer_turns(row[rejected_key], rejected_key, notes)
    chosen_key = next((key for key in (*_CHOSEN_KEYS, "response") if key in row), None)
    if chosen_key:
        chosen = answer_turns(row[chosen_key], chosen_key, notes)
        asked = _prompt_turns(row, notes)
    else:  # ms-swift: the conversation ends with the chosen answer
        turns = row_turns(row, notes)
        asked, chosen = turns[:-1], turns[-1:]
    asked, chosen, rejected = _part(asked, chosen, rejected)
    if chosen == rejected:
        raise RowFault("the chosen and the rejected answer are the same")
    before = prompt(asked, notes)
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        _check_answer(before, answer, name)
    return [Preference(before, tuple(chosen), tuple(rejected), origin)]


def _prompt_turns(row: dict[str, Any], notes: list[str]) -> list[Message]:
    if any(row.get(key) is not None for key in CONVERSATION_KEYS):
        return row_turns(row, notes)
    if row.get("instruction") is not None:
        return alpaca.prompt_turns(row, notes)
    key = next((key for key in PROMPT_KEYS if row.get(key) is not None), None)
    return asked_turns(row, key, notes) if key else system_turn(row)


def _part(
    asked: list[Message], chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Answers that are whole conversations: what both begin with is the prompt (said once more, or only there)."""
    if not chosen or not rejected or chosen[0].role == rejected[0].role == "assistant":
        return asked, chosen, rejected
    common = 0
    while common < min(len(chosen), len(rejected)) and chosen[common] == rejected[common]:
        common += 1
    while common and chosen[common - 1].role == "assistant":
        common -= 1  # a prompt ends with the user: answers that agree belong to the answers
    shared = chosen[:common]
    if asked and shared[-len(asked) :] != asked:
        raise RowFault("the prompt is not what both answers begin with")
    return shared, chosen[common:], rejected[common:]


def _check_answer(before: tuple[Message, ...], answer: list[Message], name: str) -> None:
    fault = first_fault([*before, *answer])
    if fault:
        raise RowFault(f"{name}: {fault[1]}")
    if not answer or answer[-1].role != "assistant":
        raise RowFault(f"{name} does not end with an answer")
