"""Packing is only a layout: every example once, no row over its budget, the same edges with the same weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_trees import Paths, weighted_paths

from camelid.data.pack import Example, Row, pack_step, total_weight
from camelid.data.tree import build_tree


def _examples(made: Paths) -> list[Example]:
    return [Example(ids, weight, i) for i, (ids, weight) in enumerate(zip(*made, strict=True))]


def _weighted_prefixes(rows: list[Row]) -> Counter[tuple[int, ...]]:
    found: Counter[tuple[int, ...]] = Counter()
    for row in rows:
        for node in np.flatnonzero(row.tree.weight):
            found[tuple(row.tree.token[row.tree.path(int(node))].tolist())] += round(float(row.tree.weight[node]) * 2)
    return found


@given(weighted_paths(vocabulary=4, most=12), st.integers(14, 40), st.booleans())
def test_rows_hold_each_example_once_within_the_budget(made: Paths, budget: int, share: bool) -> None:
    examples = _examples(made)
    rows = pack_step(examples, budget, share=share)
    assert sorted(source for row in rows for source in row.sources) == list(range(len(examples)))
    assert all(len(row.tree) <= budget for row in rows)
    assert sum(row.useful for row in rows) == sum(len(e.ids) for e in examples)
    for row in rows:
        for leaf, source in zip(row.tree.leaves, row.sources, strict=True):
            assert row.tree.token[row.tree.path(int(leaf))].tolist() == examples[source].ids.tolist()


@given(weighted_paths(vocabulary=4, most=12), st.integers(14, 60), st.booleans())
def test_rows_are_as_few_as_the_budget_allows_and_then_as_even_as_can_be(made: Paths, budget: int, share: bool) -> None:
    examples = _examples(made)
    rows = pack_step(examples, budget, share=share)
    largest = max(len(row.tree) for row in rows)
    # one after the other in their order, each row filled until the next example does not fit
    filled, members = 1, []
    for example in sorted(examples, key=lambda e: e.ids.tolist()) if share else examples:
        alone = build_tree([m.ids for m in (*members, example)], [m.weight for m in (*members, example)], share=share)
        if members and len(alone) > budget:
            filled, members = filled + 1, []
        members.append(example)
    assert len(rows) == filled
    longest = max(len(e.ids) for e in examples)
    assert largest == longest or len(pack_step(examples, largest - 1, share=share)) > len(rows)


@given(weighted_paths(vocabulary=4, most=12), st.integers(14, 40), st.booleans(), st.randoms())
def test_distilled_examples_keep_their_edges_apart(made: Paths, budget: int, share: bool, chance: Random) -> None:
    examples = [replace(e, distil=chance.random() < 0.4) for e in _examples(made)]
    rows = pack_step(examples, budget, share=share)
    for distil in (False, True):
        wanted = pack_step([replace(e, distil=False) for e in examples if e.distil == distil], budget, share=share)
        found = rows if not distil else [Row(row.distil.tree, (), 0) for row in rows if row.distil is not None]
        assert _weighted_prefixes(found) == _weighted_prefixes(wanted)
    for row in rows:
        if row.distil is not None:
            tree, nodes = row.distil.tree, row.distil.nodes
            assert row.tree.token[nodes].tolist() == tree.token.tolist()
            assert row.tree.depth[nodes].tolist() == tree.depth.tolist()
            assert row.learnt()[nodes[tree.weight != 0]].all()
        assert set(np.flatnonzero(row.tree.weight)) <= set(np.flatnonzero(row.learnt()))


@given(weighted_paths(vocabulary=4, most=12))
def test_edges_and_weights_do_not_depend_on_the_layout(made: Paths) -> None:
    examples = _examples(made)
    whole = _weighted_prefixes(pack_step(examples, 1000))
    assert whole == _weighted_prefixes(pack_step(examples, 14))
    assert whole == _weighted_prefixes(pack_step(examples, 1000, share=False))
    assert sum(whole.values()) / 2 == pytest.approx(total_weight(examples))


def test_shared_preamble_is_counted_once() -> None:
    preamble = np.arange(10, 20, dtype=np.int32)
    rows = pack_step(
        [Example(np.r_[preamble, i].astype(np.int32), np.zeros(11, np.float32), i) for i in range(5)], max_tokens=15
    )
    assert len(rows) == 1
    assert (len(rows[0].tree), rows[0].useful) == (15, 55)


def test_too_long_example_is_refused() -> None:
    with pytest.raises(ValueError, match="20 tokens does not fit into a row of 10"):
        pack_step([Example(np.arange(20, dtype=np.int32), np.zeros(20, np.float32), 0)], 10)
