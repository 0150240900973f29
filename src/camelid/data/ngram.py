"""Interpolated modified Kneser-Ney n-gram model over token ids: the baseline that a neural language model must beat.

S. F. Chen and J. Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (1999), section 4.4, with
the three discounts of each order estimated in closed form from the counts of counts. As in KenLM (K. Heafield et al.,
2013), n-grams that begin with the start symbol keep their raw counts, since nothing can stand to their left. The
unigram level backs off to the uniform distribution, so every context gives a proper distribution over the vocabulary.

Why not a library: KenLM's estimator is a separate C++ program to be compiled; NLTK's interpolated Kneser-Ney has one
fixed discount and needs minutes for a megabyte. This is NumPy over sorted keys: 5 million tokens in some seconds.

    model = NgramModel.count(documents, vocabulary_size=4096, order=3)      # documents: sequences of token ids
    logp = model.score(document)                                            # (T,) natural logarithms, one per token

Letters in the comments: N positions of the padded corpus, G_k distinct k-grams, W = vocabulary_size + 1 (the start
symbol is the id `vocabulary_size`; it is a context, never a prediction).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Grams:
    """The k-grams of the corpus. A k-gram's id is its place in `keys` = id of its first k-1 tokens * W + last token."""

    keys: Ids  # (G_k,) sorted, distinct
    at: Ids  # (N,) the id of the k-gram that ends at each position
    first: Ids  # (G_k,) a position where it ends
    raw: Ids  # (G_k,) how often it ends at a predicted position; 0 for those that end in the start symbol


@dataclass(frozen=True, slots=True)
class _Level:
    """What scoring needs of one order k."""

    keys: Ids  # (G_k,)
    discounted: Floats  # (G_k,) (count - D(count)) / total of its context
    gamma: Floats  # (G_{k-1},) the mass that a context hands down to the order below; 1 where it was never seen


class NgramModel:
    """A counted model (see the module's docstring). Never changes after `count`."""

    def __init__(self, levels: Sequence[_Level], vocabulary_size: int) -> None:
        self._levels = tuple(levels)
        self.vocabulary_size = vocabulary_size
        self.order = len(levels)

    @property
    def num_ngrams(self) -> tuple[int, ...]:
        """Distinct n-grams by order, from 1 up (those with a share of probability of their own)."""
        return tuple(int((level.discounted > 0).sum()) for level in self._levels)

    @classmethod
    def count(cls, documents: Iterable[Sequence[int] | NDArray], *, vocabulary_size: int, order: int = 3) -> NgramModel:
        """Estimate from documents of token ids in [0, vocabulary_size); each starts afresh (no n-gram spans two).

        Raises ValueError for an order below 1, an id out of range, or no token at all.
        """
        if order < 1:
            raise ValueError(f"order must be at least 1, not {order}")
        tokens = _padded(documents, vocabulary_size, order)
        predicted = tokens < vocabulary_size
        if not predicted.any():
            raise ValueError("no tokens to count")
        grams = _all_grams(tokens, predicted, order, width=vocabulary_size + 1)
        levels = [
            _level(lower, here, _adjusted_counts(k, here, higher, tokens, vocabulary_size), vocabulary_size + 1)
            for k, (lower, here, higher) in enumerate(zip([None, *grams], grams, [*grams[1:], None], strict=False), 1)
        ]
        return cls(levels, vocabulary_size)

    def score(self, document: Sequence[int] | NDArray) -> Floats:
        """(T,) float64: log P(token | up to order - 1 tokens before it in this document), natural logarithms."""
        tokens = _padded([document], self.vocabulary_size, self.order)
        width = self.vocabulary_size + 1
        probability: Floats = np.full(len(tokens), 1 / self.vocabulary_size)
        context: Ids = np.zeros(len(tokens), np.int64)
        for level in self._levels:
            keys = context * width + tokens
            place = np.minimum(np.searchsorted(level.keys, keys), len(level.keys) - 1)
            found = (context >= 0) & (level.keys[place] == keys)
            handed_down = np.where(context >= 0, level.gamma[context], 1.0)
            probability = np.where(found, level.discounted[place], 0.0) + handed_down * probability
            # The k-gram that ends one position earlier is the context of the next order; -1 = never seen.
            context = np.roll(np.where(found, place, -1), 1)
        return np.log(probability[self.order - 1 :])


def _padded(documents: Iterable[Sequence[int] | NDArray], vocabulary_size: int, order: int) -> Ids:
    """(N,) all documents in a row, order - 1 start symbols before each: no n-gram ending at a real token spans two."""
    start = np.full(order - 1, vocabulary_size, np.int64)
    parts: list[Ids] = []
    for document in documents:
        ids = np.asarray(document, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= vocabulary_size):
            raise ValueError(f"token ids must lie in [0, {vocabulary_size})")
        parts += [start, ids]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _all_grams(tokens: Ids, predicted: NDArray[np.bool_], order: int, *, width: int) -> list[_Grams]:
    """The k-grams of orders 1..order."""
    grams: list[_Grams] = []
    context: Ids = np.zeros(len(tokens), np.int64)
    for _ in range(order):
        keys, first, at = np.unique(context * width + tokens, return_index=True, return_inverse=True)
        raw = np.bincount(at[predicted], minlength=len(keys))
        grams.append(_Grams(keys, at, first, raw))
        # np.roll wraps the last token before the first: only n-grams that end in a start symbol see it.
        context = np.roll(at, 1)
    return grams


def _adjusted_counts(k: int, here: _Grams, higher: _Grams | None, tokens: Ids, start: int) -> Ids:
    """(G_k,) Kneser-Ney counts: raw at the highest order and after the start symbol, else distinct left neighbours."""
    if higher is None:
        return here.raw
    suffix = here.at[higher.first[higher.raw > 0]]  # the k-gram that each distinct (k+1)-gram ends in
    distinct_left = np.bincount(suffix, minlength=len(here.keys))
    begins_with_start = tokens[np.maximum(here.first - (k - 1), 0)] == start
    return np.where(begins_with_start, here.raw, distinct_left)


def _level(lower: _Grams | None, here: _Grams, counts: Ids, width: int) -> _Level:
    """Discount the counts of one order and give each context's remainder to the order below."""
    discounts = np.array([0.0, *_discounts(counts)])
    context = here.keys // width
    num_contexts = 1 if lower is None else len(lower.keys)
    total = np.bincount(context, weights=counts, minlength=num_contexts)
    taken = discounts[np.minimum(counts, 3)]
    reserved = np.bincount(context, weights=taken, minlength=num_contexts)
    seen = np.maximum(total, 1)
    gamma = np.where(total > 0, reserved / seen, 1.0)
    return _Level(here.keys, (counts - taken) / seen[context], gamma)


def _discounts(counts: Ids) -> tuple[float, float, float]:
    """D1, D2, D3+ of Chen and Goodman's equation 26, or 0.5, 1, 1.5 where the counts of counts do not bear them."""
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        estimate = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        bounded = all(0 < d < c for d, c in zip(estimate, (1, 2, 3), strict=True))
        if bounded and all(a <= b for a, b in pairwise(estimate)):
            return estimate
    return 0.5, 1.0, 1.5
