"""What a skill row is, and when an answer to it counts as right."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from camelid.data.records import Conversation, Message
from camelid.data.skills.draw import Draw, Language

Check = Literal["exact", "json"]


@dataclass(frozen=True, slots=True)
class SkillRow:
    """One prompt with its one right answer.

    `conversation` ends with the user's turn; `training` is the same with the answer behind it. `entities` (names,
    things, numbers: as the text spells them) and `phrasings` (the templates that the prompt was made from) say
    what the row was drawn from, so that a test can prove that no held-out one occurs in training.
    """

    conversation: Conversation
    answer: str
    family: str
    language: Language
    check: str
    entities: tuple[str, ...] = ()
    phrasings: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """The user's text."""
        return self.conversation.messages[-1].content

    @property
    def training(self) -> Conversation:
        """The conversation with the answer as the assistant's turn."""
        messages = (*self.conversation.messages, Message("assistant", self.answer))
        return Conversation(messages, self.conversation.origin)


@dataclass(frozen=True, slots=True)
class Task:
    """What a family makes from one draw."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of skill. `share` is its weight among the training rows (held-out rows are spread evenly)."""

    name: str
    make: Callable[[Draw], Task]
    check: Check = "exact"
    share: float = 1.0


def check_answer(row: SkillRow, text: str) -> bool:
    """Whether `text` is the row's answer: to the letter, outer white space aside; JSON is compared as parsed.

    JSON counts only as a single object with the same keys, values and types; the order of the keys and the white
    space between tokens are free, as JSON has them. Duplicate keys are wrong.
    """
    if row.check == "exact":
        return text.strip() == row.answer.strip()
    if row.check == "json":
        try:
            return _typed(json.loads(text, object_pairs_hook=_unique)) == _typed(json.loads(row.answer))
        except (ValueError, RecursionError):
            return False
    raise ValueError(f"unknown check {row.check!r}")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The pairs as a dict, which they must fill without loss."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _typed(value: object) -> object:
    """The value with its types beside it: Python holds 1 == 1.0 == True, JSON does not."""
    if isinstance(value, dict):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    return (type(value).__name__, value)
