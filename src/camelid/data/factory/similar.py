"""Near duplicates by ROUGE-L (Lin 2004) against a whole pool, as Self-Instruct and Alpaca filter: exact, and fast.

ROUGE-L of two texts of n and m tokens whose longest common subsequence has l is 2l / (n + m), rapidfuzz's normalised
Indel similarity. Tokens become characters, so that many short texts are compared at once in the processor's vectors;
texts whose lengths alone keep them apart are never compared.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Indel
from rapidfuzz.process import cdist

from camelid.errors import UserError

THRESHOLD = 0.7  # Self-Instruct's and Alpaca's
_WORD = re.compile("[a-z0-9]+")
# Scripts that put no space between words: Thai, Lao, Burmese, Khmer, kana, Han.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNIT = re.compile(rf"[a-z0-9]+|[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_TIE = 1e-5  # far above a float32's rounding, far below 1 / (n + m)
_QUERIES = 128  # compared at a time with the pool: bounds the matrix


def words(text: str) -> list[str]:
    """rouge_score's own tokens: runs of a-z and 0-9. Whatever else is no token: of Chinese nothing is left."""
    return _WORD.findall(text.lower())


def units(text: str) -> list[str]:
    """The same for Latin text without accents; and every Chinese character, and words of other scripts."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)  # full-width letters and digits
    return _UNIT.findall(text.lower())


def rouge_l(common: int, n: int, m: int) -> float:
    """F1, rounded just as rouge_score rounds it: whether 0.7 is above 0.7 depends on that."""
    precision, recall = common / n, common / m
    return 2 * precision * recall / (precision + recall) if common else 0.0


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The text of the pool that is nearest: its number there, from 0, and ROUGE-L."""

    number: int
    score: float


class SimilarityPool:
    """Texts no two of which are similar, unless they were put in by `add`.

    threshold: ROUGE-L above which two are; tokens: what a text is cut into
    """

    def __init__(self, threshold: float = THRESHOLD, tokens: Callable[[str], list[str]] = units) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"a threshold between 0 and 1, not {threshold}")
        self.threshold, self._tokens = threshold, tokens
        self._codes: dict[str, str] = {}
        self._by_length: dict[int, tuple[list[str], list[int]]] = {}  # encoded texts and their numbers
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, text: str) -> int:
        """Put a text in, whatever it is like (a seed, say); its number."""
        return self._put(self._encoded(text))

    def admit(self, texts: Sequence[str]) -> list[Neighbour | None]:
        """Put in, in order, each text that is like none before it; None for those, else what it is nearest to.

        The same as one call for each, and faster.
        """
        encoded = [self._encoded(text) for text in texts]
        best = self._nearest_in_pool(encoded)
        within = self._among(encoded)
        numbers: dict[int, int] = {}  # of those put in, by their place in `texts`
        for place, one in enumerate(encoded):
            near = best.get(place)
            for other, score in within.get(place, ()):
                if other in numbers and (near is None or score > near.score):
                    near = Neighbour(numbers[other], score)
            if near is None:
                numbers[place] = self._put(one)
            else:
                best[place] = near
        return [best.get(place) for place in range(len(encoded))]

    def _put(self, encoded: str) -> int:
        texts, numbers = self._by_length.setdefault(len(encoded), ([], []))
        texts.append(encoded)
        numbers.append(self._count)
        self._count += 1
        return self._count - 1

    def _encoded(self, text: str) -> str:
        """A character for each token. Frequent ones are met first and get those below 256, which compare fastest."""
        return "".join(self._codes.get(token) or self._new_code(token) for token in self._tokens(text))

    def _new_code(self, token: str) -> str:
        if len(self._codes) > sys.maxunicode:
            raise UserError(
                f"more than {sys.maxunicode:,} different words", mend="for so large a set take MinHash: method=minhash"
            )
        self._codes[token] = chr(len(self._codes))
        return self._codes[token]

    def _nearest_in_pool(self, encoded: Sequence[str]) -> dict[int, Neighbour]:
        best: dict[int, Neighbour] = {}
        for length, places in _by_length(encoded).items():
            texts: list[str] = []
            numbers: list[int] = []
            for other in self._comparable(length):
                texts += self._by_length[other][0]
                numbers += self._by_length[other][1]
            for row, column, score in self._above(encoded, places, texts):
                found = Neighbour(numbers[column], score)
                if row not in best or (found.score, -found.number) > (best[row].score, -best[row].number):
                    best[row] = found
        return best

    def _among(self, encoded: Sequence[str]) -> dict[int, list[tuple[int, float]]]:
        """Of each place, the earlier ones that are similar, in order."""
        found: dict[int, list[tuple[int, float]]] = {}
        groups = _by_length(encoded)
        for length, places in groups.items():
            _, high = self._lengths(length)
            # two lengths are compared once, by the shorter; one with itself in both directions
            others = [place for other, same in groups.items() if length <= other <= high for place in same]
            for row, column, score in self._above(encoded, places, [encoded[place] for place in others]):
                place = others[column]
                if place < row or len(encoded[place]) > length:
                    found.setdefault(max(row, place), []).append((min(row, place), score))
        for pairs in found.values():
            pairs.sort()
        return found

    def _lengths(self, length: int) -> tuple[float, float]:
        """Between which lengths a similar text must be: the shorter one at most is common."""
        ratio = (2 - self.threshold) / self.threshold
        return length / ratio - 1, length * ratio + 1

    def _comparable(self, length: int) -> list[int]:
        low, high = self._lengths(length)
        return [other for other in self._by_length if low <= other <= high and other]

    def _above(
        self, encoded: Sequence[str], places: Sequence[int], texts: Sequence[str]
    ) -> list[tuple[int, int, float]]:
        """(place, number in `texts`, ROUGE-L) of all pairs above the threshold."""
        pairs = []
        if not texts or not encoded[places[0]]:  # without a token nothing is similar to it, as in rouge_score
            return pairs
        for start in range(0, len(places), _QUERIES):
            some = places[start : start + _QUERIES]
            scores = cdist(
                [encoded[place] for place in some],
                texts,
                scorer=Indel.normalized_similarity,
                score_cutoff=self.threshold - _TIE,
                dtype=np.float32,
                workers=-1,
            )
            for row, column in zip(*np.nonzero(scores > 0), strict=True):
                n, m = len(encoded[some[row]]), len(texts[column])
                score = rouge_l(round(float(scores[row, column]) * (n + m) / 2), n, m)
                if score > self.threshold:
                    pairs.append((some[row], int(column), score))
        return pairs


def _by_length(encoded: Sequence[str]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for place, one in enumerate(encoded):
        groups.setdefault(len(one), []).append(place)
    return dict(sorted(groups.items()))
