"""RMS norm and SwiGLU with hand-written backward passes: fewer passes over memory, and less kept for backward.

transformers writes both as chains of element-wise operations, each of which reads and writes the whole activation and
keeps it. Here a norm keeps its input and one number a row, and a gate keeps its two inputs. The modules take the
place of transformers' own, by type and under the same parameter names, so saved models are unchanged. Oracle: the
modules replaced (tests/model/test_fused.py).
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn
from transformers.activations import SiLUActivation
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralMLP, MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP, Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP, Qwen3RMSNorm

_NORMS = (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm)
_GATES = (LlamaMLP, MistralMLP, Qwen2MLP, Qwen3MLP)


class _RmsNorm(torch.autograd.Function):
    """y = x / rms(x) * weight over the last dimension D (Zhang & Sennrich 2019); the mean square in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:  # type: ignore[override]
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = (norm.square_().div_(x.shape[-1]).add_(epsilon)).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return torch.mul(x, inverse.to(x.dtype)).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        grad, scale = grads[0], inverse.to(x.dtype)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * x * scale).reshape(-1, x.shape[-1]).sum(0)
        inner = grad * weight
        # d/dx of x * (mean(x^2) + eps)^(-1/2): the part along x is taken out
        along = (inner * x).sum(-1, keepdim=True, dtype=torch.float32).mul_(inverse**3).div_(x.shape[-1])
        return inner.mul_(scale).addcmul_(x, along.to(x.dtype), value=-1), grad_weight, None


class _SwiGlu(torch.autograd.Function):
    """silu(gate) * up (Shazeer 2020)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(gate, up)
        return nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        grad_up = nn.functional.silu(gate).mul_(grads[0])
        grad_gate = torch.ops.aten.silu_backward(grads[0] * up, gate)
        return grad_gate, grad_up


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


def fuse(model: nn.Module) -> int:
    """Replace the norms and gated MLPs that are known, in place; returns how many. Before adapters are put on."""
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in _NORMS:
                setattr(parent, name, FusedRmsNorm(child.weight, child.variance_epsilon))  # type: ignore[arg-type]
            elif type(child) in _GATES and isinstance(child.act_fn, nn.SiLU | SiLUActivation):
                setattr(parent, name, FusedGatedMlp(child.gate_proj, child.up_proj, child.down_proj))  # type: ignore[arg-type]
            else:
                continue
            count += 1
    return count
