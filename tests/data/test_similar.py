"""The similarity filter beside brute force: the same decisions, neighbours and scores, in any batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from camelid.data.factory.similar import Neighbour, SimilarityPool, rouge_l, units, words

# Few different tokens, so that many pairs are near the threshold; text without any token; full-width letters.
TOKENS = st.sampled_from(["a", "b", "c", "7", "é", "你", "好", "吗", "Ｐ", "слово", "…", "I'm"])
TEXTS = st.lists(st.lists(TOKENS, max_size=24).map(" ".join), max_size=30)


def _common(a: list[str], b: list[str]) -> int:
    """Longest common subsequence, by the table."""
    row = [0] * (len(b) + 1)
    for x in a:
        corner = 0
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], corner + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def _one_by_one(texts: list[str], threshold: float, tokens) -> list[Neighbour | None]:
    pool: list[list[str]] = []
    verdicts: list[Neighbour | None] = []
    for text in texts:
        mine = tokens(text)
        scores = [rouge_l(_common(mine, other), len(mine), len(other)) if mine and other else 0.0 for other in pool]
        best = max(scores, default=0.0)
        if best > threshold:
            verdicts.append(Neighbour(scores.index(best), best))
        else:
            verdicts.append(None)
            pool.append(mine)
    return verdicts


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, 12), st.sampled_from([0.5, 0.7, 0.9]), st.sampled_from([words, units]))
@example(["a b c", "", "…", "a b c"], 4, 0.7, units)
def test_decisions_are_those_of_brute_force(texts: list[str], batch: int, threshold: float, tokens) -> None:
    pool = SimilarityPool(threshold, tokens)
    found = [verdict for i in range(0, len(texts), batch) for verdict in pool.admit(texts[i : i + batch])]
    wanted = _one_by_one(texts, threshold, tokens)
    assert found == wanted
    assert len(pool) == wanted.count(None)


@pytest.mark.parametrize(
    ("text", "of_words", "of_units"),
    [
        ("It's 3.5 km, OK?", ["it", "s", "3", "5", "km", "ok"], ["it", "s", "3", "5", "km", "ok"]),
        ("用Python写", ["python"], ["用", "python", "写"]),
        ("ＰＹＴＨＯＮ３，好", [], ["python3", "好"]),
        ("café", ["caf"], ["caf", "é"]),
        ("это слово", [], ["это", "слово"]),
        ("さくら한국말", [], ["さ", "く", "ら", "한국말"]),
    ],
)
def test_what_a_text_is_cut_into(text: str, of_words: list[str], of_units: list[str]) -> None:
    assert words(text) == of_words
    assert units(text) == of_units


def test_what_is_put_in_by_hand_counts_and_chinese_is_not_deleted() -> None:
    pool = SimilarityPool()
    assert pool.add("用 Python 写一个排序函数") == 0
    assert pool.add("用 Python 写一个排序函数") == 1, "whatever it is like"
    near = pool.admit(["用 Python 写一个快速排序函数", "介绍 Python 的历史", "。！"])
    assert near == [Neighbour(0, 0.9), None, None]
    with pytest.raises(ValueError, match="threshold"):
        SimilarityPool(1.0)


@pytest.mark.parametrize(
    ("n", "m", "common", "similar"),
    [
        (10, 10, 7, False),
        (8, 12, 7, True),
        (9, 11, 7, True),
        (23, 37, 21, False),
        (24, 36, 21, True),
        (6, 14, 7, False),
    ],
)
def test_at_the_threshold_rouge_scores_own_rounding_decides(n: int, m: int, common: int, similar: bool) -> None:
    """All of these are 0.7 but for rounding; what rouge_score 0.1.2 gives is above it for some."""
    common = min(common, n)
    same = [f"s{i}" for i in range(common)]
    pool = SimilarityPool()
    pool.add(" ".join([*same, *(f"a{i}" for i in range(n - common))]))
    found = pool.admit([" ".join([*same, *(f"b{i}" for i in range(m - common))])])
    assert (found[0] is not None) == similar


def test_tens_of_thousands_of_different_words() -> None:
    pool = SimilarityPool()
    texts = [" ".join(f"w{i}" for i in range(start, start + 700)) for start in range(0, 63_000, 700)]
    assert pool.admit(texts) == [None] * 90
    assert pool.admit([texts[79]]) == [Neighbour(79, 1.0)]


def test_alpacas_rows_are_unlike_as_published(shared_data: Path) -> None:
    """Alpaca kept what was below 0.7 to all before; halves of its rows put together are not."""
    with (shared_data / "instruct/alpaca_data.json").open(encoding="utf-8") as file:
        instructions = [row["instruction"] for row in json.load(file)[:3000]]
    pool = SimilarityPool(tokens=words)
    assert pool.admit(instructions) == [None] * 3000
    changed = [text + " please" for text in instructions[:100] if len(words(text)) > 3]
    assert all(pool.admit(changed))
