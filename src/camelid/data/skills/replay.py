"""Replay: general prompts that keep a small base what it is while it learns skills.

English answers are the base's own (SmolLM2's, greedy), so that training on them pulls the weights back to where they
were. SmolLM2 has next to no Chinese to keep, so the Chinese answers are the project's; they are there so that an open
Chinese question is not met with a skill's answer. See the card in assets/general.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

from camelid.data.records import Conversation, Message, Origin
from camelid.data.skills.draw import LANGUAGES, Language

# How a base is asked for rows of its own: for a few sentences each, and Chinese prompts, a tenth of ours, so often that
# they are about a third of the rows.
LONGEST = 64  # tokens of an answer
TEMPERATURE = 0.7
TIMES: dict[Language, int] = {"en": 1, "zh": 5}
_SENTENCE_END = re.compile(r"(?<!\d)[.!?](?=\s|$)|[。！？]")  # not the point of "3. Viola"

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


def whole_sentences(text: str, *, ended: bool) -> str | None:
    """The text up to its last sentence end, unless its writer had `ended` it; None if nothing is worth keeping."""
    if not ended:
        ends = [match.end() for match in _SENTENCE_END.finditer(text)]
        text = text[: ends[-1]] if ends else ""
    text = text.strip()
    return text if text and not goes_in_circles(text) else None


def goes_in_circles(text: str) -> bool:
    """Whether a run of four words, or of eight Chinese characters, occurs twice: a loop is no ability to keep."""
    words = re.findall(r"[a-z0-9_']+|[^\W\d_a-z]", text.lower())
    # four characters of Chinese are a word or two
    mixed = [run for run in _runs(words, 4) if any(word.isascii() for word in run)]
    chinese = _runs([word for word in words if not word.isascii()], 8)
    return any(len(set(runs)) < len(runs) for runs in (mixed, chinese))


def _runs(words: list[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
