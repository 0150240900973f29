"""Keys and values of the answers in progress: rows in pools of growing capacities, compact from the first row on.

A row lives in the smallest pool that holds its tokens and moves up when it outgrows it, so less than half of any
buffer is unused, no token is copied more than twice on average, and the rows that attend together have similar
lengths.

Shape legend: R rows of a pool, K key/value heads, C capacity in tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

SMALLEST = 128  # tokens of the first pool's rows
APART = 16


@dataclass(frozen=True)
class LayerShape:
    """Key/value heads and the sizes of a key and of a value, of one layer."""

    heads: int
    key: int
    value: int


@dataclass(eq=False)
class Row:
    """Where an answer's keys and values are: row `index` of the pool of this capacity, filled up to `length`."""

    capacity: int = 0
    index: int = 0
    length: int = 0


@final
class Pool:
    """Rows of one capacity; the rows in use are the first ones.

    keys[l] (R, K, D, C + 16), values[l] (R, K, C, D): of layer l, each as its product reads it fastest
    """

    def __init__(self, capacity: int, shapes: Sequence[LayerShape], dtype: torch.dtype, device: torch.device) -> None:
        self.capacity = capacity
        # zeros and not empty: what is masked out is multiplied by zero, and zero times NaN is NaN
        # APART: lines of keys a power of two apart would fall on the same few places of a cache
        self.keys = [torch.zeros(1, s.heads, s.key, capacity + APART, dtype=dtype, device=device) for s in shapes]
        self.values = [torch.zeros(1, s.heads, capacity, s.value, dtype=dtype, device=device) for s in shapes]
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Give `row` the next free place."""
        row.capacity, row.index = self.capacity, len(self.rows)
        self.rows.append(row)
        if len(self.rows) > len(self.keys[0]):
            for buffers in (self.keys, self.values):
                for layer, old in enumerate(buffers):  # one by one: never more than one is there twice
                    buffers[layer] = old.new_zeros(2 * len(old), *old.shape[1:])
                    buffers[layer][: len(old)] = old

    def remove(self, row: Row) -> None:
        """Free the place of `row`; the last row moves there."""
        last = self.rows.pop()
        if last is not row:
            used = slice(last.length)
            copy(self.part(last, used), self.part(row, used))
            last.index = row.index
            self.rows[row.index] = last

    def part(self, row: Row, at: slice) -> list[Tensor]:
        """What every layer keeps of a row's tokens `at`, to read or to write: keys (K, D, L), then values (K, L, D)."""
        return [k[row.index, :, :, at] for k in self.keys] + [v[row.index, :, at] for v in self.values]


def copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    """Copy what `Pool.part` gives."""
    for mine, theirs in zip(source, target, strict=True):
        theirs.copy_(mine)


def capacity_of(tokens: int) -> int:
    """128, 256, 512, 768, 1024, 1536 ...: few kinds of rows while they are short, little left over in long ones."""
    capacity = SMALLEST
    while capacity < tokens:
        capacity *= 2
    return capacity // 4 * 3 if capacity > 512 and tokens <= capacity // 4 * 3 else capacity


@final
class Pools:
    """All rows of a model's answers."""

    def __init__(self, shapes: Sequence[LayerShape], dtype: torch.dtype, device: torch.device) -> None:
        self._shapes, self._dtype, self.device = shapes, dtype, device
        self._pools: dict[int, Pool] = {}

    def __getitem__(self, capacity: int) -> Pool:
        return self._pools[capacity]

    def in_use(self) -> list[Pool]:
        """Pools that have rows, the smallest first."""
        return [self._pools[capacity] for capacity in sorted(self._pools) if self._pools[capacity].rows]

    def open(self, tokens: int) -> Row:
        """A row with room for so many tokens."""
        row = Row()
        self._pool(tokens).add(row)
        return row

    def close(self, row: Row) -> None:
        """Forget a row. A pool without rows gives its memory back."""
        pool = self._pools[row.capacity]
        pool.remove(row)
        if not pool.rows:
            del self._pools[row.capacity]

    def make_room(self, row: Row, tokens: int) -> None:
        """Move a row up if it has no room for so many more tokens."""
        if row.length + tokens <= row.capacity:
            return
        old, moved = self._pools[row.capacity], Row(length=row.length)
        new = self._pool(row.length + tokens)
        new.add(moved)
        used = slice(row.length)
        copy(old.part(row, used), new.part(moved, used))
        self.close(row)
        row.capacity, row.index = moved.capacity, moved.index
        new.rows[row.index] = row

    def _pool(self, tokens: int) -> Pool:
        capacity = capacity_of(tokens)
        if capacity not in self._pools:
            self._pools[capacity] = Pool(capacity, self._shapes, self._dtype, self.device)
        return self._pools[capacity]
