"""Norms, gates and whole decoder layers with hand-written backward passes: fewer passes over memory, less kept.

transformers writes a layer as a chain of element-wise operations and products, each of which reads and writes the whole
activation and keeps it for backward. Here a norm keeps its input and one number a row, a gate its two inputs, and a
decoder layer with frozen weights (LoRA, or no training at all) neither its normed inputs nor its gated product:
backward makes them again, for a tenth of the price of a product. Modules take the place of transformers' own, by type
and under the same parameter names, so saved models are unchanged. Oracle: what they replace
(tests/model/test_fused.py).

Shape legend: N rows, D width, B batch, S positions, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers.activations import SiLUActivation
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaMLP, LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralDecoderLayer, MistralMLP, MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2MLP, Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer, Qwen3MLP, Qwen3RMSNorm

from camelid.model.attend import TREE_ATTENTION, tree_attention
from camelid.model.projection import Projection, factors_of, linear, low_rank, project, project_backward, projection_of

_NORMS = (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm)
_GATES = (LlamaMLP, MistralMLP, Qwen2MLP, Qwen3MLP)


def _norm(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """(x / rms(x) * weight, 1 / rms(x) in float32); the mean square in float32 (Zhang & Sennrich 2019)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    inverse = torch.addcmul(norm.new_full((), epsilon), norm, norm, value=1 / x.shape[-1]).rsqrt_()
    return _normed(x, weight, inverse), inverse


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x / rms(x) * weight over the last dimension, without gradients."""
    return _norm(x, weight, epsilon)[0]


def _normed(x: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
    return torch.mul(x, inverse.to(x.dtype)).mul_(weight)


def _norm_backward(grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
    """Gradient of x. d/dx of x * (mean(x^2) + eps)^(-1/2): the part along x is taken out."""
    inner = grad * weight
    along = (inner * x).sum(-1, keepdim=True, dtype=torch.float32).mul_(inverse**3).div_(x.shape[-1])
    return inner.mul_(inverse.to(x.dtype)).addcmul_(x, along.to(x.dtype), value=-1)


class _RmsNorm(torch.autograd.Function):
    """RMS norm over the last dimension D, its weight trained or not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:  # type: ignore[override]
        y, inverse = _norm(x, weight, epsilon)
        ctx.save_for_backward(x, weight, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grads[0] * x * inverse.to(x.dtype)).reshape(-1, x.shape[-1]).sum(0)
        return _norm_backward(grads[0], x, weight, inverse), grad_weight, None


def _gate_backward(grad: Tensor, gate: Tensor, silu: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up for that of silu(gate) * up; overwrites `silu`."""
    grad_gate = torch.ops.aten.silu_backward(grad * up, gate)
    return grad_gate, silu.mul_(grad)


class _SwiGlu(torch.autograd.Function):
    """silu(gate) * up (Shazeer 2020)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(gate, up)
        return nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        return _gate_backward(grads[0], gate, nn.functional.silu(gate), up)


@final
class FusedRmsNorm(nn.Module):
    """RMS norm with a weight, as Llama and its kin have it."""

    def __init__(self, weight: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = weight, epsilon

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return _RmsNorm.apply(hidden_states, self.weight, self.variance_epsilon)  # type: ignore[return-value]


@final
class FusedGatedMlp(nn.Module):
    """down(silu(gate(x)) * up(x)); holds the three projections of the module that it replaces."""

    def __init__(self, gate_proj: nn.Module, up_proj: nn.Module, down_proj: nn.Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate_proj, up_proj, down_proj

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.down_proj(_SwiGlu.apply(self.gate_proj(x), self.up_proj(x)))


class _NormedProjections(torch.autograd.Function):
    """Several frozen projections of one normed input: x (N, D) -> (N, O) each."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, norm: FusedRmsNorm, parts: list[Projection], *factors: Tensor | None
    ) -> tuple[Tensor, ...]:
        adapters = low_rank(parts, x.dtype)
        normed, inverse = _norm(x, norm.weight, norm.variance_epsilon)
        outputs, low = project(normed, parts, adapters)
        ctx.save_for_backward(x, inverse, low)
        ctx.norm, ctx.parts, ctx.adapters = norm, parts, adapters
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inverse, low = ctx.saved_tensors
        weight = ctx.norm.weight
        normed = _normed(x, weight, inverse)
        grad, factors = project_backward(normed, low, ctx.parts, ctx.adapters, grads, ctx.needs_input_grad[0])
        return None if grad is None else _norm_backward(grad, x, weight, inverse), None, None, *factors


class _NormedMlp(torch.autograd.Function):
    """x + down(silu(gate(norm(x))) * up(norm(x))), (N, D) -> (N, D), everything but the adapters frozen."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, norm: FusedRmsNorm, parts: list[Projection], *factors: Tensor | None
    ) -> Tensor:
        outer, inner = low_rank(parts[:2], x.dtype), low_rank(parts[2:], x.dtype)
        normed, inverse = _norm(x, norm.weight, norm.variance_epsilon)
        (gate, up), low = project(normed, parts[:2], outer)
        (y,), low_inner = project(nn.functional.silu(gate).mul_(up), parts[2:], inner)
        ctx.save_for_backward(x, inverse, gate, up, low, low_inner)
        ctx.norm, ctx.parts, ctx.outer, ctx.inner = norm, parts, outer, inner
        return y.add_(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inverse, gate, up, low, low_inner = ctx.saved_tensors
        weight, parts = ctx.norm.weight, ctx.parts
        silu = nn.functional.silu(gate)
        grad, inner_factors = project_backward(silu * up, low_inner, parts[2:], ctx.inner, grads, True)
        assert grad is not None
        grads_gate_up = _gate_backward(grad, gate, silu, up)
        normed = _normed(x, weight, inverse)
        grad, factors = project_backward(normed, low, parts[:2], ctx.outer, grads_gate_up, ctx.needs_input_grad[0])
        grad_x = None if grad is None else _norm_backward(grad, x, weight, inverse).add_(grads[0])
        return grad_x, None, None, *factors, *inner_factors


class _Rotary(torch.autograd.Function):
    """Rotary position embedding (Su et al. 2021) in halves: x (B, S, H, D), cos and sin (B, S, D) -> (B, H, S, D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(cos, sin)
        B, S, H, D = x.shape
        out = x.new_empty(B, H, S, D)
        (first, second), (to_first, to_second) = x.transpose(1, 2).chunk(2, -1), out.chunk(2, -1)
        (cos_first, cos_second), (sin_first, sin_second) = cos[:, None].chunk(2, -1), sin[:, None].chunk(2, -1)
        torch.mul(first, cos_first, out=to_first).addcmul_(second, sin_first, value=-1)
        torch.mul(second, cos_second, out=to_second).addcmul_(first, sin_second)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        B, H, S, D = grads[0].shape
        out = grads[0].new_empty(B, S, H, D)
        (first, second), (to_first, to_second) = grads[0].chunk(2, -1), out.transpose(1, 2).chunk(2, -1)
        (cos_first, cos_second), (sin_first, sin_second) = cos[:, None].chunk(2, -1), sin[:, None].chunk(2, -1)
        torch.mul(first, cos_first, out=to_first).addcmul_(second, sin_second)
        torch.mul(second, cos_second, out=to_second).addcmul_(first, sin_first, value=-1)
        return out, None, None


@dataclass(frozen=True, slots=True)
class LayerKind:
    """What tells one family's decoder layers from another's, and is no module."""

    head_norms: bool  # q and k are normed, head by head
    window: Callable[[Any], int | None]  # sliding window of an attention module


_LAYERS = {
    LlamaDecoderLayer: LayerKind(head_norms=False, window=lambda attention: None),
    MistralDecoderLayer: LayerKind(head_norms=False, window=lambda attention: attention.config.sliding_window),
    Qwen2DecoderLayer: LayerKind(head_norms=False, window=lambda attention: attention.sliding_window),
    Qwen3DecoderLayer: LayerKind(head_norms=True, window=lambda attention: attention.sliding_window),
}


@final
class FusedDecoderLayer(GradientCheckpointingLayer):
    """A decoder layer in place of Llama's, Mistral's, Qwen2's or Qwen3's, with the modules of the one it replaces.

    Over a token tree and with frozen weights it runs as three functions; in any other case its modules are called.
    """

    def __init__(self, layer: Any, kind: LayerKind) -> None:
        super().__init__()
        self.self_attn, self.mlp = layer.self_attn, layer.mlp
        self.input_layernorm, self.post_attention_layernorm = layer.input_layernorm, layer.post_attention_layernorm
        self._kind = kind

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        """(B, S, D) -> (B, S, D); transformers' arguments of a decoder layer."""
        parts = self._parts() if kwargs.get("past_key_values") is None else None
        if parts is not None:
            return self._forward_in_parts(parts, hidden_states, **kwargs)
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))

    def _parts(self) -> list[Projection] | None:
        """q, k, v, o, gate, up, down, if all is known and frozen; None where only the modules' own forward is right."""
        attention, mlp = self.self_attn, self.mlp
        norms = (self.input_layernorm, self.post_attention_layernorm)
        if attention.config._attn_implementation != TREE_ATTENTION or not isinstance(mlp, FusedGatedMlp):
            return None
        if any(not isinstance(norm, FusedRmsNorm) or norm.weight.requires_grad for norm in norms):
            return None
        if torch.is_autocast_enabled(norms[0].weight.device.type):
            return None
        modules = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
        parts = [projection_of(module) for module in (*modules, mlp.gate_proj, mlp.up_proj, mlp.down_proj)]
        known = [part for part in parts if part is not None]
        return known if len(known) == len(parts) else None

    def _forward_in_parts(
        self,
        parts: list[Projection],
        hidden_states: Tensor,
        *,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        attention, (qkv, out, mlp) = self.self_attn, (parts[:3], parts[3], parts[4:])
        rows = hidden_states.reshape(-1, hidden_states.shape[-1])
        projected: Any = _NormedProjections.apply(rows, self.input_layernorm, qkv, *factors_of(qkv))
        q, k, v = (y.view(*hidden_states.shape[:2], -1, attention.head_dim) for y in projected)
        if self._kind.head_norms:
            q, k = attention.q_norm(q), attention.k_norm(k)
        q, k = (_Rotary.apply(x, *position_embeddings) for x in (q, k))
        attended, _ = tree_attention(
            attention,
            q,  # type: ignore[arg-type]
            k,  # type: ignore[arg-type]
            v.transpose(1, 2),
            attention_mask,
            dropout=attention.attention_dropout if self.training else 0.0,
            scaling=attention.scaling,
            sliding_window=self._kind.window(attention),
            **kwargs,
        )
        rows = linear(attended.reshape(len(rows), -1), out, rows)
        rows = _NormedMlp.apply(rows, self.post_attention_layernorm, mlp, *factors_of(mlp))
        return rows.view(hidden_states.shape)  # type: ignore[union-attr]


def kind_of(layer: nn.Module) -> LayerKind | None:
    """The kind of a known decoder layer, fused or transformers' own, whose MLP is a SwiGLU; None for any other."""
    kind = layer._kind if isinstance(layer, FusedDecoderLayer) else _LAYERS.get(type(layer))  # type: ignore[call-overload]
    if kind is None:
        return None
    mlp: Any = layer.mlp
    plain = isinstance(mlp, FusedGatedMlp) or (type(mlp) in _GATES and isinstance(mlp.act_fn, nn.SiLU | SiLUActivation))
    return kind if plain else None


def fuse(model: nn.Module) -> int:
    """Replace what is known of layers, norms and gated MLPs, in place, before adapters are put on; returns how many."""
    count = 0
    for parent in reversed(list(model.modules())):  # what a layer holds comes before the layer
        for name, child in list(parent.named_children()):
            if type(child) in _NORMS:
                new: nn.Module = FusedRmsNorm(child.weight, child.variance_epsilon)  # type: ignore[arg-type]
            elif type(child) in _GATES and isinstance(child.act_fn, nn.SiLU | SiLUActivation):
                new = FusedGatedMlp(child.gate_proj, child.up_proj, child.down_proj)  # type: ignore[arg-type]
            elif type(child) in _LAYERS:
                new = FusedDecoderLayer(child, _LAYERS[type(child)])  # type: ignore[index]
            else:
                continue
            setattr(parent, name, new)
            count += 1
    return count
