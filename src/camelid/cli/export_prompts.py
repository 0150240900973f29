"""What an export is asked when it is compared: held-out skills and plain questions, in Chinese and English."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest

from camelid.data.records import Conversation
from camelid.data.skills import check_answer, make_skill_rows
from camelid.evaluate.perplexity import heldout_texts
from camelid.evaluate.retention import load_questions

_SEED = 20
PASSAGES = {"en": 4, "zh": 1}  # of the held-out text on which perplexity is measured


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt, and whether a text answers it rightly."""

    conversation: Conversation
    right: Callable[[str], bool]


def asked(count: int) -> list[Asked]:
    """`count` prompts, each second one a plain question; the same ones for the same count."""
    rows = make_skill_rows(_SEED, max(2, count), split="heldout", name="Camelid", maker="you")
    questions = load_questions()
    step = max(1, len(questions) // max(1, count))
    skills = [Asked(row.conversation, partial(check_answer, row)) for row in rows]
    plain = [Asked(question.conversation, question.answered_by) for question in questions[::step]]
    return [one for one in chain.from_iterable(zip_longest(skills, plain)) if one is not None][:count]


def check_prompts(count: int) -> list[Conversation]:
    """The same prompts alone."""
    return [one.conversation for one in asked(count)]


def passages() -> list[str]:
    """Running text that no model of ours is trained on, Chinese and English."""
    return [*heldout_texts("zh"), *heldout_texts("en")]


def perplexity_texts() -> list[str]:
    """The passages on which the rise of perplexity by quantising is measured."""
    return [text for language, count in PASSAGES.items() for text in heldout_texts(language)[:count]]
