"""The language-model head, run only where something is learnt, in chunks.

A training target is an edge parent -> child (data/tree.py): logits are needed at the parents of trained edges and
nowhere else, and no full (tokens, vocabulary) tensor ever exists.

The log-probability of an edge depends on one hidden row only. So its derivative with respect to that row, a vector
of the model's width, can be computed while the chunk's logits are at hand and kept instead of them; backward then
scales it by whatever the objective asks. That serves every objective, and the head's product is never recomputed.
A quantised head goes through the vocabulary instead of the rows (model/streamed_head.py).
(Computing gradients in the forward pass of a fused linear cross-entropy is Liger-Kernel's idea, for one fixed loss.)

Shape legend: M rows (parents), E edges, D width, V vocabulary, C rows of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from camelid.model.quantised import QuantisedWeight
from camelid.model.streamed_head import gather_edges, gather_kl

ROWS_PER_CHUNK = 128  # few enough that a chunk's logits stay near the cache, enough for a full-speed product


@dataclass(frozen=True)
class Head:
    """Weights of the output projection and what the model does to its product.

    logits = cap * tanh(scale * (hidden @ weight.T + bias) / cap), each part only where the model has it
    """

    weight: Tensor  # (V, D)
    bias: Tensor | None
    scale: float
    cap: float | None

    @property
    def trained(self) -> bool:
        return self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)

    def logits(self, hidden_CD: Tensor) -> Tensor:
        """(C, V) float32."""
        return self.finish(nn.functional.linear(hidden_CD, self.weight, self.bias).float())

    def finish(self, logits: Tensor) -> Tensor:
        """What follows the product hidden @ weight.T + bias; overwrites it."""
        if self.scale != 1:
            logits *= self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    def slope(self, logits_CV: Tensor) -> Tensor | None:
        """(C, V) derivative of the logits with respect to hidden @ weight.T, None where it is 1."""
        if self.cap is not None:
            return (1 - (logits_CV / self.cap) ** 2) * self.scale
        return None if self.scale == 1 else torch.full_like(logits_CV, self.scale)


def head_of(model: nn.Module) -> Head:
    """The head of a transformers causal LM, by what its configuration declares."""
    projection = model.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(projection, nn.Module):
        raise ValueError(f"{type(model).__name__} has no output embeddings")
    config = model.config.get_text_config().to_dict()  # type: ignore[union-attr]
    scale = 1.0
    if config.get("logit_scale"):  # Cohere
        scale = float(config["logit_scale"])
    if config.get("logits_scaling"):  # Granite
        scale = 1.0 / float(config["logits_scaling"])
    cap = config.get("final_logit_softcapping")
    parameters = dict(projection.named_parameters())
    return Head(parameters["weight"], parameters.get("bias"), scale, float(cap) if cap else None)


class _EdgeLogprobs(torch.autograd.Function):
    """logp (E,) of each edge and the mean log-probability over the vocabulary (E,), both float32."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden_MD: Tensor, weight: Tensor, head: Head, row_E: Tensor, label_E: Tensor, want_mean: bool
    ) -> tuple[Tensor, Tensor]:
        M, D = hidden_MD.shape
        if isinstance(weight, QuantisedWeight):
            keep = hidden_MD.requires_grad
            found = gather_edges(hidden_MD, head, row_E, label_E, want_mean=want_mean, keep=keep)
            ctx.save_for_backward(found.expected, row_E, label_E, found.slope, found.mean_slope)
            ctx.head, ctx.keep, ctx.want_mean = head, True, want_mean
            return found.logp, found.mean[row_E]
        logp = torch.empty(len(row_E), dtype=torch.float32, device=hidden_MD.device)
        mean = torch.zeros(M, dtype=torch.float32, device=hidden_MD.device)
        keep = hidden_MD.requires_grad and not head.trained
        expected = torch.empty(M if keep else 0, D, dtype=hidden_MD.dtype, device=hidden_MD.device)
        slope_E = torch.ones_like(logp)
        mean_slope = torch.empty_like(expected) if keep and want_mean and head.cap is not None else None
        for start, stop, edges in _chunks(M, row_E):
            logits = head.logits(hidden_MD[start:stop])
            rows, labels = row_E[edges] - start, label_E[edges]
            slope = head.slope(logits) if keep else None
            if slope is not None:
                slope_E[edges] = slope[rows, labels]
                if mean_slope is not None:
                    mean_slope[start:stop] = (slope / slope.shape[-1]).to(head.weight.dtype) @ head.weight
            # in place from here, and one exponential: no other (C, V) is written, as logsumexp would
            logits -= logits.amax(-1, keepdim=True)
            label_logits = logits[rows, labels]
            mean_logits = logits.mean(-1) if want_mean else None
            odds = logits.exp_()
            total = odds.sum(-1, keepdim=True)
            log_total = total.log()[:, 0]
            logp[edges] = label_logits - log_total[rows]
            if mean_logits is not None:
                mean[start:stop] = mean_logits - log_total
            if keep:
                if slope is not None:
                    odds *= slope
                expected[start:stop] = (odds.to(head.weight.dtype) @ head.weight).div_(total)
            del logits, odds  # before the next chunk's are made
        if keep:
            ctx.save_for_backward(expected, row_E, label_E, slope_E, mean_slope)
        else:
            ctx.save_for_backward(hidden_MD, row_E, label_E)
        ctx.head, ctx.keep, ctx.want_mean = head, keep, want_mean
        return logp, mean[row_E]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_logp, grad_mean = grads[0], grads[1] if ctx.want_mean else None
        if not ctx.keep:
            return _backward_by_recomputing(ctx, grad_logp, grad_mean)
        expected, row_E, label_E, slope_E, mean_slope = ctx.saved_tensors
        head: Head = ctx.head
        # d logp / d hidden = slope * weight[label] - expectation of slope * weight under the model
        total = torch.zeros(len(expected), dtype=torch.float32, device=expected.device).index_add_(0, row_E, grad_logp)
        if grad_mean is not None:
            total.index_add_(0, row_E, grad_mean)
        grad_hidden = -total[:, None] * expected
        labels = head.weight.index_select(0, label_E) * (grad_logp * slope_E)[:, None]
        grad_hidden = grad_hidden.index_add_(0, row_E, labels.to(grad_hidden.dtype))
        if grad_mean is not None:
            per_row = torch.zeros_like(total).index_add_(0, row_E, grad_mean)
            uniform = head.weight.float().mean(0)[None] * head.scale if mean_slope is None else mean_slope
            grad_hidden += per_row[:, None] * uniform
        return grad_hidden.to(expected.dtype), None, None, None, None, None


def _backward_by_recomputing(ctx: Any, grad_logp: Tensor, grad_mean: Tensor | None) -> tuple[Tensor | None, ...]:
    """The path for a trained head: its own gradient needs the objective's factors, so the logits are made again."""
    hidden_MD, row_E, label_E = ctx.saved_tensors
    head: Head = ctx.head
    grad_hidden = torch.empty_like(hidden_MD)
    grad_weight = torch.zeros_like(head.weight, dtype=torch.float32)
    for start, stop, edges in _chunks(len(hidden_MD), row_E):
        logits = head.logits(hidden_MD[start:stop])
        slope = head.slope(logits)
        rows = row_E[edges] - start
        per_row = torch.zeros(stop - start, dtype=torch.float32, device=logits.device)
        per_row.index_add_(0, rows, grad_logp[edges])
        if grad_mean is not None:
            mean_row = torch.zeros_like(per_row).index_add_(0, rows, grad_mean[edges])
            per_row += mean_row
        grad = torch.softmax(logits, -1).mul_(-per_row[:, None])
        grad.index_put_((rows, label_E[edges]), grad_logp[edges], accumulate=True)
        if grad_mean is not None:
            grad += mean_row[:, None] / logits.shape[-1]
        if slope is not None:
            grad *= slope
        grad = grad.to(head.weight.dtype)
        grad_hidden[start:stop] = grad @ head.weight
        grad_weight += grad.T @ hidden_MD[start:stop].to(grad.dtype)
    return grad_hidden, grad_weight.to(head.weight.dtype), None, None, None, None


def _chunks(rows: int, row_E: Tensor):
    """(start, stop, slice of edges) for consecutive rows; the edges must be sorted by row."""
    starts = torch.arange(0, rows, ROWS_PER_CHUNK, device=row_E.device)
    bounds = [*torch.searchsorted(row_E, starts).tolist(), len(row_E)]
    for i, start in enumerate(starts.tolist()):
        yield start, min(start + ROWS_PER_CHUNK, rows), slice(bounds[i], bounds[i + 1])


def edge_logprobs(
    hidden_MD: Tensor, head: Head, row_E: Tensor, label_E: Tensor, *, want_mean: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability of each edge's label, and the mean log-probability over the vocabulary (zeros if not wanted).

    hidden_MD: final hidden rows of the parents; row_E: (E,) int64 ascending, the parent's row of each edge;
    label_E: (E,) int64, the child's token. Returns two (E,) float32 tensors. A bias of the head is frozen.
    """
    return _EdgeLogprobs.apply(hidden_MD, head.weight, head, row_E, label_E, want_mean)  # type: ignore[return-value]


class _KlToBase(torch.autograd.Function):
    """KL(base || model) at each row, (M,) float32; the derivative is kept as in _EdgeLogprobs."""

    @staticmethod
    def forward(ctx: Any, hidden_MD: Tensor, base_MD: Tensor, head: Head) -> Tensor:  # type: ignore[override]
        if isinstance(head.weight, QuantisedWeight):
            kl, derivative = gather_kl(hidden_MD, base_MD, head)
            ctx.save_for_backward(derivative)
            return kl
        kl = torch.empty(len(hidden_MD), dtype=torch.float32, device=hidden_MD.device)
        derivative = torch.empty_like(hidden_MD)
        for start in range(0, len(hidden_MD), ROWS_PER_CHUNK):
            rows = slice(start, start + ROWS_PER_CHUNK)
            logits, base = head.logits(hidden_MD[rows]), head.logits(base_MD[rows])
            slope = head.slope(logits)
            # shifted by their largest, in place; the dot products are batched so that no other (C, V) is written
            base -= base.amax(-1, keepdim=True)
            base_p = base.exp()
            base_total = base_p.sum(-1, keepdim=True)
            base_p /= base_total
            logits -= logits.amax(-1, keepdim=True)
            cross = _row_dot(base_p, base) - _row_dot(base_p, logits)
            total = logits.exp_().sum(-1, keepdim=True)
            kl[rows] = cross + (total.log() - base_total.log())[:, 0]
            grad = logits.div_(total).sub_(base_p)
            if slope is not None:
                grad *= slope
            derivative[rows] = grad.to(head.weight.dtype) @ head.weight
        ctx.save_for_backward(derivative)
        return kl

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (derivative,) = ctx.saved_tensors
        return (grads[0][:, None] * derivative).to(derivative.dtype), None, None


def _row_dot(a: Tensor, b: Tensor) -> Tensor:
    """(C,) dot product of each row of two (C, V) tensors."""
    return torch.bmm(a[:, None], b[:, :, None])[:, 0, 0]


def kl_to_base(hidden_MD: Tensor, base_MD: Tensor, head: Head) -> Tensor:
    """KL(base || model) in nats at each row, (M,) float32, for a frozen head and hidden rows of both."""
    if head.trained:
        raise ValueError("KL to the base needs the base's own frozen head")
    return _KlToBase.apply(hidden_MD, base_MD, head)  # type: ignore[return-value]
