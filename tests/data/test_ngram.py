"""The n-gram baseline against a dictionary-by-dictionary oracle, and as a proper distribution."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.data.ngram import NgramModel

VOCABULARY = 5
documents = st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=30), min_size=1, max_size=6).filter(any)


class Oracle:
    """Modified Kneser-Ney as the paper writes it: dictionaries, recursion, no cleverness."""

    def __init__(self, corpus: list[list[int]], order: int) -> None:
        self.order, pad = order, ["<s>"] * (order - 1)
        raw: dict[int, Counter[tuple]] = {k: Counter() for k in range(1, order + 1)}
        for document in corpus:
            line = [*pad, *document]
            for i in range(order - 1, len(line)):
                for k in raw:
                    raw[k][tuple(line[i - k + 1 : i + 1])] += 1
        self.counts = {order: raw[order]}
        for k in range(1, order):
            left: dict[tuple, set] = defaultdict(set)
            for gram in raw[k + 1]:
                left[gram[1:]].add(gram[0])
            self.counts[k] = Counter({g: raw[k][g] if g[0] == "<s>" else len(left[g]) for g in raw[k]})

    def discount(self, k: int, count: int) -> float:
        n = Counter(self.counts[k].values())
        fallback = [0.0, 0.5, 1.0, 1.5]
        if not all(n[c] for c in (1, 2, 3, 4)):
            return fallback[min(count, 3)]
        y = n[1] / (n[1] + 2 * n[2])
        d = [0.0, *(c - (c + 1) * y * n[c + 1] / n[c] for c in (1, 2, 3))]
        proper = all(0 < d[c] < c for c in (1, 2, 3)) and d[1] <= d[2] <= d[3]
        return (d if proper else fallback)[min(count, 3)]

    def probability(self, context: tuple, token: int) -> float:
        k = len(context) + 1
        lower = self.probability(context[1:], token) if context else 1 / VOCABULARY
        followers = {g: c for g, c in self.counts[k].items() if g[:-1] == context}
        total = sum(followers.values())
        if not total:
            return lower
        reserved = sum(self.discount(k, c) for c in followers.values())
        count = followers.get((*context, token), 0)
        return (count - self.discount(k, count)) / total + reserved / total * lower


@given(documents, st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=12), st.integers(1, 4))
def test_scores_equal_the_oracle(corpus: list[list[int]], text: list[int], order: int) -> None:
    model, oracle = NgramModel.count(corpus, vocabulary_size=VOCABULARY, order=order), Oracle(corpus, order)
    line = [*["<s>"] * (order - 1), *text]
    expected = [math.log(oracle.probability(tuple(line[i : i + order - 1]), text[i])) for i in range(len(text))]
    np.testing.assert_allclose(model.score(text), expected, rtol=1e-12)


def test_closed_form_discounts_are_reached() -> None:
    """The random corpora above are too small for n1..n4 > 0; this one takes the paper's formula, oracle and all."""
    rng = np.random.default_rng(0)
    corpus = [list(map(int, np.minimum(rng.geometric(0.4, 40) - 1, VOCABULARY - 1))) for _ in range(6)]
    oracle = Oracle(corpus, 3)
    assert oracle.discount(3, 1) not in (0.5, 0.0), "the corpus must exercise the formula"
    model = NgramModel.count(corpus, vocabulary_size=VOCABULARY)
    text = [0, 0, 1, 4, 3, 2, 0, 1]
    line = ["<s>", "<s>", *text]
    expected = [math.log(oracle.probability(tuple(line[i : i + 2]), text[i])) for i in range(len(text))]
    np.testing.assert_allclose(model.score(text), expected, rtol=1e-12)


@given(documents, st.lists(st.integers(0, VOCABULARY - 1), max_size=4), st.integers(1, 4))
def test_every_context_gives_a_distribution(corpus: list[list[int]], context: list[int], order: int) -> None:
    model = NgramModel.count(corpus, vocabulary_size=VOCABULARY, order=order)
    total = sum(math.exp(model.score([*context, token])[-1]) for token in range(VOCABULARY))
    assert total == pytest.approx(1, abs=1e-12)


def test_no_ngram_spans_two_documents() -> None:
    model = NgramModel.count([[0, 1], [0, 1]], vocabulary_size=4, order=2)
    assert model.num_ngrams[1] == 2, "(<s>, 0) and (0, 1), but no (1, 0)"


@pytest.mark.parametrize(
    ("corpus", "order", "message"),
    [([[0]], 0, "order"), ([[]], 3, "no tokens"), ([], 3, "no tokens"), ([[5]], 2, "ids"), ([[-1]], 2, "ids")],
)
def test_bad_input_is_named(corpus: list[list[int]], order: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NgramModel.count(corpus, vocabulary_size=5, order=order)
