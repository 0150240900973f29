"""Keys and values that are learned, layer by layer, and that every token sees: what attention does with them.

Prefix tuning (Li & Liang 2021) and P-tuning v2 (Liu et al. 2021) put them before the text: they stand in the first
positions, share one softmax with the text's own keys, and a sliding window leaves them behind as it would leave text.
With a zero gate (LLaMA-Adapter, Zhang et al. 2023) they have a softmax of their own, no position, and a factor that
starts at zero: such a model begins as its base, exactly.

Shape legend: P virtual tokens, B rows, H query heads, K key/value heads, G = H / K, N tokens, D and E sizes of a key
and of a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

PREFIXED_ATTENTION = "camelid_prefixed"


@dataclass(frozen=True, eq=False)
class VirtualLayer:
    """What one layer sees. keys (K, P, D) and values (K, P, E); gate: () the factor on what is seen, None for none."""

    keys: Tensor
    values: Tensor
    gate: Tensor | None = None

    def to(self, dtype: torch.dtype) -> VirtualLayer:
        """The same in another type."""
        gate = None if self.gate is None else self.gate.to(dtype)
        return VirtualLayer(self.keys.to(dtype), self.values.to(dtype), gate)


@dataclass(frozen=True, eq=False)
class Virtual:
    """Learned keys and values of every layer."""

    layers: Sequence[VirtualLayer]

    @property
    def positions(self) -> int:
        """Positions that they take before the text: none where they are gated."""
        first = self.layers[0]
        return first.keys.shape[1] if first.gate is None else 0

    def to(self, dtype: torch.dtype) -> Virtual:
        """The same in another type."""
        return Virtual([part.to(dtype) for part in self.layers])


def before(part: VirtualLayer, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The text's key (B, K, N, D) and value (B, K, N, E) with the ungated virtual ones before them."""
    learned = (part.keys.to(key.dtype), part.values.to(value.dtype))
    first = [x[None].expand(len(key), -1, -1, -1) for x in learned]
    return torch.cat((first[0], key), 2), torch.cat((first[1], value), 2)


def gated(part: VirtualLayer, query: Tensor, scaling: float) -> Tensor:
    """gate * softmax(q k) v over the virtual tokens alone: query (B, H, N, D) -> (B, N, H, E)."""
    assert part.gate is not None
    _, H, _, _ = query.shape
    keys, values = (x.to(query.dtype).repeat_interleave(H // len(part.keys), 0)[None] for x in (part.keys, part.values))
    shares = torch.softmax((query * scaling) @ keys.transpose(2, 3), -1)
    return (part.gate.to(query.dtype) * (shares @ values)).transpose(1, 2)


def prefixed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    virtual: Virtual | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Ordinary attention over rows that are padded on the right, virtual tokens before them.

    transformers' attention function: query (B, H, N, D), key and value (B, K, N, D) -> (B, N, H, D). Causal order keeps
    padding out of sight. Raises ValueError for what models declare that cannot be laid out in a tree either.
    """
    if dropout or softcap is not None or s_aux is not None:
        raise ValueError("attention dropout, soft-capped scores and attention sinks are not supported here")
    part = virtual.layers[module.layer_idx] if virtual is not None else None  # type: ignore[index]
    if part is not None and part.gate is None:
        key, value = before(part, key, value)
    at = torch.arange(key.shape[2], device=key.device)
    query_at = at[-query.shape[2] :, None]  # the newest: a cache may stand before them
    seen = at <= query_at
    if sliding_window is not None:
        seen &= query_at - at < sliding_window
    out = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=seen, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    ).transpose(1, 2)
    if part is not None and part.gate is not None:
        out = out + gated(part, query, scaling)
    return out.contiguous(), None


# As for trees: no mask function stands under this name, so transformers builds no mask.
AttentionInterface.register(PREFIXED_ATTENTION, prefixed_attention)
