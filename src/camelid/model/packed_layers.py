"""A model made ready to generate: decoder layers that are known run in few passes, every linear layer is packed.

transformers' layers stay where they are not known. What takes their place computes the same (tests/model/
test_packed.py), for rows that an engine has packed: one batch entry, attention by generate/step.py.

Shape legend: N rows, D width, H query heads, K key/value heads, E head size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from camelid.model.fused import LayerKind, kind_of, rms_norm
from camelid.model.packed import PackedLinear, Routing, plain_projection
from camelid.model.quantised import QuantisedWeight
from camelid.model.virtual_tokens import attached


class Attending(Protocol):
    """What a pass does with a layer's queries, keys and values."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        """query (N, H, E), key and value (N, K, E) -> (N, H, E)."""
        ...


@final
class PackedDecoderLayer(nn.Module):
    """A decoder layer of Llama, Mistral, Qwen2 or Qwen3 as four products and what stands between them."""

    def __init__(self, layer: Any, kind: LayerKind, routing: Routing, adapter: str) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self._index, self._scaling, self._window = attention.layer_idx, attention.scaling, kind.window(attention)
        self._head_size = attention.head_dim
        self.attention_norm, self.mlp_norm = layer.input_layernorm, layer.post_attention_layernorm
        self.head_norms = nn.ModuleList((attention.q_norm, attention.k_norm) if kind.head_norms else ())

        def packed(*modules: nn.Module) -> PackedLinear:
            parts = [plain_projection(module) for module in modules]
            return PackedLinear([part for part in parts if part is not None], routing, adapter)

        self.qkv = packed(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = packed(attention.o_proj)
        self.gate_up = packed(mlp.gate_proj, mlp.up_proj)
        self.down = packed(mlp.down_proj)

    def forward(
        self, hidden_states: Tensor, *, position_embeddings: tuple[Tensor, Tensor], step: Attending, **kwargs: Any
    ) -> Tensor:
        """(1, N, D) -> (1, N, D); transformers' arguments of a decoder layer, and the pass."""
        x = hidden_states[0]
        qkv = self.qkv(_normed(x, self.attention_norm)).view(len(x), -1, self._head_size)
        num_keys = self.qkv.sizes[1] // self._head_size
        split = qkv.shape[1] - 2 * num_keys
        turned, value = qkv[:, :-num_keys], qkv[:, -num_keys:]
        if self.head_norms:
            query_norm, key_norm = self.head_norms
            turned = torch.cat((_normed(turned[:, :split], query_norm), _normed(turned[:, split:], key_norm)), 1)
        turned = _rotated(turned, *position_embeddings)
        seen = step.attend(self._index, turned[:, :split], turned[:, split:], value, self._scaling, self._window)
        x = self.out(seen.reshape(len(x), -1)).add_(x)
        gate, up = self.gate_up(_normed(x, self.mlp_norm)).chunk(2, -1)
        return self.down(nn.functional.silu(gate).mul_(up)).add_(x)[None]


def _normed(x: Tensor, norm: Any) -> Tensor:
    return rms_norm(x, norm.weight, norm.variance_epsilon)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021) in halves: x (N, heads, E), cos and sin (1, N, E) -> (N, heads, E)."""
    half = x.shape[-1] // 2
    cos, sin = cos[0, :, None, :half], sin[0, :, None, :half]
    first, second = x[..., :half], x[..., half:]
    out = torch.empty(x.shape, dtype=x.dtype)
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin)
    return out


@dataclass(frozen=True)
class PackedModel:
    """What stands packed in a model, and where: for each linear layer's name its joint layer and its number there."""

    model: nn.Module
    places: dict[str, tuple[PackedLinear, int]]


_LINEARS = (
    ("qkv", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
    ("out", ("self_attn.o_proj",)),
    ("gate_up", ("mlp.gate_proj", "mlp.up_proj")),
    ("down", ("mlp.down_proj",)),
)


def pack_for_good(model: nn.Module, routing: Routing, *, layout: str, adapter: str = "") -> PackedModel:
    """Pack a model's layers one by one: no more than one weight is there twice at any time, and none in the end.

    layout: 'tree' replaces whole decoder layers where they are known, for passes of generate/step.py; 'separate' leaves
    them as they are and packs only what is inside
    """
    places: dict[str, tuple[PackedLinear, int]] = {}
    for name in _targets(model, layout):
        _replace(model, name, routing, adapter, places)
    for parameter in model.parameters():
        # weights are read by mapping their file, and one that is still a part of it keeps the whole in memory
        parameter.data = parameter.data.clone()
    return PackedModel(model, places)


@contextmanager
def packed(model: nn.Module, routing: Routing, *, layout: str, adapter: str = "") -> Iterator[PackedModel]:
    """The model with packed layers, as its weights are now; afterwards it has its own layers again."""
    own = {name: model.get_submodule(name) for name in _targets(model, layout)}
    places: dict[str, tuple[PackedLinear, int]] = {}
    try:
        for name in own:
            _replace(model, name, routing, adapter, places)
        yield PackedModel(model, places)
    finally:
        for name, module in own.items():
            model.set_submodule(name, module)


def packed_bytes(model: nn.Module, layout: str) -> list[int]:
    """Bytes of each weight that `packed` lays out anew for a model, which may be one without memory."""
    sizes: list[int] = []
    for name in _targets(model, layout):
        module = model.get_submodule(name)
        part = plain_projection(module)
        if part is not None:
            sizes.append(laid_out_bytes([part.weight]))
            continue
        for _, names in _LINEARS:
            parts = [plain_projection(module.get_submodule(linear)) for linear in names]
            sizes.append(laid_out_bytes([known.weight for known in parts if known is not None]))
    return sizes


def laid_out_bytes(weights: list[Tensor]) -> int:
    """Bytes of a joint layer; quantised weights are used where they are."""
    return sum(weight.nbytes for weight in weights if not isinstance(weight, QuantisedWeight))


def _targets(model: nn.Module, layout: str) -> list[str]:
    """Names of the layers to replace: not the head, and nothing inside an adapter that is more than a projection."""
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    found: list[str] = []
    left: list[str] = []
    tokens = attached(model)
    encoders = set(tokens.modules()) if tokens is not None else set()
    for name, module in model.named_modules():
        if module in encoders:
            continue
        inside = any(name.startswith(f"{outer}.") for outer in (*found, *left))
        known = plain_projection(module) is not None or (layout == "tree" and _known(module) is not None)
        if known and not inside and module is not head:
            found.append(name)
        elif isinstance(module, BaseTunerLayer):
            left.append(name)
    return found


def _known(layer: nn.Module) -> LayerKind | None:
    """The kind of a decoder layer whose every part is one that PackedDecoderLayer knows."""
    kind = kind_of(layer)
    if kind is None:
        return None
    linears = [layer.get_submodule(name) for _, names in _LINEARS for name in names]
    return kind if all(plain_projection(linear) is not None for linear in linears) else None


def _replace(
    model: nn.Module, name: str, routing: Routing, adapter: str, places: dict[str, tuple[PackedLinear, int]]
) -> None:
    module = model.get_submodule(name)
    kind, part = _known(module), plain_projection(module)
    if part is not None:
        made: nn.Module = PackedLinear([part], routing, adapter)
        places[name] = made, 0
    else:
        assert kind is not None
        made = PackedDecoderLayer(module, kind, routing, adapter)
        for joint, names in _LINEARS:
            for i, linear in enumerate(names):
                places[f"{name}.{linear}"] = made.get_submodule(joint), i  # type: ignore[assignment]
    model.set_submodule(name, made)
