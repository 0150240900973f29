"""Rows that are like an earlier one: three ways, each beside what it should find."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.data.factory.dedup import duplicates
from camelid.data.factory.minhash import PERMUTATIONS, Hasher, unlike
from camelid.data.factory.rows import Row, text_of
from camelid.data.factory.similar import Neighbour, units
from camelid.data.formats import convert_row
from camelid.data.records import Origin

WORDS = [f"w{i}" for i in range(400)] + list("的一是不了人我在有他这为之大来以个中上们")


TURNS = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]


def _text(rng: random.Random, length: int) -> list[str]:
    return rng.choices(WORDS, k=length)


def _shingles(text: str) -> set[tuple[str, ...]]:
    tokens = units(text)
    tokens += [""] * (3 - len(tokens)) if tokens else []
    return {tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)}


def test_equal_text_is_found_whatever_its_width_case_and_white_space() -> None:
    texts = ["Say  hello", "你好", "say hello\n", "ＳＡＹ hello", "say hello!", "你好"]
    found = list(duplicates(texts, "exact", threshold=0.7, tokens="units"))
    assert found == [None, None, Neighbour(0, 1.0), Neighbour(0, 1.0), None, Neighbour(1, 1.0)]


def test_a_neighbour_is_a_place_among_all_texts() -> None:
    """The second is dropped, so the third is the second that is kept."""
    texts = ["a b c d", "a b c d", "e f g h", "e f g h"]
    for method in ("exact", "rouge", "minhash"):
        found = list(duplicates(texts, method, threshold=0.7, tokens="units"))
        assert found == [None, Neighbour(0, 1.0), None, Neighbour(2, 1.0)], method
        assert list(duplicates([], method, threshold=0.7, tokens="units")) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), max_size=12), st.integers(1, 5))
def test_a_signature_depends_on_its_text_alone(texts: list[str], block: int) -> None:
    """Of many at a time, of one at a time: a shingle never reaches over the end of a text."""
    hasher = Hasher()
    together = hasher.signatures(texts)
    assert together.shape == (len(texts), PERMUTATIONS)
    for start in range(0, len(texts), block):
        assert (Hasher().signatures(texts[start : start + block]) == together[start : start + block]).all()
    empty = [not units(text) for text in texts]
    assert ((together == 2**32 - 1).all(axis=1) == np.array(empty, bool)).all()


def test_signatures_estimate_the_jaccard_index() -> None:
    rng = random.Random(1)
    errors = []
    for _ in range(200):
        text = _text(rng, 60)
        other = [rng.choice(WORDS) if rng.random() < 0.08 else word for word in text]
        a, b = " ".join(text), " ".join(other)
        exact = len(_shingles(a) & _shingles(b)) / len(_shingles(a) | _shingles(b))
        signatures = Hasher().signatures([a, b])
        errors.append(float((signatures[0] == signatures[1]).mean()) - exact)
    assert abs(np.mean(errors)) < 0.01, "unbiased"
    assert np.std(errors) < 0.05, "1 / sqrt(128) at the worst is 0.044"


def test_minhash_finds_what_is_alike_and_keeps_what_is_not() -> None:
    """300 texts, each with a copy in which one word of forty differs, and texts that share half of their words."""
    rng = random.Random(2)
    texts, copies = [], set()
    for _ in range(300):
        text = _text(rng, 40)
        copy = list(text)
        copy[rng.randrange(40)] = "other"
        texts += [text, copy, text[:20] + _text(rng, 20)]
        copies.add(len(texts) - 2)
    found = list(duplicates((" ".join(text) for text in texts), "minhash", threshold=0.7, tokens="units"))
    dropped = {place for place, near in enumerate(found) if near is not None}
    assert dropped == copies
    assert all(found[place].number == place - 1 for place in dropped)  # type: ignore[union-attr]
    assert list(unlike(Hasher().signatures(["", "", "。"]), 0.7)) == [None] * 3, "nothing is like nothing"


@pytest.mark.parametrize(
    ("row", "instruction", "prompt", "answer"),
    [
        ({"instruction": "Add", "input": "1 2", "output": "3"}, "Add", "Add\n1 2", "3"),
        (
            {"messages": [{"role": role, "content": words} for role, words in TURNS]},
            "a", "s\na\nb\nc", "d",
        ),
        ({"prompt": "q", "chosen": "good", "rejected": "bad"}, "q", "q", "good\nbad"),
        ({"instruction": "q", "output": ["one", "two"]}, "q", "q", "one\ntwo"),
        ({"text": "running"}, "", "", "running"),
    ],
    ids=["alpaca", "turns", "preference", "ranked", "text"],
)  # fmt: skip
def test_what_rows_are_compared_by(row: dict, instruction: str, prompt: str, answer: str) -> None:
    _, records = convert_row(row, Origin("f", 1), [])
    read = Row(row, Origin("f", 1), tuple(records))
    assert text_of(read, "instruction") == instruction
    assert text_of(read, "prompt") == prompt
    assert text_of(read, "answer") == answer
    assert text_of(read, "all") == "\n".join(part for part in (prompt, answer) if part)
