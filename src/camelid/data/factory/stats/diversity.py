"""How varied a set is: what is asked for (verbs and their objects) and how many different words there are."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from itertools import count
from typing import Any

import numpy as np

from camelid.data.factory.similar import units
from camelid.data.factory.stats import chinese, english

TOP_VERBS, TOP_OBJECTS = 20, 4  # as in Self-Instruct's figure
STRETCH = 10_000  # words


class VerbObjects:
    """Root verbs and direct objects of instructions in one language (Self-Instruct, Wang et al. 2022, figure 2).

    They are found by rules, not by a parser: see english.py and chinese.py.
    """

    def __init__(self, language: str) -> None:
        self._find = chinese.verb_and_object if language == "zh" else english.verb_and_object
        self._pairs: Counter[tuple[str, str]] = Counter()

    def add(self, instruction: str) -> None:
        self._pairs[self._find(instruction)] += 1

    def summary(self) -> dict[str, Any]:
        """Shares of instructions with a verb and with both; how many differ; entropies in bits; the commonest."""
        total = self._pairs.total()
        with_verb = Counter({pair: n for pair, n in self._pairs.items() if pair[0]})
        both = Counter({pair: n for pair, n in with_verb.items() if pair[1]})
        verbs: Counter[str] = Counter()
        for (verb, _), n in with_verb.items():
            verbs[verb] += n
        top = []
        for verb, times in verbs.most_common(TOP_VERBS):
            objects = Counter({thing: n for (other, thing), n in both.items() if other == verb})
            named = [{"object": thing, "count": n} for thing, n in objects.most_common(TOP_OBJECTS)]
            top.append({"verb": verb, "count": times, "objects": named})
        return {
            "instructions": total,
            "with_verb": round(with_verb.total() / max(1, total), 6),
            "with_object": round(both.total() / max(1, total), 6),
            "verbs": len(verbs),
            "pairs": len(both),
            "verb_entropy": _entropy(verbs),
            "pair_entropy": _entropy(both),
            "top": top,
        }


def _entropy(counts: Counter[Any]) -> float:
    """In bits."""
    total = counts.total()
    return round(sum(n / total * math.log2(total / n) for n in counts.values()), 4) if total else 0.0


class Vocabulary:
    """Different words, and distinct-1 and distinct-2 (Li et al. 2016): the share of words, and of pairs, that differ.

    Both fall with the length of a text, so they are means over stretches of 10,000: sets of any size compare. A Chinese
    character counts as a word. What is shorter than a stretch is one; the rest behind the last one is left out.
    """

    def __init__(self) -> None:
        self._numbers: defaultdict[str, int] = defaultdict(count().__next__)
        self._ones, self._twos = _Stretches(), _Stretches()
        self.words = 0

    def add(self, text: str) -> None:
        found = units(text)
        words = np.fromiter(map(self._numbers.__getitem__, found), np.int64, len(found))
        self.words += len(words)
        self._ones.add(words)
        self._twos.add(words[:-1] << 31 | words[1:])

    def summary(self) -> dict[str, Any]:
        return {
            "words": self.words,
            "different": len(self._numbers),
            "distinct_1": round(self._ones.mean(), 4),
            "distinct_2": round(self._twos.mean(), 4),
        }


class _Stretches:
    """The share of numbers that differ, in each STRETCH of them."""

    def __init__(self) -> None:
        self._open = array("q")
        self._shares: list[float] = []

    def add(self, numbers: np.ndarray) -> None:
        self._open.frombytes(numbers.tobytes())
        whole = len(self._open) // STRETCH * STRETCH
        for start in range(0, whole, STRETCH):
            self._shares.append(_differing(self._open[start : start + STRETCH]))
        del self._open[:whole]

    def mean(self) -> float:
        if not self._shares:
            return _differing(self._open) if self._open else 0.0
        return sum(self._shares) / len(self._shares)


def _differing(numbers: array[int]) -> float:
    """By sorting, which takes a quarter of numpy.unique's time here."""
    ordered = np.sort(np.frombuffer(numbers, np.int64))
    return (int(np.count_nonzero(np.diff(ordered))) + 1) / len(ordered)
