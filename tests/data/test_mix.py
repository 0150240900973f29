"""The mixture: shares, caps and temperature as they are defined, the same rows and seed give the same draw."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.data.factory.mix import RowStore, allocate, draw_order, make_plan, probabilities, weighted
from camelid.errors import UserError

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=6)
WEIGHTS = st.floats(0.01, 100)


@given(SIZES, st.data())
def test_shares_follow_weight_and_temperature(sizes: list[int], data: st.DataObject) -> None:
    weights = [data.draw(WEIGHTS) for _ in sizes]
    temperature = data.draw(st.floats(0, 3))
    found = probabilities(sizes, weights, temperature)
    parts = [w * n**temperature for n, w in zip(sizes, weights, strict=True)]
    assert found == pytest.approx([part / sum(parts) for part in parts])


def test_limits_of_the_temperature() -> None:
    ones = [1.0, 1.0, 1.0]
    assert probabilities([10, 30, 60], ones, 1) == pytest.approx([0.1, 0.3, 0.6])
    assert probabilities([10, 30, 60], ones, 0) == pytest.approx([1 / 3] * 3)
    assert probabilities([10, 30, 60], [1, 1, 2], 0) == pytest.approx([0.25, 0.25, 0.5])
    assert probabilities([10, 30, 60], [3, 1, 1], 1) == pytest.approx([0.25, 0.25, 0.5])
    assert probabilities([100, 400], [1, 1], 0.5) == pytest.approx([1 / 3, 2 / 3])
    assert probabilities([1, 10**9], [1, 1], 100) == pytest.approx([0, 1]), "no overflow"


@given(SIZES, st.integers(0, 5000), st.data())
def test_allocation_is_by_shares_up_to_the_limits(sizes: list[int], total: int, data: st.DataObject) -> None:
    weights = [data.draw(WEIGHTS) for _ in sizes]
    shares = [weight / sum(weights) for weight in weights]
    cap = data.draw(st.one_of(st.none(), st.integers(1, 5)))
    most = [math.inf if cap is None else cap * size for size in sizes]
    total = int(min(total, sum(most)))
    parts = allocate(total, shares, most)
    assert sum(parts) == total
    assert all(0 <= part <= limit for part, limit in zip(parts, most, strict=True))
    open_ones = [i for i, part in enumerate(parts) if part < most[i]]
    if open_ones:  # those below their limit stand to one another as their shares do, to one row
        scale = max(parts[i] / shares[i] for i in open_ones)
        level = sum(parts[i] for i in open_ones) / sum(shares[i] for i in open_ones)
        assert all(abs(parts[i] - shares[i] * level) < len(sizes) for i in open_ones)
        assert all(most[i] <= shares[i] * scale + len(sizes) for i in range(len(sizes)) if i not in open_ones)
    if cap is None:
        assert all(abs(part - share * total) < 1 for part, share in zip(parts, shares, strict=True))


def test_what_is_capped_goes_to_the_others_in_proportion() -> None:
    assert allocate(100, [0.5, 0.3, 0.2], [math.inf] * 3) == [50, 30, 20]
    assert allocate(100, [0.5, 0.3, 0.2], [20, math.inf, math.inf]) == [20, 48, 32]
    assert allocate(100, [0.5, 0.3, 0.2], [20, 40, math.inf]) == [20, 40, 40], "one cap leads to the next"
    assert allocate(10, [1 / 3] * 3, [math.inf] * 3) == [4, 3, 3]


def test_how_many_rows() -> None:
    even = [0.5, 0.5]
    assert make_plan([10, 30], [0.25, 0.75], count=None, cap=None).drawn == [10, 30], "each once"
    assert make_plan([10, 30], even, count=None, cap=None).drawn == [20, 20]
    assert make_plan([10, 30], even, count=None, cap=1).drawn == [10, 10], "the most without a repeated row"
    assert make_plan([10, 30], even, count=None, cap=9).drawn == [20, 20], "never more than there are"
    assert make_plan([10, 30], even, count=30, cap=1).drawn == [10, 20]
    assert make_plan([10, 30], even, count=500, cap=2).drawn == [20, 60], "all there is"
    plan = make_plan([10, 30], even, count=100, cap=None, replay_size=7, replay_share=0.2)
    assert (plan.drawn, plan.replayed) == ([40, 40], 20)
    plan = make_plan([10, 30], even, count=500, cap=1, replay_size=50, replay_share=0.2)
    assert (plan.drawn, plan.replayed) == ([10, 30], 10), "the replay keeps its share"
    plan = make_plan([10, 30], even, count=None, cap=2, replay_size=3, replay_share=0.2)
    assert (plan.drawn, plan.replayed) == ([12, 12], 6)
    with pytest.raises(UserError, match=r"3 rows of replay.* 20% of 100 rows.*--cap 7"):
        make_plan([90, 30], even, count=100, cap=5, replay_size=3, replay_share=0.2)


@given(SIZES, st.one_of(st.none(), st.integers(1, 2000)), st.one_of(st.none(), st.integers(1, 4)), st.data())
def test_the_count_is_met_or_all_is_used(sizes: list[int], count: int | None, cap: int | None, data) -> None:
    shares = [1 / len(sizes)] * len(sizes)
    replay_size = data.draw(st.integers(2000, 3000))
    share = data.draw(st.sampled_from([0.0, 0.1, 0.5]))
    plan = make_plan(sizes, shares, count=count, cap=cap, replay_size=replay_size, replay_share=share)
    total = sum(plan.drawn) + plan.replayed
    assert abs(plan.replayed - share * total) <= 1
    if cap is not None:
        assert all(part <= cap * size for part, size in zip(plan.drawn, sizes, strict=True))
    if count is not None:
        assert total == count or (cap is not None and sum(plan.drawn) == cap * sum(sizes))


def _store(folder: Path, rows: list) -> RowStore:
    store = RowStore(folder)
    for row in rows:
        store.add(row)
    return store


def test_the_draw_is_even_and_depends_on_rows_and_seed_alone(tmp_path: Path) -> None:
    rows = [[{"text": f"{name}{i}"} for i in range(size)] for name, size in (("a", 7), ("b", 40), ("c", 3))]
    counts = [20, 15, 3]

    def drawn(order: list[int], seed: int) -> list[str]:
        stores = [_store(tmp_path, rows[i]) for i in order]
        found = [stores[i][number]["text"] for i, number in draw_order(stores, [counts[i] for i in order], seed)]
        for store in stores:
            store.__exit__(None, None, None)
        return found

    first = drawn([0, 1, 2], 1)
    assert first == drawn([0, 1, 2], 1) == drawn([2, 0, 1], 1), "in whatever order the sources are named"
    other = drawn([0, 1, 2], 2)
    assert first != other
    times = Counter(first)
    assert sorted(times[f"a{i}"] for i in range(7)) == [2] + [3] * 6, "20 draws of 7 rows"
    assert sorted(times[f"b{i}"] for i in range(40)) == [0] * 25 + [1] * 15
    assert [times[f"c{i}"] for i in range(3)] == [1, 1, 1]
    assert {text for text in first if text[0] == "b"} != {text for text in other if text[0] == "b"}
    assert [text[0] for text in first] != sorted(text[0] for text in first), "the sources are shuffled"
    assert not list(tmp_path.iterdir())


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [{"a": "你好\n\u2028", "b": [1, None, 2.5]}, {"a": "\ud800"}, [{"role": "user"}]]
    with _store(tmp_path, rows) as store:
        assert [store[i] for i in (2, 0, 1)] == [rows[2], rows[0], rows[1]]
        assert len(store) == 3


@pytest.mark.parametrize(
    ("text", "name", "path", "weight", "sample"),
    [
        ("a.jsonl", "a.jsonl", "a.jsonl", 1, None),
        ("a.jsonl=3", "a.jsonl", "a.jsonl", 3, None),
        ("a.jsonl#500=0.5", "a.jsonl#500", "a.jsonl", 0.5, 500),
        ("lr=1/a.jsonl=2", "lr=1/a.jsonl", "lr=1/a.jsonl", 2, None),
    ],
)
def test_sources_with_weights(text: str, name: str, path: str, weight: float, sample: int | None) -> None:
    one = weighted(text)
    assert (one.name, one.spec.path, one.weight, one.spec.sample) == (name, path, weight, sample)


def test_a_file_whose_name_looks_weighted(tmp_path: Path) -> None:
    file = tmp_path / "a=2"
    file.write_text("")
    assert weighted(str(file)).weight == 1
    assert weighted(f"{file}=3").spec.path == str(file)


@pytest.mark.parametrize("weight", ["0", "-1", "inf", "nan", "much", ""])
def test_a_weight_is_a_positive_number(weight: str) -> None:
    with pytest.raises(UserError, match="no positive number"):
        weighted(f"a.jsonl={weight}")
