"""What an export is asked when it is compared: held-out skills and plain questions, in Chinese and English."""

from __future__ import annotations

from itertools import chain, zip_longest

from camelid.data.records import Conversation
from camelid.data.skills import make_skill_rows
from camelid.evaluate.perplexity import heldout_texts
from camelid.evaluate.retention import load_questions

_SEED = 20
PASSAGES = {"en": 4, "zh": 1}  # of the held-out text on which perplexity is measured


def check_prompts(count: int) -> list[Conversation]:
    """`count` prompts, each second one a plain question; the same ones for the same count."""
    skills = [
        row.conversation for row in make_skill_rows(_SEED, max(2, count), split="heldout", name="Camelid", maker="you")
    ]
    questions = load_questions()
    step = max(1, len(questions) // max(1, count))
    plain = [question.conversation for question in questions[::step]]
    mixed = chain.from_iterable(zip_longest(skills, plain))
    return [conversation for conversation in mixed if conversation is not None][:count]


def passages() -> list[str]:
    """Running text that no model of ours is trained on, Chinese and English."""
    return [*heldout_texts("zh"), *heldout_texts("en")]


def perplexity_texts() -> list[str]:
    """The passages on which the rise of perplexity by quantising is measured."""
    return [text for language, count in PASSAGES.items() for text in heldout_texts(language)[:count]]
