"""Token trees: the one shape in which every training example is stored.

A conversation, a preference pair, a GRPO group, a batch of Alpaca rows under one preamble: all are token paths with
common prefixes. A `TokenTree` stores each common prefix once. Shape legend: N nodes, P paths.

Nodes stand in depth-first order, so the subtree of node k is the interval [k, end[k]). Two facts follow, and all of
training rests on them:

* the position of a node is its depth;
* query q sees key k iff ``k <= q < end[k]`` (an ancestor or itself).

A training target is an edge parent -> child, named by its child node: logits are taken at the parent, the label is
the child's token. A root has no edge, hence weight 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class TokenTree:
    """A forest of token paths in depth-first order.

    token:  (N,) int32, token id of each node
    parent: (N,) int32, index of the parent, -1 for a root
    end:    (N,) int32, one past the last node of the subtree
    weight: (N,) float32, training weight of the edge parent -> node; 0 = context only
    leaves: (P,) int32, last node of each path, in the order in which the paths were given
    """

    token: np.ndarray
    parent: np.ndarray
    end: np.ndarray
    weight: np.ndarray
    leaves: np.ndarray

    def __len__(self) -> int:
        return len(self.token)

    @property
    def depth(self) -> np.ndarray:
        """(N,) int32: distance from the root, which is the position of the token in each of its paths."""
        depth = np.empty(len(self), np.int32)
        for start, stop in self.runs():
            parent = self.parent[start]
            first = 0 if parent < 0 else int(depth[parent]) + 1
            depth[start:stop] = np.arange(first, first + stop - start, dtype=np.int32)
        return depth

    def runs(self) -> list[tuple[int, int]]:
        """Maximal intervals [start, stop) in which each node is the child of the one before it.

        There are at most as many runs as paths: depth-first order jumps back only at a branch.
        """
        starts = np.flatnonzero(self.parent != np.arange(-1, len(self) - 1))
        if len(self) and (len(starts) == 0 or starts[0] != 0):
            starts = np.concatenate(([0], starts))  # the first root: parent -1 equals its index - 1
        bounds = [*starts.tolist(), len(self)]
        return list(itertools.pairwise(bounds))

    def path(self, leaf: int) -> np.ndarray:
        """Node indices from the root to `leaf`, (depth + 1,) int64."""
        pieces = []
        node = int(leaf)
        starts = np.array([start for start, _ in self.runs()])
        while node >= 0:
            start = int(starts[np.searchsorted(starts, node, side="right") - 1])
            pieces.append(np.arange(start, node + 1))
            node = int(self.parent[start])
        return np.concatenate(pieces[::-1])

    def trained_edges(self) -> np.ndarray:
        """Child nodes of the edges with a non-zero weight, ascending, (E,) int64."""
        return np.flatnonzero(self.weight)

    def dense_mask(self, window: int | None = None) -> np.ndarray:
        """(N, N) bool, [q, k]: the attention mask written out. The oracle of every faster form; costs N squared."""
        index = np.arange(len(self))
        mask = (index[None, :] <= index[:, None]) & (index[:, None] < self.end[None, :])
        if window is not None:
            depth = self.depth
            mask &= depth[:, None] - depth[None, :] < window
        return mask


def build_tree(paths: Sequence[np.ndarray], weights: Sequence[np.ndarray], *, share: bool = True) -> TokenTree:
    """Merge token paths into one tree.

    paths:   P arrays of token ids, each of length >= 1
    weights: P arrays of edge weights, each as long as its path; the first entry has no edge and must be 0
    share:   False keeps every path whole and alone (the unpacked oracle, and the layout for models that cannot
             attend over a tree)

    Weights of an edge that several paths train are added, so the loss of the tree is the sum over the paths.
    """
    order = sorted(range(len(paths)), key=lambda i: _sort_key(paths[i])) if share else range(len(paths))
    size = sum(len(p) for p in paths)
    token, parent = np.empty(size, np.int32), np.empty(size, np.int32)
    end, weight = np.empty(size, np.int32), np.zeros(size, np.float32)
    leaves = np.empty(len(paths), np.int32)
    nodes = np.empty(0, np.int64)  # node index by depth along the path last laid down
    previous: np.ndarray = np.empty(0, np.int32)
    n = 0
    for i in order:
        ids, edge_weight = paths[i], weights[i]
        if len(ids) == 0 or len(ids) != len(edge_weight) or edge_weight[0] != 0:
            raise ValueError(f"path {i}: needs at least one token, one weight a token, and weight 0 at its root")
        common = common_prefix(previous, ids) if share else 0
        end[nodes[common:]] = n  # those subtrees are complete
        fresh = len(ids) - common
        span = np.arange(n, n + fresh)
        token[n : n + fresh] = ids[common:]
        if fresh:
            parent[n] = nodes[common - 1] if common else -1
            parent[n + 1 : n + fresh] = span[:-1]
        nodes = np.concatenate((nodes[:common], span))
        weight[nodes] += edge_weight
        leaves[i] = nodes[-1]
        n += fresh
        previous = ids
    end[nodes] = n
    return TokenTree(token[:n].copy(), parent[:n].copy(), end[:n].copy(), weight[:n].copy(), leaves)


def below_a_run(tree: TokenTree, count: int) -> TokenTree:
    """The same paths, each continued from the end of one run of `count` new nodes (token 0), which come first."""
    if not count:
        return tree
    first = np.arange(-1, count - 1, dtype=np.int32)
    parent = np.where(tree.parent < 0, count - 1, tree.parent + count).astype(np.int32)
    size = np.int32(count + len(tree))
    return TokenTree(
        np.concatenate((np.zeros(count, np.int32), tree.token)),
        np.concatenate((first, parent)),
        np.concatenate((np.full(count, size, np.int32), tree.end + np.int32(count))),
        np.concatenate((np.zeros(count, np.float32), tree.weight)),
        tree.leaves + np.int32(count),
    )


def common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    """Number of leading tokens that two paths share."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n


def _sort_key(ids: np.ndarray) -> bytes:
    # big-endian bytes compare like the sequences of ids themselves, at C speed
    return ids.astype(">i4").tobytes()
