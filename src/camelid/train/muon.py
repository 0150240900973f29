"""Muon (K. Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum, orthogonalised by Newton-Schulz.

torch.optim.Muon iterates in bfloat16 always. On a CPU without bf16 instructions that emulation took 3.8 s a step for a
model of 2.4 million parameters, against 0.2 s here in float32; and the rounding of bfloat16 differs between machines,
so that no loss curve could be repeated. Here the iteration runs in float32 on a CPU and in bfloat16 elsewhere, and
matrices of one shape go through it together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

# The quintic's coefficients maximise its slope at zero; singular values end near one, in [0.7, 1.2] (Jordan 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
EPSILON = 1e-7


class Muon(Optimizer):
    """For matrices only; embeddings, norms and biases belong to AdamW.

    The update has the root-mean-square size of AdamW's (0.2, J. Liu et al. 2025), so one learning rate serves both.
    State: `momentum_buffer`, of the parameter's shape.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            if any(p.ndim != 2 for p in group["params"]):
                raise ValueError("Muon takes matrices only")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step on every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[torch.Size, torch.device], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault((p.shape, p.device), []).append(p)
            for parameters in by_shape.values():
                self._step(parameters, group["lr"], group["momentum"], group["weight_decay"])

    def _step(self, parameters: list[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        directions = []
        for p in parameters:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(p)
            state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
            directions.append(p.grad.lerp(state["momentum_buffer"], momentum))  # Nesterov
        rows, columns = parameters[0].shape
        scale = lr * 0.2 * math.sqrt(max(rows, columns))
        for p, update in zip(parameters, orthogonalised(torch.stack(directions)), strict=True):
            p.mul_(1 - lr * weight_decay).add_(update, alpha=-scale)


def orthogonalised(matrices: Tensor) -> Tensor:
    """(M, R, C) -> U V^T of each matrix's singular value decomposition U S V^T, approximately, same shape and type."""
    a, b, c = COEFFICIENTS
    x = matrices if matrices.device.type == "cpu" else matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.transpose(1, 2) if tall else x).to(matrices.dtype)
