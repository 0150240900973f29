"""Attention over a token tree, plugged into transformers through its AttentionInterface.

The mask is one line, ``k <= q < end[k]`` (data/tree.py). Written out densely it would cost the square of the row, so
nothing here does that:

* on a CPU, attention runs per block of queries over exactly the keys that the block can see, [ancestors, block]: the
  cost follows the lengths of the paths. Plain batched matrix products with the softmax in between beat the CPU's
  flash kernel at these sizes (2-5x in bfloat16; benchmarks/RESULTS.md);
* on a GPU, FlexAttention with the same line as its `mask_mod` and a block mask that skips what nobody sees.

Shape legend: N nodes of the row, H query heads, K key/value heads, G = H / K, D head size, L queries and S keys of a
block. A row is one batch entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from camelid.data.tree import TokenTree, below_a_run
from camelid.model.virtual import Virtual, before, gated

TREE_ATTENTION = "camelid_tree"
QUERIES_PER_BLOCK = 256  # keeps the scores of a block inside the second-level cache
# A block costs as much beside its scores (some twenty small operations, forward and backward) as so many scores:
# short branches are cheaper together, with what they must not see masked, than one by one.
SCORES_A_BLOCK = 8192
# oneDNN compiles a product for every shape in bfloat16 and keeps it, half a megabyte each: blocks come in few shapes,
# their queries and keys filled up to a multiple of these.
QUERIES_MULTIPLE = 32
KEYS_MULTIPLE = 64
# Probabilities are kept for backward while they are at most so many times the numbers of the queries: up to a mean path
# of 192 tokens where a head has 64. Computing them again takes a quarter of attention's time.
KEPT_SCORES = 3


@dataclass(frozen=True, slots=True)
class Block:
    """Queries [start, stop) of one run or several short ones, and the key intervals that they can see, oldest first.

    Keys are counted from the first virtual token, queries from the first node. The last interval ends with the last
    query's own key; query start + i sees none of the last (stop - start - 1 - i) keys.
    `skip` (queries, seen) bool marks all that it does not see where that is not all: keys beyond the sliding window or
    of another branch. None where there is nothing else to skip.

    The products are of `queries` and `seen` rows: those beyond the block's own are zeros, which no query of the block
    sees and whose own results nobody reads.
    """

    start: int
    stop: int
    keys: tuple[tuple[int, int], ...]
    skip: Tensor | None

    @property
    def length(self) -> int:
        """Queries of its own."""
        return self.stop - self.start

    @property
    def width(self) -> int:
        """Keys of its own."""
        return sum(b - a for a, b in self.keys)

    @property
    def queries(self) -> int:
        """Queries with those that fill the shape up."""
        return _filled(self.length, QUERIES_MULTIPLE)

    @property
    def seen(self) -> int:
        """Keys with those that fill the shape up."""
        return _filled(self.width, KEYS_MULTIPLE)


@dataclass(eq=False)
class TreeLayout:
    """What the model needs to know of a tree, on one device; built once a row and used by every layer.

    virtual: learned keys and values that every path begins with (model/virtual.py); None without
    """

    tree: TokenTree
    device: torch.device
    virtual: Virtual | None = None
    input_ids: Tensor = field(init=False)  # (1, N) int64
    position_ids: Tensor = field(init=False)  # (1, N) int64: the depths, counted from the first virtual token
    _seen: TokenTree = field(init=False)  # virtual tokens and nodes
    _blocks: dict[int | None, list[Block]] = field(init=False, default_factory=dict)
    _flex: dict[int | None, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._seen = below_a_run(self.tree, self._offset)
        self.input_ids = torch.from_numpy(self.tree.token.astype(np.int64))[None].to(self.device)
        depth = self._seen.depth[self._offset :]
        self.position_ids = torch.from_numpy(depth.astype(np.int64))[None].to(self.device)

    @property
    def _offset(self) -> int:
        return self.virtual.positions if self.virtual is not None else 0

    def blocks(self, window: int | None) -> list[Block]:
        """Query blocks for a layer with this sliding window (None = full attention)."""
        if window not in self._blocks:
            self._blocks[window] = list(_make_blocks(self._seen, self._offset, window))
        return self._blocks[window]

    def flex_mask(self, window: int | None) -> Any:
        """FlexAttention block mask of the same visibility rule."""
        if window not in self._flex:
            from torch.nn.attention.flex_attention import create_block_mask

            end = torch.from_numpy(self._seen.end.astype(np.int64)).to(self.device)
            depth = torch.from_numpy(self._seen.depth.astype(np.int64)).to(self.device)
            offset = self._offset

            def sees(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
                q = q + offset
                visible = (k <= q) & (q < end[k])
                return visible if window is None else visible & (depth[q] - depth[k] < window)

            sizes = len(self.tree), len(self._seen)
            self._flex[window] = create_block_mask(sees, None, None, *sizes, device=str(self.device))
        return self._flex[window]


def _make_blocks(tree: TokenTree, virtual: int, window: int | None):
    """tree: its first `virtual` nodes are keys only."""
    depth, starts = tree.depth, np.array([start for start, _ in tree.runs()])
    size = QUERIES_PER_BLOCK if window is None else min(QUERIES_PER_BLOCK, window)
    for group in _groups(tree, virtual, depth, size):
        ancestors = _ancestors(tree, starts, group[0][0])
        for start in range(group[0][0], group[-1][1], size):
            stop = min(start + size, group[-1][1])
            keys = _merge([*ancestors, (group[0][0], stop)])
            if window is not None and len(group) == 1:
                keys = _newest(keys, window - 1 + stop - start)
            skip = None
            if window is not None or len(group) > 1:
                key = np.concatenate([np.arange(a, b) for a, b in keys])
                query = np.arange(start, stop)
                unseen = query[:, None] >= tree.end[key][None, :]
                younger = key[None, :] > query[:, None]
                if window is not None:
                    unseen |= depth[query][:, None] - depth[key][None, :] >= window
                if (unseen & ~younger).any():
                    skip = _filled_up(unseen | younger)
            yield Block(start - virtual, stop - virtual, tuple(keys), skip)


def _filled(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _filled_up(skip: np.ndarray) -> Tensor:
    """(L, S) -> (queries, seen): what fills up the keys is skipped by the block's queries."""
    length, width = skip.shape
    filled = np.zeros((_filled(length, QUERIES_MULTIPLE), _filled(width, KEYS_MULTIPLE)), bool)
    filled[:length, :width] = skip
    filled[:length, width:] = True
    return torch.from_numpy(filled)


def _groups(tree: TokenTree, virtual: int, depth: np.ndarray, size: int) -> list[list[tuple[int, int]]]:
    """Runs in order; neighbours stand together where the scores that this wastes cost less than a block.

    A group of several runs has at most `size` nodes. Whatever its nodes see is in the group or an ancestor of its
    first node: in depth-first order a later branch leaves from the path of an earlier one.
    """
    groups: list[list[tuple[int, int]]] = []
    above = 0  # ancestors of the open group's first node
    for start, stop in tree.runs():
        start = max(start, virtual)
        if start >= stop:
            continue
        length = stop - start
        if groups:
            before = start - groups[-1][0][0]
            apart = before * (above + before) + length * (int(depth[start]) + length)
            together = (before + length) * (above + before + length)
            if before + length <= size and together <= apart + SCORES_A_BLOCK:
                groups[-1].append((start, stop))
                continue
        groups.append([(start, stop)])
        above = int(depth[start])
    return groups


def _ancestors(tree: TokenTree, starts: np.ndarray, node: int) -> list[tuple[int, int]]:
    """The intervals of nodes above `node`, oldest first. starts: (R,) first node of each run."""
    intervals: list[tuple[int, int]] = []
    node = int(tree.parent[node])
    while node >= 0:
        start = int(starts[np.searchsorted(starts, node, side="right") - 1])
        intervals.append((start, node + 1))
        node = int(tree.parent[start])
    return intervals[::-1]


def _merge(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join intervals that touch, so that the common case is one plain slice."""
    joined = [intervals[0]]
    for a, b in intervals[1:]:
        if a == joined[-1][1]:
            joined[-1] = (joined[-1][0], b)
        else:
            joined.append((a, b))
    return joined


def _newest(intervals: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """The last `count` keys of the intervals (fewer if there are fewer)."""
    kept: list[tuple[int, int]] = []
    for a, b in reversed(intervals):
        if count <= 0:
            break
        kept.append((max(a, b - count), b))
        count -= b - max(a, b - count)
    return kept[::-1]


class TreeAttention(torch.autograd.Function):
    """softmax(q k^T) v per block.

    Backward needs the probabilities: they are kept while they are few and computed again where the paths are long, so
    that memory stays linear in N. Under autocast everything here is in bfloat16, backward included.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)
    def forward(  # type: ignore[override]
        ctx: Any, q_KGND: Tensor, k_KND: Tensor, v_KND: Tensor, blocks: list[Block], scale: float
    ) -> Tensor:
        """Returns (N, K * G, D)."""
        K, G, N, D = q_KGND.shape
        q_KGND = q_KGND * scale  # once here instead of once a score
        out_NKGD = q_KGND.new_empty(N, K, G, D)
        keep = any(ctx.needs_input_grad) and _scores_of(blocks) * K * G <= KEPT_SCORES * q_KGND.numel()
        kept: list[Tensor] = []
        for block in blocks:
            probs = _probabilities(_queries(q_KGND, block), _gather(k_KND, block), block, G)
            out = torch.bmm(probs, _gather(v_KND, block))
            out_NKGD[block.start : block.stop] = out.view(K, G, -1, D)[:, :, : block.length].permute(2, 0, 1, 3)
            if keep:
                kept.append(probs)
        ctx.save_for_backward(q_KGND, k_KND, v_KND, *kept)
        ctx.blocks, ctx.scale = blocks, scale
        return out_NKGD.view(N, K * G, D)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q_KGND, k_KND, v_KND, *kept = ctx.saved_tensors
        K, G, N, D = q_KGND.shape
        grad_KGND = grads[0].reshape(N, K, G, D).permute(1, 2, 0, 3)
        grad_q = torch.empty_like(q_KGND, memory_format=torch.contiguous_format)
        grad_k, grad_v = (torch.zeros_like(x, dtype=torch.float32) for x in (k_KND, v_KND))  # laid out as they are
        for i, block in enumerate(ctx.blocks):
            q, k, v = _queries(q_KGND, block), _gather(k_KND, block), _gather(v_KND, block)
            grad = _queries(grad_KGND, block)
            probs = kept[i] if kept else _probabilities(q, k, block, G)
            _scatter(grad_v, torch.bmm(probs.transpose(1, 2), grad), block)
            grad_probs = torch.bmm(grad, v.transpose(1, 2))
            grad_scores = torch.ops.aten._softmax_backward_data(grad_probs, probs, -1, probs.dtype)
            part = torch.bmm(grad_scores, k).view(K, G, -1, D)
            grad_q[:, :, block.start : block.stop] = part[:, :, : block.length]
            _scatter(grad_k, torch.bmm(grad_scores.transpose(1, 2), q), block)
        return grad_q.mul_(ctx.scale), grad_k.to(k_KND.dtype), grad_v.to(v_KND.dtype), None, None


def _scores_of(blocks: list[Block]) -> int:
    """How many scores a head has."""
    return sum(block.queries * block.seen for block in blocks)


def _queries(q_KGND: Tensor, block: Block) -> Tensor:
    """(K, G * queries, D): the query heads of a group are stacked as rows, so keys and values are never repeated."""
    K, _, _, D = q_KGND.shape
    rows = q_KGND[:, :, block.start : block.stop]
    return nn.functional.pad(rows, (0, 0, 0, block.queries - block.length)).reshape(K, -1, D)


def _gather(x_KND: Tensor, block: Block) -> Tensor:
    """(K, seen, D): the keys (or values) that the block sees, laid out alike in every row of the data."""
    pieces = [x_KND[:, a:b] for a, b in block.keys]
    K, _, D = x_KND.shape
    return torch.cat([*pieces, x_KND.new_zeros(K, block.seen - block.width, D)], 1)


def _scatter(total_KND: Tensor, part_KSD: Tensor, block: Block) -> None:
    """Add a block's key (or value) gradient to where the keys came from."""
    offset = 0
    for a, b in block.keys:
        total_KND[:, a:b] += part_KSD[:, offset : offset + b - a]
        offset += b - a


def _probabilities(q: Tensor, k: Tensor, block: Block, groups: int) -> Tensor:
    """(K, G * queries, seen) softmax of q k^T over the keys that each query sees, in float32 inside one kernel."""
    scores = torch.bmm(q, k.transpose(1, 2))
    square = scores.view(scores.shape[0], groups, block.queries, block.seen)
    if block.skip is not None:
        square.masked_fill_(block.skip.to(q.device), -torch.inf)
    else:  # only the block's own keys, and those that fill up, can be younger than a query
        first = block.width - block.length
        square[..., first:].masked_fill_(_younger(block.queries, block.seen - first, q.device), -torch.inf)
    return torch.softmax(scores, -1)


_YOUNGER: dict[torch.device, Tensor] = {}


def _younger(queries: int, keys: int, device: torch.device) -> Tensor:
    """(queries, keys) bool, True where the key is younger than the query; cut from one cached square."""
    if device not in _YOUNGER:
        size = _filled(QUERIES_PER_BLOCK, QUERIES_MULTIPLE) + KEYS_MULTIPLE
        _YOUNGER[device] = torch.ones(size, size, dtype=torch.bool, device=device).triu_(1)
    return _YOUNGER[device][:queries, :keys]


def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    tree_layout: TreeLayout | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: query (1, H, N, D), key and value (1, K, N, D) -> (1, N, H, D).

    Raises ValueError for what a tree row does not support (attention dropout, score soft-capping, attention sinks):
    a model that needs them is laid out in padded rows instead (model/layout.py), never computed wrongly.
    """
    if tree_layout is None or query.shape[0] != 1:
        raise ValueError("tree attention needs a single row and its tree_layout")
    if dropout or softcap is not None or s_aux is not None:
        raise ValueError("attention dropout, soft-capped scores and attention sinks are not supported on a tree")
    layer: Any = module.layer_idx if tree_layout.virtual is not None else None
    return attend_tree(query, key, value, tree_layout, scaling, sliding_window, layer), None


def attend_tree(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: TreeLayout,
    scaling: float,
    window: int | None,
    layer: int | None = None,
) -> Tensor:
    """query (1, H, N, D), key and value (1, K, N, D) -> (1, N, H, D), in the way that the device does best.

    layer: number of the model's layer; virtual tokens differ from one to the next
    """
    if layout.virtual is None:
        return _attend(query, key, value, layout, scaling, window)
    assert layer is not None
    part = layout.virtual.layers[layer]
    if part.gate is None:
        return _attend(query, *before(part, key, value), layout, scaling, window)
    return _attend(query, key, value, layout, scaling, window) + gated(part, query, scaling)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, layout: TreeLayout, scaling: float, window: int | None
) -> Tensor:
    _, H, N, D = query.shape
    K = key.shape[1]
    if query.device.type == "cpu":
        out = _TREE_ATTENTION(
            query.view(K, H // K, N, D) if query.is_contiguous() else query[0].unflatten(0, (K, H // K)),
            key[0],
            value[0],
            layout.blocks(window),
            scaling,
        )
        return out[None]
    from torch.nn.attention.flex_attention import flex_attention

    out = _compiled(flex_attention)(
        query, key, value, block_mask=layout.flex_mask(window), scale=scaling, enable_gqa=H != K
    )
    return out.transpose(1, 2).contiguous()


_TREE_ATTENTION: Callable[..., Tensor] = TreeAttention.apply  # type: ignore[assignment]
_COMPILED: dict[Any, Any] = {}


def _compiled(function: Any) -> Any:
    """FlexAttention must be compiled to be fast (uncompiled it writes the dense scores out); compile it once."""
    if function not in _COMPILED:
        _COMPILED[function] = torch.compile(function, dynamic=True)
    return _COMPILED[function]


# No mask function is registered under this name, so transformers builds no mask at all (masking_utils: "custom
# attention without equivalent mask creation").
AttentionInterface.register(TREE_ATTENTION, tree_attention)
