"""Which rows are like an earlier one: letter by letter, by ROUGE-L (in memory), or by MinHash (past memory)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np

from camelid.data.factory.minhash import PERMUTATIONS, Hasher, unlike
from camelid.data.factory.similar import Neighbour, SimilarityPool, units, words
from camelid.data.groups import digest

Method = Literal["exact", "rouge", "minhash"]
Tokens = Literal["units", "words"]
TOKENS: dict[Tokens, Callable[[str], list[str]]] = {"units": units, "words": words}
_BLOCK = 4096


def duplicates(texts: Iterable[str], method: Method, *, threshold: float, tokens: Tokens) -> Iterator[Neighbour | None]:
    """For each text None where it is kept, or what is kept before it that it is like.

    number of a neighbour: its place among the texts, from 0
    """
    match method:
        case "exact":
            return _exact(texts)
        case "rouge":
            return _by_rouge(texts, SimilarityPool(threshold, TOKENS[tokens]))
        case "minhash":
            return _by_minhash(texts, threshold, Hasher(TOKENS[tokens]))


def _exact(texts: Iterable[str]) -> Iterator[Neighbour | None]:
    """Equal but for width of letters, case and white space."""
    known: dict[bytes, int] = {}
    for place, text in enumerate(texts):
        first = known.setdefault(digest(normalised(text)), place)
        yield None if first == place else Neighbour(first, 1.0)


def normalised(text: str) -> str:
    """Without differences of width, case and white space, which no two texts that are called the same differ in."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.lower().split())


def _by_rouge(texts: Iterable[str], pool: SimilarityPool) -> Iterator[Neighbour | None]:
    kept: list[int] = []
    place = 0
    for block in _blocks(texts):
        for near in pool.admit(block):
            if near is None:
                kept.append(place)
            yield None if near is None else Neighbour(kept[near.number], near.score)
            place += 1


def _by_minhash(texts: Iterable[str], threshold: float, hasher: Hasher) -> Iterator[Neighbour | None]:
    parts = [hasher.signatures(block) for block in _blocks(texts)]
    yield from unlike(np.concatenate(parts) if parts else np.empty((0, PERMUTATIONS), np.uint32), threshold)


def _blocks(texts: Iterable[str]) -> Iterator[Sequence[str]]:
    rest = iter(texts)
    while block := list(islice(rest, _BLOCK)):
        yield block
