"""Accuracy on skill rows: exact answers, by family and by language.

No model is known here: `answer(conversations, max_new_tokens)` gives one text for each conversation, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from camelid.data.records import Conversation
from camelid.data.skills import SkillRow, check_answer
from camelid.runs.interval import Share

MAX_NEW_TOKENS = 64  # the longest right answer of the shipped families has fewer, in SmolLM2's tokens

Key = TypeVar("Key", str, tuple[str, str])
Answer = Callable[[Sequence[Conversation], int], list[str]]


@dataclass(frozen=True, slots=True)
class SkillReport:
    """Right answers: of all, by language, by family, by both; and the wrong ones as (row, text given)."""

    overall: Share
    by_language: dict[str, Share]
    by_family: dict[str, Share]
    by_family_and_language: dict[tuple[str, str], Share]
    wrong: tuple[tuple[SkillRow, str], ...]


def skill_accuracy(answer: Answer, rows: Sequence[SkillRow], max_new_tokens: int = MAX_NEW_TOKENS) -> SkillReport:
    """Asks every row once and checks the answers. ValueError: `answer` gave another number of texts."""
    texts = answer([row.conversation for row in rows], max_new_tokens)
    if len(texts) != len(rows):
        raise ValueError(f"{len(rows)} prompts were given and {len(texts)} answers came back")
    marks = [check_answer(row, text) for row, text in zip(rows, texts, strict=True)]
    return SkillReport(
        overall=Share(sum(marks), len(marks)),
        by_language=_shares([row.language for row in rows], marks),
        by_family=_shares([row.family for row in rows], marks),
        by_family_and_language=_shares([(row.family, row.language) for row in rows], marks),
        wrong=tuple((row, text) for row, text, mark in zip(rows, texts, marks, strict=True) if not mark),
    )


def _shares(keys: Sequence[Key], marks: Sequence[bool]) -> dict[Key, Share]:
    """The share of right marks for each key, keys in order."""
    by_key = {key: [mark for other, mark in zip(keys, marks, strict=True) if other == key] for key in sorted(set(keys))}
    return {key: Share(sum(chosen), len(chosen)) for key, chosen in by_key.items()}
