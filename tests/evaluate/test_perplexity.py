"""Perplexity from a plain callable."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.errors import UserError
from camelid.evaluate.perplexity import heldout_texts, perplexity


@given(st.integers(2, 1000), st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_a_uniform_model_has_its_vocabulary_as_perplexity(vocabulary, lengths):
    texts = ["a" * length for length in lengths]
    score = perplexity(lambda text: (-len(text) * math.log(vocabulary), len(text)), texts)
    assert score.perplexity == pytest.approx(vocabulary)
    assert score.bits_per_byte == pytest.approx(math.log2(vocabulary))
    assert score.tokens == sum(lengths)


def test_tokens_weigh_equally_not_texts():
    score = perplexity(lambda text: (-len(text) * {"a": 1.0, "b": 3.0}[text[0]], len(text)), ["aaa", "b"])
    assert score.nats == pytest.approx(6.0)
    assert score.perplexity == pytest.approx(math.exp(1.5))


def test_bits_per_byte_counts_utf8():
    score = perplexity(lambda text: (-math.log(2) * 6, 2), ["骆驼"])
    assert score.utf8_bytes == 6
    assert score.bits_per_byte == pytest.approx(1.0)


def test_nothing_to_measure_is_the_users_fault():
    with pytest.raises(UserError, match="no text"):
        perplexity(lambda text: (0.0, 0), ["a"])


@pytest.mark.parametrize("value", [1.0, math.nan, -math.inf])
def test_what_no_probability_gives_is_a_fault_of_ours(value):
    with pytest.raises(ValueError, match="log-probability"):
        perplexity(lambda text: (value, 1), ["a"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_heldout_text_is_there_and_in_its_language(language):
    texts = heldout_texts(language)
    assert 12_000 <= sum(len(text.encode()) for text in texts) <= 20_000
    assert len(texts) >= 10
    for text in texts:
        chinese = sum("一" <= character <= "鿿" for character in text)
        assert (chinese > len(text) / 2) == (language == "zh"), text[:40]
