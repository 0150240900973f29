"""Questions of any format: rows that may lack an answer, lines of text, or rows whose last answer is put aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from camelid.data.formats.alpaca import prompt_turns
from camelid.data.formats.fields import RowFault, filled
from camelid.data.formats.turns import prompt, read_turns
from camelid.data.ledger import Ledger
from camelid.data.records import Message, Origin, Rejection
from camelid.data.skills.replay import TIMES, general_prompts
from camelid.data.sources import Reading, Sources, read_with

_LISTS = ("messages", "conversations", "conversation")
_SINGLE = ("prompt", "question", "query", "text")


@dataclass(frozen=True, slots=True)
class Question:
    """messages: up to and including the user's last; id: the row's own, None where it has none; number: tells apart
    two answers that are wanted to the same question
    """

    messages: tuple[Message, ...]
    origin: Origin
    id: Any = None
    number: int = 0

    @property
    def words(self) -> str:
        return self.messages[-1].content


def read_questions(
    sources: Sources,
    *,
    ledger: Ledger,
    on_reject: Callable[[Rejection], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> Iterator[Question]:
    """Those of all sources in order. What cannot be used goes to `on_reject`. Raises as `read_records` does."""
    reading = Reading(lambda part: part.open(), _convert)
    return read_with(reading, sources, seed=0, ledger=ledger, on_reject=on_reject, announce=announce)


def general_questions() -> list[Question]:
    """The shipped general prompts, in both languages, as often as a base is asked each."""
    return [
        Question((Message("user", words),), Origin("general prompts", line), f"{language}-{line}-{time}", time)
        for line, (language, words) in enumerate(general_prompts(), 1)
        for time in range(TIMES[language])
    ]


def _convert(value: Any, origin: Origin, notes: list[str]) -> tuple[str, Sequence[Question]]:
    if isinstance(value, str):
        return "lines", [Question((Message("user", filled(value, "the line")),), origin)]
    if not isinstance(value, dict):
        raise RowFault("the row is neither an object nor text")
    return "questions", [Question(prompt(_turns(value, notes), notes), origin, value.get("id"))]


def _turns(row: dict[str, Any], notes: list[str]) -> list[Message]:
    for key in _LISTS:
        if isinstance(row.get(key), list):
            turns = read_turns(row[key], notes)
            last = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=-1)
            return turns[: last + 1]
    if "instruction" in row:
        return prompt_turns(row, notes)
    for key in _SINGLE:
        if key in row:
            return [Message("user", filled(row[key], key))]
    raise RowFault(f"no question among its fields: {', '.join(sorted(row))[:100]}")
