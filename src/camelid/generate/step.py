"""One forward pass of a generating model: which tokens are fed, whose keys and values they become, and who sees what.

All tokens of a pass stand in one packed row: the newest token of every answer, then pieces of new prompts. A prompt is
read in blocks of 64 tokens at fixed depths; a block that several prompts begin with is computed once and written to
each of their rows. Products are plain batched ones with shapes that follow from an answer's own length alone, so what
an answer sees, and every bit of it, does not depend on its company. (The CPU's flash kernel does not have that.)

Shape legend: N tokens of the pass, H query heads, K key/value heads, G = H / K, D head size, R rows of a pool, T keys.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface

from camelid.data.tree import TokenTree
from camelid.generate.cache import LayerShape, Pool, Pools, Row
from camelid.model.attend import TreeLayout, attend_tree
from camelid.model.virtual import Virtual, VirtualLayer

SLOT_ATTENTION = "camelid_slots"
BLOCK = 64  # tokens of a prompt's blocks
# Values added up in one product: longer sums (of more than 384 in MKL on AVX-512) are split by their length, and that
# follows from the pool's longest row.
_SUMMED = 256
_TAILS = (16, 32, 64)  # a last, shorter block takes the work of the next of these


@dataclass(frozen=True, eq=False)
class Node:
    """A piece of a prompt for every row of `rows`: its block `index`, at depths [depth, depth + len(ids)).

    offset: virtual tokens before the prompt
    """

    ids: np.ndarray
    index: int
    rows: list[Row]
    offset: int = 0

    @property
    def depth(self) -> int:
        """Position of the first token."""
        return self.offset + self.index * BLOCK


class AttentionStep(ABC):
    """What a pass does with each layer's queries, keys and values."""

    @abstractmethod
    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        """query (N, H, D), key and value (N, K, D) -> (N, H, D)."""


@final
class ShapeProbe(AttentionStep):
    """Finds the sizes of each layer's keys and values: what a configuration says in many ways."""

    def __init__(self) -> None:
        self.shapes: dict[int, LayerShape] = {}

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        """Attend to nothing."""
        self.shapes[layer] = LayerShape(key.shape[1], key.shape[2], value.shape[2])
        return query.new_zeros(*query.shape[:2], value.shape[2])


@final
class TreeStep(AttentionStep):
    """Attention over a token tree, as in training: to score paths and to embed prompts."""

    def __init__(self, tree: TokenTree, device: torch.device, virtual: Virtual | None = None) -> None:
        self.layout = TreeLayout(tree, device, virtual)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        """Each node sees its ancestors."""
        query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
        return attend_tree(query, key, value, self.layout, scaling, window, layer)[0]


@dataclass(frozen=True)
class _Writes:
    """Where in a pool the keys and values of tokens `source` go: token i to (row[i], position[i])."""

    pool: Pool
    source: Tensor | slice
    row: Tensor
    position: Tensor


@dataclass(frozen=True)
class _Decoding:
    """The newest tokens of a pool's answers: tokens [start, stop) of the pass, for rows `row` of the first `count`."""

    pool: Pool
    start: int
    stop: int
    row: Tensor | None  # None: the rows are 0, 1, 2 ... in order
    count: int
    keys: int
    length: Tensor  # (count,) keys that each row sees, its newest included


@dataclass(frozen=True)
class _Reading:
    """Blocks of one size at one depth: the tokens `source` (n, L), which see what stands before them in rows `row`."""

    pool: Pool
    row: Tensor
    source: Tensor
    valid: Tensor  # (M,) places in n * L of tokens of the pass: the others fill up the last block
    target: Tensor  # (M,) which tokens those are
    keys: int
    first: int  # depth of the first query


@final
class SlotStep(AttentionStep):
    """A pass over `tokens` (row -> its newest token) and `nodes`; rows must have room. Lengths are updated."""

    def __init__(self, pools: Pools, tokens: Sequence[tuple[Row, int]], nodes: Sequence[Node]) -> None:
        ids: list[np.ndarray] = []
        positions: list[np.ndarray] = []
        writes: dict[int, list[np.ndarray]] = {}  # by capacity: (3, M) token of the pass, row, position
        self._decoding: list[_Decoding] = []
        self.row_of: list[Row] = []  # of each decoded token, in the order of the pass
        count = 0
        for capacity in sorted({row.capacity for row, _ in tokens}):
            mine = sorted((t for t in tokens if t[0].capacity == capacity), key=lambda t: t[0].index)
            depth = np.array([row.length for row, _ in mine])
            to = np.stack((np.arange(count, count + len(mine)), [row.index for row, _ in mine], depth))
            writes.setdefault(capacity, []).append(to)
            ids.append(np.array([token for _, token in mine]))
            positions.append(depth)
            for row, _ in mine:
                row.length += 1
            self._decoding.append(_decoding(pools[capacity], [row for row, _ in mine], count))
            self.row_of += [row for row, _ in mine]
            count += len(mine)
        starts = []
        for node in nodes:
            depth, length = node.depth, len(node.ids)
            starts.append(count)
            for row in node.rows:
                span = np.arange(length)
                to = np.stack((count + span, np.full(length, row.index), depth + span))
                writes.setdefault(row.capacity, []).append(to)
                row.length = depth + length
            ids.append(node.ids)
            positions.append(np.arange(depth, depth + length))
            count += length
        self._reading = _readings(pools, nodes, starts)
        self._masks: dict[tuple[int, int | None], Tensor] = {}
        self.gated: list[tuple[Tensor | None, Virtual]] = []  # tokens (M,) of the pass (None: all) and what they see
        device = pools.device
        self._writes = [_writes(pools[capacity], parts, device) for capacity, parts in writes.items()]
        self.input_ids = torch.from_numpy(np.concatenate(ids).astype(np.int64))[None].to(device)
        self.position_ids = torch.from_numpy(np.concatenate(positions).astype(np.int64))[None].to(device)
        self.node_ends = [start + len(node.ids) - 1 for start, node in zip(starts, nodes, strict=True)]

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        """Write the keys and values to their rows, then attend, pool by pool."""
        out = self._attend(layer, query, key, value, scaling, window)
        for tokens, virtual in self.gated:
            mine = query if tokens is None else query.index_select(0, tokens)
            seen = _through_gate(virtual.layers[layer], mine * scaling)
            out = out + seen if tokens is None else out.index_add(0, tokens, seen)
        return out

    def _attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        N, H, D = query.shape
        K, E = key.shape[1], value.shape[2]
        for to in self._writes:
            at = to.row, to.position
            to.pool.keys[layer].permute(0, 3, 1, 2).index_put_(at, key[to.source])
            to.pool.values[layer].transpose(1, 2).index_put_(at, value[to.source])
        query = query.reshape(N, K, H // K, D)
        decoded = [
            self._newest(layer, part, query[part.start : part.stop] * scaling, self._mask(number, part, window))
            for number, part in enumerate(self._decoding)
        ]
        if not self._reading:
            return decoded[0] if len(decoded) == 1 else torch.cat(decoded)
        out = query.new_empty(N, H, E)
        for part, seen in zip(self._decoding, decoded, strict=True):
            out[part.start : part.stop] = seen
        for number, group in enumerate(self._reading, len(self._decoding)):
            n, L = group.source.shape
            mine = (query[group.source] * scaling).permute(0, 2, 3, 1, 4).reshape(n * K, -1, D)
            keys = group.pool.keys[layer][group.row, ..., : group.keys].flatten(0, 1)
            values = group.pool.values[layer][group.row, :, : group.keys].flatten(0, 1)
            if (number, window) not in self._masks:
                self._masks[number, window] = _mask_of_block(L, group, window).repeat(H // K, 1)
            seen = _attended(mine, keys, values, self._masks[number, window]).view(n, H, L, E).transpose(1, 2)
            out.index_copy_(0, group.target, seen.reshape(n * L, H, E).index_select(0, group.valid))
        return out

    def _newest(self, layer: int, part: _Decoding, query: Tensor, mask: Tensor) -> Tensor:
        """Attention of a pool's newest tokens: query (n, K, G, D) -> (n, H, E)."""
        _, K, G, D = query.shape
        if part.row is not None:
            query = query.new_zeros(part.count, K, G, D).index_copy_(0, part.row, query)
        keys = part.pool.keys[layer].flatten(0, 1)[: part.count * K, :, : part.keys]
        values = part.pool.values[layer].flatten(0, 1)[: part.count * K, : part.keys]
        seen = _attended(query.reshape(-1, G, D), keys, values, mask, (part.count, K)).view(part.count, K * G, -1)
        return seen if part.row is None else seen.index_select(0, part.row)

    def _mask(self, number: int, part: _Decoding, window: int | None) -> Tensor:
        """(count, 1, 1, T): what a row's newest token sees, as `_additive` says."""
        if (number, window) not in self._masks:
            at = torch.arange(part.keys, device=part.length.device)[None]
            unseen = at >= part.length[:, None]
            if window is not None:
                unseen |= at < part.length[:, None] - window
            self._masks[number, window] = _additive(unseen[:, None, None], part.pool.keys[0].dtype)
        return self._masks[number, window]


def _additive(unseen: Tensor, dtype: torch.dtype) -> Tensor:
    """0 for a key that is seen and -inf for one that is not: adding is several times as fast as filling."""
    return torch.zeros(unseen.shape, dtype=dtype, device=unseen.device).masked_fill_(unseen, -torch.inf)


def _attended(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, shape: tuple[int, ...] | None = None
) -> Tensor:
    """softmax(q k + mask) v: query (B, Q, D), keys (B, D, T), values (B, T, E); `mask` for scores with B as `shape`."""
    scores = torch.bmm(query, keys)
    (scores if shape is None else scores.view(*shape, *scores.shape[1:])).add_(mask)
    shares = torch.softmax(scores, -1)
    out = torch.bmm(shares[..., :_SUMMED], values[:, :_SUMMED])
    for start in range(_SUMMED, values.shape[1], _SUMMED):
        piece = slice(start, start + _SUMMED)
        out.baddbmm_(shares[..., piece], values[:, piece])
    return out


def _through_gate(part: VirtualLayer, query: Tensor) -> Tensor:
    """gate * softmax(q k) v over gated virtual tokens: query (n, H, D) -> (n, H, E), the same bits in any company."""
    assert part.gate is not None
    n, (K, P, D) = len(query), part.keys.shape
    keys = part.keys.transpose(1, 2).expand(n, K, D, P).reshape(n * K, D, P)
    values = part.values.expand(n, K, P, -1).reshape(n * K, P, -1)
    seen = _attended(query.reshape(n * K, -1, D), keys, values, query.new_zeros(P))
    return part.gate * seen.view(n, -1, seen.shape[-1])


def _mask_of_block(length: int, group: _Reading, window: int | None) -> Tensor:
    """(L, T): what the queries of a block see, as `_additive` says."""
    query = torch.arange(group.first, group.first + length, device=group.row.device)[:, None]
    at = torch.arange(group.keys, device=group.row.device)[None]
    unseen = at > query
    if window is not None:
        unseen |= query - at >= window
    return _additive(unseen, group.pool.keys[0].dtype)


def _decoding(pool: Pool, rows: list[Row], start: int) -> _Decoding:
    count = rows[-1].index + 1
    length = torch.zeros(count, dtype=torch.int64)
    length[[row.index for row in rows]] = torch.tensor([row.length for row in rows])
    keys = min(pool.capacity, -(-int(length.max()) // BLOCK) * BLOCK)
    chosen = None if len(rows) == count else torch.tensor([row.index for row in rows])
    device = pool.keys[0].device
    return _Decoding(
        pool, start, start + len(rows), None if chosen is None else chosen.to(device), count, keys, length.to(device)
    )


def _readings(pools: Pools, nodes: Sequence[Node], starts: Sequence[int]) -> list[_Reading]:
    groups: dict[tuple[int, int, int], list[tuple[Node, int]]] = {}
    for node, start in zip(nodes, starts, strict=True):
        padded = next(size for size in _TAILS if len(node.ids) <= size)
        groups.setdefault((node.rows[0].capacity, node.depth, padded), []).append((node, start))
    made = []
    for (capacity, depth, padded), members in groups.items():
        offset = np.arange(padded)
        lengths = np.array([len(node.ids) for node, _ in members])
        source = np.array([start for _, start in members])[:, None] + np.minimum(offset, lengths[:, None] - 1)
        valid = np.flatnonzero(offset < lengths[:, None])
        made.append(
            _Reading(
                pools[capacity],
                torch.tensor([node.rows[0].index for node, _ in members], device=pools.device),
                torch.from_numpy(source).to(pools.device),
                torch.from_numpy(valid).to(pools.device),
                torch.from_numpy(source.flatten()[valid]).to(pools.device),
                min(capacity, depth + padded),
                depth,
            )
        )
    return made


def _writes(pool: Pool, parts: list[np.ndarray], device: torch.device) -> _Writes:
    """From (3, M) tables of tokens of the pass, rows and positions."""
    whole = np.concatenate(parts, 1).astype(np.int64)
    table, source = torch.from_numpy(whole).to(device), whole[0]
    if source[-1] - source[0] == len(source) - 1 and (np.diff(source) == 1).all():
        return _Writes(pool, slice(int(source[0]), int(source[-1]) + 1), table[1], table[2])
    return _Writes(pool, table[0], table[1], table[2])


def slot_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    step: AttentionStep | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: query (1, H, N, D), key and value (1, K, N, D) -> (1, N, H, D).

    Raises ValueError for what these rows do not support; such models are answered row by row (generate/plain.py).
    """
    if step is None or query.shape[0] != 1:
        raise ValueError("slot attention needs a single row and its step")
    if softcap is not None or s_aux is not None:
        raise ValueError("soft-capped scores and attention sinks are not supported here")
    layer: Any = module.layer_idx
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    out = step.attend(layer, query, key, value, scaling, sliding_window)
    return out[None], None


# As for trees: no mask function stands under this name, so transformers builds no mask.
AttentionInterface.register(SLOT_ATTENTION, slot_attention)
