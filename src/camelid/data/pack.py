"""Packing: lay the examples of one optimiser step out in rows of at most `max_tokens`, sharing every common prefix.

Batches are counted in examples, as users expect; packing is only a layout inside a step. Sorting the step's paths
puts those with a common prefix next to each other, so each row computes a shared preamble once, and a row has no
padding. Which row an example lands in changes nothing but rounding, because losses are summed over the whole step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from camelid.data.tree import TokenTree, _sort_key, build_tree, common_prefix

EVALUATION_ROW_TOKENS = 2048  # of a row where no recipe says how long one is


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One token path to train on.

    ids:    (T,) int32
    weight: (T,) float32, weight of the edge that ends in each token; weight[0] is 0
    source: index of the data row it came from, to name it when something goes wrong
    cut:    tokens of the row that no example holds, because it was too long
    distil: learn the base's own distribution at these tokens (KL), not the tokens themselves
    labels: (T,) int32, the class that is learnt at each token, -1 for none; None: tokens are learnt, not classes
    """

    ids: np.ndarray
    weight: np.ndarray
    source: int
    cut: int = 0
    distil: bool = False
    labels: np.ndarray | None = None

    @property
    def learnt(self) -> float:
        """Summed weight of what is learnt (float64 to keep it exact)."""
        if self.labels is not None:
            return float(np.count_nonzero(self.labels >= 0))
        return float(np.sum(self.weight, dtype=np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One micro-batch: a tree, the examples in it, and what it would have cost unshared.

    tree:   of all examples; its weights are of the edges whose tokens are learnt
    useful: tokens of the separate paths without padding; computed = len(tree) <= useful
    distil: the edges at which the base's distribution is learnt, None if there are none
    classes: the classes that are learnt at nodes, None where tokens are learnt
    """

    tree: TokenTree
    sources: tuple[int, ...]
    useful: int
    distil: Distilled | None = None
    classes: Classes | None = None

    def learnt(self) -> np.ndarray:
        """(N,) bool: the nodes whose edge is learnt, as text or as the base's distribution; or that have a class."""
        learnt = self.tree.weight != 0
        if self.classes is not None:
            learnt[self.classes.nodes] = True
        if self.distil is not None:
            learnt[self.distil.nodes] |= self.distil.tree.weight != 0
        return learnt


@dataclass(frozen=True, slots=True, eq=False)
class Distilled:
    """The distilled examples of a row, alone: the base is run on these and on nothing else.

    tree:  of those examples, B nodes, weights of the distilled edges
    nodes: (B,) int64, each node's place in the row's tree
    """

    tree: TokenTree
    nodes: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """What is learnt at nodes: node (M,) int64 and class (M,) int32, by example and then by place.

    A node that several examples share is there once for each of them.
    """

    nodes: np.ndarray
    labels: np.ndarray


def pack_step(examples: Sequence[Example], max_tokens: int, *, share: bool = True) -> list[Row]:
    """Rows that hold each example exactly once: as few as `max_tokens` allows, and then of sizes as even as can be.

    The largest row decides the memory, so two rows of 700 tokens are better than one of 1,024 and one of 376.
    Raises ValueError for an example longer than `max_tokens`: the renderer's `max_length` must not exceed it.
    """
    if not examples:
        return []
    order = sorted(range(len(examples)), key=lambda i: _sort_key(examples[i].ids)) if share else range(len(examples))
    members = [examples[i] for i in order]
    lengths = [len(member.ids) for member in members]
    if max(lengths) > max_tokens:
        raise ValueError(f"an example of {max(lengths)} tokens does not fit into a row of {max_tokens}")
    shared = [common_prefix(a.ids, b.ids) if share else 0 for a, b in pairwise(members)]
    fresh = [length - known for length, known in zip(lengths, [0, *shared], strict=True)]
    starts = _row_starts(lengths, fresh, _even_limit(lengths, fresh, max_tokens))
    return [_row(members[start:end], share) for start, end in pairwise([*starts, len(members)])]


def _row_starts(lengths: Sequence[int], fresh: Sequence[int], limit: int) -> list[int]:
    """Where rows of at most `limit` tokens begin; a row is as long as it can be.

    lengths: tokens of each example; fresh: those that it does not share with the example before it
    """
    starts, size = [0], lengths[0]
    for i in range(1, len(lengths)):
        size += fresh[i]
        if size > limit:
            starts.append(i)
            size = lengths[i]
    return starts


def _even_limit(lengths: Sequence[int], fresh: Sequence[int], max_tokens: int) -> int:
    """The smallest limit that needs no more rows than `max_tokens` does."""
    rows = len(_row_starts(lengths, fresh, max_tokens))
    low, high = max(lengths), max_tokens
    while low < high:
        middle = (low + high) // 2
        if len(_row_starts(lengths, fresh, middle)) <= rows:
            high = middle
        else:
            low = middle + 1
    return low


def _row(members: Sequence[Example], share: bool) -> Row:
    learnt = [np.zeros_like(m.weight) if m.distil else m.weight for m in members]
    tree = build_tree([m.ids for m in members], learnt, share=share)
    return Row(
        tree,
        tuple(m.source for m in members),
        sum(len(m.ids) for m in members),
        _distilled(members, tree, share),
        _classes(members, tree),
    )


def _classes(members: Sequence[Example], row: TokenTree) -> Classes | None:
    nodes, labels = [], []
    for member, leaf in zip(members, row.leaves, strict=True):
        if member.labels is not None:
            places = np.flatnonzero(member.labels >= 0)
            nodes.append(row.path(leaf)[places])
            labels.append(member.labels[places])
    return Classes(np.concatenate(nodes), np.concatenate(labels)) if nodes else None


def _distilled(members: Sequence[Example], row: TokenTree, share: bool) -> Distilled | None:
    places = [i for i, m in enumerate(members) if m.distil]
    if not places:
        return None
    tree = build_tree([members[i].ids for i in places], [members[i].weight for i in places], share=share)
    nodes = np.empty(len(tree), np.int64)
    for own, i in enumerate(places):
        nodes[tree.path(tree.leaves[own])] = row.path(row.leaves[i])
    return Distilled(tree, nodes)


def learnt_tokens(rows: Sequence[Row]) -> int:
    """How many nodes of the rows are learnt."""
    return sum(int(np.count_nonzero(row.learnt())) for row in rows)


def total_weight(examples: Sequence[Example]) -> float:
    """Sum of the weights of what is learnt, the denominator of a step's loss."""
    return float(sum(example.learnt for example in examples))
