"""Draws entities and phrasings for one row, from the pools of one split and one language only.

The pools are data (`assets/skills/pools.json`, `phrasings.json`), already parted into train and held-out. Numbers,
dates and the like have no list: a hash of their spelling says to which split they belong.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, Literal

Language = Literal["zh", "en"]
Split = Literal["train", "heldout"]

LANGUAGES: tuple[Language, ...] = ("zh", "en")
SPLITS: tuple[Split, ...] = ("train", "heldout")
HELDOUT_ONE_IN = 5  # of the numbers, dates, ... that have no list


@cache
def _asset(file: str) -> dict[str, Any]:
    """`{kind: {language: {split: [entry, ...]}}}`"""
    return json.loads((resources.files("camelid") / "assets" / "skills" / file).read_text("utf-8"))


def pool(kind: str, language: Language, split: Split) -> list[Any]:
    """The entities of one kind: strings, or [word, translation] pairs."""
    return _asset("pools.json")[kind][language][split]


def phrasings(kind: str, language: Language, split: Split) -> list[str]:
    """The templates of one kind, with `{fields}`."""
    return _asset("phrasings.json")[kind][language][split]


def split_of(spelling: str) -> Split:
    """The split of an entity that has no list. A checksum, for Python's own `hash` differs from run to run."""
    return "heldout" if zlib.crc32(spelling.encode()) % HELDOUT_ONE_IN == 0 else "train"


class Draw:
    """One row's source of chance; remembers what it gave."""

    def __init__(self, chance: random.Random, language: Language, split: Split, name: str, maker: str) -> None:
        self.chance = chance
        self.language: Language = language
        self.split: Split = split
        self.name = name  # of the assistant
        self.maker = maker
        self.entities: list[str] = []
        self.used_phrasings: list[str] = []

    def choose(self, *choices: Any) -> Any:
        """One of a closed set that both splits share (a weekday, a unit, what is asked)."""
        return self.chance.choice(choices)

    def pick(self, kind: str) -> Any:
        """One entity of a kind."""
        return self.several(kind, 1)[0]

    def several(self, kind: str, count: int) -> list[Any]:
        """Different entities of a kind."""
        chosen = self.chance.sample(pool(kind, self.language, self.split), count)
        for entity in chosen:
            self.entities += [entity] if isinstance(entity, str) else entity
        return chosen

    def make(self, draw: Callable[[], Any], spell: Callable[[Any], str] = str) -> Any:
        """The first value of `draw()` whose spelling belongs to this split."""
        while True:
            value = draw()
            spelling = spell(value)
            if split_of(spelling) == self.split:
                self.entities.append(spelling)
                return value

    def number(self, low: int, high: int) -> int:
        """A number from low to high, both included."""
        return self.make(lambda: self.chance.randint(low, high))

    def numbers(self, low: int, high: int, count: int) -> list[int]:
        """Different numbers, as `number`."""
        chosen: list[int] = []
        while len(chosen) < count:
            value = self.number(low, high)
            if value not in chosen:
                chosen.append(value)
        return chosen

    def phrase(self, kind: str, **fields: object) -> str:
        """A template of a kind, filled in."""
        template = self.chance.choice(phrasings(kind, self.language, self.split))
        self.used_phrasings.append(f"{kind}: {template}")
        return template.format(**fields)

    def listing(self, items: list[Any]) -> str:
        """Items in a row, with the language's own separator."""
        return self.words("，", ", ").join(str(item) for item in items)

    def words(self, zh: Any, en: Any) -> Any:
        """What this language says."""
        return zh if self.language == "zh" else en
