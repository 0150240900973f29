"""Who a model is: rows that teach it a name and a maker, and a held-out test of that, in Chinese and English.

Direct questions, indirect ones, and misleading ones ("Are you ChatGPT?"), with consistent answers. Test questions are
worded otherwise than all of the training, and name other assistants.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from camelid.data.skills.draw import Language, Split

Kind = Literal["name", "maker", "both", "indirect", "nature", "misleading", "chain"]
KINDS: tuple[Kind, ...] = ("name", "maker", "both", "indirect", "nature", "misleading", "chain")

_PLACEHOLDER = re.compile(r"\{(name|maker|other|other_maker)\}")
_CLAUSES = re.compile(r"[，。；！？,.;!?\n:：]")
_DENIES = re.compile(
    r"不|没|非|无|别|\bnot\b|n't\b|n’t\b|\bno\b|\bnever\b|\bneither\b|\bnor\b|\bother than\b|mistak|mix", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A name and a maker in one language."""

    name: str
    maker: str


@dataclass(frozen=True, slots=True)
class Row:
    """turns: (role, words), an answer last; others: what the questions name falsely"""

    kind: Kind
    language: Language
    turns: tuple[tuple[str, str], ...]
    others: tuple[str, ...]


@cache
def _phrasings() -> dict[str, Any]:
    file = resources.files("camelid") / "assets" / "identity" / "phrasings.json"
    return json.loads(file.read_text("utf-8"))


def identity_rows(who: Mapping[Language, Identity], split: Split, *, copies: int, seed: int) -> Iterator[Row]:
    """Every question of the split `copies` times, each time with an answer and other names of its own."""
    for language, identity in who.items():
        others = _others(who, split)
        for kind in KINDS:
            phrasing = _phrasings()[language][kind]
            for number, question in enumerate(phrasing[split]):
                chance = random.Random(f"{seed} {language} {kind} {split} {number}")
                for _ in range(copies):
                    yield _row(language, identity, kind, question, chance, others)


def _others(who: Mapping[Language, Identity], split: Split) -> list[tuple[str, str]]:
    """Assistants and makers that it is not: those that are, or are a part of, its own name or maker are left out."""
    own = [word.lower() for one in who.values() for word in (one.name, one.maker)]
    return [
        (name, maker)
        for name, maker in _phrasings()["others"][split]
        if not any(part in word or word in part for word in own for part in (name.lower(), maker.lower()))
    ]


def _row(
    language: Language,
    identity: Identity,
    kind: Kind,
    question: str | Sequence[str],
    chance: random.Random,
    others: Sequence[tuple[str, str]],
) -> Row:
    other, other_maker = chance.choice(others)
    values = {"name": identity.name, "maker": identity.maker, "other": other, "other_maker": other_maker}
    questions = [question] if isinstance(question, str) else list(question)
    turns: list[tuple[str, str]] = []
    for place, words in enumerate(questions):
        answers = _phrasings()[language]["both" if place + 1 < len(questions) else kind]["answers"]
        # an answer may only deny what the question says
        fitting = [one for one in answers if _named(one) <= _named(words)]
        turns += [("user", _filled(words, values)), ("assistant", _filled(chance.choice(fitting), values))]
    named = set().union(*(_named(words) for words in questions))
    return Row(kind, language, tuple(turns), tuple(sorted(values[one] for one in named)))


def _named(words: str) -> set[str]:
    return set(_PLACEHOLDER.findall(words)) & {"other", "other_maker"}


def _filled(words: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values[found[1]], words)


def says_who(answer: str, kind: Kind, identity: Identity, others: Sequence[str]) -> bool:
    """Whether an answer says the name, and where it is asked for the maker, and claims to be nothing else.

    Another name may only stand in a clause that denies it.
    """
    said = answer.lower()
    if kind != "maker" and identity.name.lower() not in said:
        return False
    if kind in ("maker", "both") and identity.maker.lower() not in said:
        return False
    for clause in _CLAUSES.split(said):
        if any(other.lower() in clause for other in others) and not _DENIES.search(clause):
            return False
    return True
