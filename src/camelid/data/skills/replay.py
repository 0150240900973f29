"""Replay: general prompts that keep a small base what it is while it learns skills.

English answers are the base's own (SmolLM2's, greedy), so that training on them pulls the weights back to where they
were. SmolLM2 has next to no Chinese to keep, so the Chinese answers are the project's; they are there so that an open
Chinese question is not met with a skill's answer. See the card in assets/general.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources

from camelid.data.records import Conversation, Message, Origin
from camelid.data.skills.draw import LANGUAGES, Language

FILES: dict[Language, str] = {"en": "replay_smollm2.jsonl", "zh": "replay_prompts_zh.jsonl"}


def load_replay(languages: Sequence[Language] = LANGUAGES) -> list[Conversation]:
    """Every shipped replay row, prompt and answer, in the order of the files."""
    return [conversation for language in languages for conversation in _read(language)]


@cache
def general_prompts() -> tuple[tuple[Language, str], ...]:
    """(language, prompt) of every shipped general prompt, in the order of the files."""
    folder = resources.files("camelid") / "assets" / "general"
    return tuple(
        (language, json.loads(line)["prompt"])
        for language in LANGUAGES
        for line in (folder / f"replay_prompts_{language}.jsonl").read_text("utf-8").splitlines()
    )


@cache
def _read(language: Language) -> tuple[Conversation, ...]:
    file = FILES[language]
    lines = (resources.files("camelid") / "assets" / "general" / file).read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return tuple(
        Conversation((Message("user", row["prompt"]), Message("assistant", row["answer"])), Origin(file, number))
        for number, row in enumerate(rows, 1)
    )


def mostly_short(rows: Sequence[Conversation], short: int, long: int) -> list[Conversation]:
    """The `short` shortest of the rows, and `long` of the others, evenly spread over their lengths.

    What a small model forgets first is short facts, and short rows cost least, so they are most of the replay; a few
    long ones keep the length of an open answer.
    """
    by_length = sorted(rows, key=lambda row: sum(len(message.content) for message in row.messages))
    rest = by_length[short:]
    return by_length[:short] + [rest[i * len(rest) // long] for i in range(min(long, len(rest)))]
