"""One question and one answer under any of the usual pairs of names, with ChatGLM's `history`.

{prompt, completion} (OpenAI, TRL), {prompt, response, history} and {content, summary} (ChatGLM), {question, answer}
(gsm8k), {query, response} (ms-swift), {input, output}. Lists of turns on either side are TRL's conversational form;
two lists of texts of one length are alternating turns (Chinese-Vicuna's chats).
"""

from __future__ import annotations

from typing import Any

from camelid.data.formats.context import history_turns, system_turn, with_system
from camelid.data.formats.fields import filled
from camelid.data.formats.tools import read_tools
from camelid.data.formats.turns import read_turns, sound, whole
from camelid.data.records import Conversation, Message, Origin

NAME = "question and answer"
PROMPT_KEYS = ("prompt", "question", "query", "input")
_ANSWER_KEYS = ("completion", "response", "answer", "output")


def keys_of(keys: frozenset[str] | dict[str, Any]) -> tuple[str, str] | None:
    """The two names under which a row holds its question and its answer, or None."""
    if "content" in keys and "summary" in keys:
        return "content", "summary"
    question = next((key for key in PROMPT_KEYS if key in keys), None)
    answer = next((key for key in _ANSWER_KEYS if key in keys), None)
    return (question, answer) if question and answer else None


def title(row: dict[str, Any]) -> str:
    """The fields that are read, for the announcement: `question/answer`."""
    return "/".join(keys_of(row) or (NAME,))


def recognises(keys: frozenset[str]) -> bool:
    return keys_of(keys) is not None


def convert(row: dict[str, Any], origin: Origin, notes: list[str]) -> list[Conversation]:
    names = keys_of(row)
    assert names is not None, "recognises() said that there are two"
    tools = read_tools(row.get("tools"))
    question, answer = row[names[0]], row[names[1]]
    if _alternating(question, answer):
        turns = system_turn(row)
        for asked, answered in zip(question, answer, strict=True):
            turns += [Message("user", asked), Message("assistant", answered)]
        return [Conversation(sound(turns, notes), origin, tools)]
    turns = asked_turns(row, names[0], notes)
    turns += answer_turns(answer, names[1], notes)
    return [Conversation(whole(turns), origin, tools)]


def asked_turns(row: dict[str, Any], key: str, notes: list[str]) -> list[Message]:
    """System prompt, history and question: of text, or of turns (TRL's conversational form)."""
    question = row[key]
    if _turns(question):
        return with_system(row, read_turns(question, notes))
    return [*system_turn(row), *history_turns(row, notes), Message("user", filled(question, key))]


def answer_turns(answer: Any, field: str, notes: list[str]) -> list[Message]:
    """An answer as turns: of text, of one turn, or of turns."""
    if isinstance(answer, dict):
        answer = [answer]
    if _turns(answer):
        return read_turns(answer, notes)
    return [Message("assistant", filled(answer, field))]


def _turns(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and not turn.keys().isdisjoint(("role", "from")) for turn in value)
    )


def _alternating(question: Any, answer: Any) -> bool:
    return (
        isinstance(question, list)
        and isinstance(answer, list)
        and len(question) == len(answer) > 0
        and all(isinstance(words, str) for words in question + answer)
    )
