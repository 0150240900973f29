"""Frozen linear layers, with a LoRA adapter or without, several on one input: one pass forward, one backward.

Layers that read the same input (q, k, v; gate, up) share what depends on it: their low-rank factors A are one matrix,
so x A^T and the gradient of A are one product each, and the gradients of x are added up inside the products.
Nothing is kept for backward but x and x A^T; a quantised W is dequantised in both directions. Oracle:
PEFT's own layers (tests/model/test_adapters.py, test_fused.py).

Shape legend: N rows, I inputs, O outputs of a layer, r its rank, R the sum of the ranks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from camelid.model.quantised import times, times_transposed


@dataclass(frozen=True, slots=True)
class Projection:
    """y = x W^T + bias + scale (x A^T) B^T with W and bias frozen; a (r, I) and b (O, r) are None without adapter."""

    weight: Tensor
    bias: Tensor | None
    a: Tensor | None = None
    b: Tensor | None = None
    scale: float = 1.0

    @property
    def rank(self) -> int:
        return 0 if self.a is None else len(self.a)


class Projecting(ABC):
    """A module that is a projection, for now: it may hold several adapters and have them switched."""

    @abstractmethod
    def projection(self) -> Projection | None:
        """What the module computes, None where that is more than a projection."""


def projection_of(module: nn.Module) -> Projection | None:
    """What a module computes, if that is a frozen linear layer, perhaps with one plain adapter; None otherwise."""
    if module._forward_hooks or module._forward_pre_hooks:
        return None
    if type(module) is nn.Linear:
        return None if module.weight.requires_grad else Projection(module.weight, module.bias)
    return module.projection() if isinstance(module, Projecting) else None


class LowRank(NamedTuple):
    """The adapters of several layers on one input, in the type of the computation.

    a: (R, I), every A below the other; b: of each layer (O, r), times its scale; None without adapter
    """

    a: Tensor | None
    b: list[Tensor | None]


def low_rank(parts: Sequence[Projection], dtype: torch.dtype) -> LowRank:
    """The adapters of `parts`, joined."""
    a = [part.a for part in parts if part.a is not None]
    joined = None if not a else a[0].to(dtype) if len(a) == 1 else torch.cat(a).to(dtype)
    return LowRank(joined, [None if part.b is None else (part.b * part.scale).to(dtype) for part in parts])


def project(x_NI: Tensor, parts: Sequence[Projection], adapters: LowRank) -> tuple[list[Tensor], Tensor | None]:
    """([y (N, O) of each part], x A^T (N, R))."""
    low = None if adapters.a is None else x_NI @ adapters.a.T
    outputs, start = [], 0
    for part, b in zip(parts, adapters.b, strict=True):
        y = times_transposed(x_NI, part.weight, part.bias)
        if b is not None and low is not None:
            y.addmm_(low[:, start : start + part.rank], b.T)
        start += part.rank
        outputs.append(y)
    return outputs, low


def project_backward(
    x_NI: Tensor,
    low: Tensor | None,
    parts: Sequence[Projection],
    adapters: LowRank,
    grads: Sequence[Tensor],
    want_x: bool,
) -> tuple[Tensor | None, list[Tensor | None]]:
    """(gradient of x, [gradients of a and b of each part]) for the gradients of the outputs, (N, O) each."""
    grad_x: Tensor | None = None
    if want_x:
        for part, grad in zip(parts, grads, strict=True):
            grad_x = times(grad, part.weight, grad_x)
    if low is None or adapters.a is None:
        return grad_x, [None] * (2 * len(parts))
    lows = [grad @ b for grad, b in zip(grads, adapters.b, strict=True) if b is not None]
    grad_low = lows[0] if len(lows) == 1 else torch.cat(lows, 1)
    if grad_x is not None:
        grad_x.addmm_(grad_low, adapters.a)
    grad_a = grad_low.T @ x_NI
    factors: list[Tensor | None] = []
    start = 0
    for part, grad in zip(parts, grads, strict=True):
        stop = start + part.rank
        # (low^T grad)^T and not grad^T low: a third of the time, for the large matrix is read along its rows
        grad_b = (low[:, start:stop].T @ grad).T * part.scale if part.rank else None
        factors += [grad_a[start:stop] if part.rank else None, grad_b]
        start = stop
    return grad_x, factors


def factors_of(parts: Sequence[Projection]) -> list[Tensor | None]:
    """a and b of each part: what an autograd function must name as its inputs."""
    return [factor for part in parts for factor in (part.a, part.b)]


class _Linear(torch.autograd.Function):
    """One projection of rows, (N, I) -> (N, O), added to a residual (N, O) where there is one."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, residual: Tensor | None, part: Projection, *factors: Tensor | None
    ) -> Tensor:
        adapters = low_rank([part], x.dtype)
        (y,), low = project(x, [part], adapters)
        ctx.save_for_backward(x if low is not None else None, low)
        ctx.part, ctx.adapters = part, adapters
        return y if residual is None else y.add_(residual)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, low = ctx.saved_tensors
        grad_x, factors = project_backward(x, low, [ctx.part], ctx.adapters, grads, ctx.needs_input_grad[0])
        return grad_x, grads[0] if ctx.needs_input_grad[1] else None, None, *factors


def linear(x: Tensor, part: Projection, residual: Tensor | None = None) -> Tensor:
    """(..., I) -> (..., O), added to `residual` (N, O) where it is given."""
    rows: Any = _Linear.apply(x.reshape(-1, x.shape[-1]), residual, part, *factors_of([part]))
    return rows.view(*x.shape[:-1], -1)
