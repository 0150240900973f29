"""Which rows of a source are drawn, and how often: reproducible from a seed, in the order of the file."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
BLOCK = 1_000  # rows within which a weight's fraction is met exactly


def draw(items: Iterable[Item], *, sample: int | None, weight: float, seed: str) -> Iterator[Item]:
    """`sample` of the items (all of them where there are fewer), each `weight` times.

    The sample holds that many items in memory and needs one pass. Of a weight, the whole part repeats every item, and
    the fraction repeats a random share of each block of BLOCK items (0.1: 100 of every 1,000).
    """
    if sample is not None:
        items = _sample(items, sample, random.Random(f"sample:{seed}"))
    return iter(items) if weight == 1 else _weigh(items, weight, random.Random(f"weight:{seed}"))


def _sample(items: Iterable[Item], size: int, chance: random.Random) -> Iterator[Item]:
    # Reservoir sampling (Vitter 1985, algorithm R); drawn items leave in the order in which they came.
    drawn: list[tuple[int, Item]] = []
    for i, item in enumerate(items):
        if i < size:
            drawn.append((i, item))
        elif (slot := chance.randrange(i + 1)) < size:
            drawn[slot] = (i, item)
    drawn.sort(key=lambda pair: pair[0])
    return (item for _, item in drawn)


def _weigh(items: Iterable[Item], weight: float, chance: random.Random) -> Iterator[Item]:
    copies, fraction = math.floor(weight), weight - math.floor(weight)
    favoured: set[int] = set()
    for i, item in enumerate(items):
        block, place = divmod(i, BLOCK)
        if place == 0:
            share = round((block + 1) * BLOCK * fraction) - round(block * BLOCK * fraction)
            favoured = set(chance.sample(range(BLOCK), share))
        for _ in range(copies + (place in favoured)):
            yield item
