"""A tree is its paths: nothing lost, nothing invented, and the one-line mask is exactly 'ancestors and oneself'."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_trees import Paths, weighted_paths

from camelid.data.tree import below_a_run, build_tree, common_prefix


@given(weighted_paths(vocabulary=4))
def test_each_path_reads_back_from_its_leaf(made: Paths) -> None:
    paths, weights = made
    tree = build_tree(paths, weights)
    for path, leaf in zip(paths, tree.leaves, strict=True):
        assert tree.token[tree.path(int(leaf))].tolist() == path.tolist()


@given(weighted_paths(vocabulary=4))
def test_each_distinct_prefix_is_one_node(made: Paths) -> None:
    paths, weights = made
    prefixes = {tuple(path[: i + 1].tolist()) for path in paths for i in range(len(path))}
    assert len(build_tree(paths, weights)) == len(prefixes)


@given(weighted_paths(vocabulary=4))
def test_weights_of_an_edge_are_the_sum_over_its_paths(made: Paths) -> None:
    paths, weights = made
    tree = build_tree(paths, weights)
    wanted: dict[tuple[int, ...], float] = {}
    for path, weight in zip(paths, weights, strict=True):
        for i in range(len(path)):
            key = tuple(path[: i + 1].tolist())
            wanted[key] = wanted.get(key, 0.0) + float(weight[i])
    for node in range(len(tree)):
        key = tuple(tree.token[tree.path(node)].tolist())
        assert tree.weight[node] == pytest.approx(wanted[key])


@given(weighted_paths(vocabulary=4))
def test_mask_is_ancestors_and_oneself(made: Paths) -> None:
    tree = build_tree(*made)
    mask = tree.dense_mask()
    for node in range(len(tree)):
        assert np.flatnonzero(mask[node]).tolist() == tree.path(node).tolist()
        assert tree.depth[node] == len(tree.path(node)) - 1


@given(weighted_paths(vocabulary=4))
def test_window_keeps_the_newest_ancestors(made: Paths) -> None:
    tree = build_tree(*made)
    mask = tree.dense_mask(window=3)
    for node in range(len(tree)):
        assert np.flatnonzero(mask[node]).tolist() == tree.path(node)[-3:].tolist()


@given(weighted_paths(vocabulary=4))
def test_unshared_tree_keeps_every_path_alone(made: Paths) -> None:
    paths, weights = made
    tree = build_tree(paths, weights, share=False)
    assert len(tree) == sum(len(path) for path in paths)
    assert [stop - start for start, stop in tree.runs()] == [len(path) for path in paths]
    assert (tree.parent[[start for start, _ in tree.runs()]] == -1).all()


@given(weighted_paths(vocabulary=4), st.integers(0, 3))
def test_below_a_run_every_path_goes_on_from_its_end(made: Paths, count: int) -> None:
    paths, weights = made
    tree = below_a_run(build_tree(paths, weights), count)
    for path, leaf in zip(paths, tree.leaves, strict=True):
        assert tree.path(int(leaf))[:count].tolist() == list(range(count))
        assert tree.token[tree.path(int(leaf))].tolist() == [0] * count + path.tolist()
    mask = tree.dense_mask()
    for node in range(len(tree)):
        assert np.flatnonzero(mask[node]).tolist() == tree.path(node).tolist()
    assert tree.weight[:count].sum() == 0
    assert tree.weight.sum() == pytest.approx(sum(w.sum() for w in weights))


@pytest.mark.parametrize(
    ("ids", "weight"),
    [([], []), ([1, 2], [0.0]), ([1, 2], [1.0, 1.0])],
    ids=["empty", "short weights", "rooted weight"],
)
def test_what_is_no_path_is_refused(ids: list[int], weight: list[float]) -> None:
    with pytest.raises(ValueError, match="path 0"):
        build_tree([np.array(ids, np.int32)], [np.array(weight, np.float32)])


def test_common_prefix() -> None:
    a, b = np.array([1, 2, 3]), np.array([1, 2, 4, 5])
    assert (common_prefix(a, b), common_prefix(a, a), common_prefix(a, a[:0])) == (2, 3, 0)
