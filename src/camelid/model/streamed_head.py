"""The head with quantised weights: a piece of the vocabulary at a time, each dequantised once for all rows.

model/head.py goes through the rows and has the whole weight at hand; here the whole weight never exists in float. The
softmax is put together from its pieces, with its largest logit so far (Milakov & Gimelshein 2018, as FlashAttention).
Oracle: model/head.py on the dequantised weight (tests/model/test_streamed_head.py).

Shape legend: M rows, E edges, D width, V vocabulary, P tokens of a piece, C rows of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from camelid.model.quantised import QuantisedWeight

if TYPE_CHECKING:
    from camelid.model.head import Head

ROWS_PER_CHUNK = 128


class Gathered(NamedTuple):
    """What a pass over the vocabulary leaves of its logits; the last three only where gradients are wanted.

    logp (E,), mean (M,): float32; expected (M, D): the weights' expectation under the model, times the slope
    slope (E,): of each label's logit; mean_slope (M or 1, D): mean over the vocabulary of slope * weight
    """

    logp: Tensor
    mean: Tensor
    expected: Tensor
    slope: Tensor
    mean_slope: Tensor | None


@dataclass
class _Softmax:
    """Per row: the largest logit so far, and sums of exp(logit - largest), perhaps times the weights."""

    most: Tensor  # (M, 1)
    total: Tensor  # (M, 1)
    weights: Tensor  # (M, D) float32, or (0, D)

    @staticmethod
    def begin(hidden_MD: Tensor, keep: bool) -> _Softmax:
        M, D = hidden_MD.shape
        like = {"dtype": torch.float32, "device": hidden_MD.device}
        most = torch.full((M, 1), -torch.inf, **like)
        return _Softmax(most, torch.zeros(M, 1, **like), torch.zeros(M if keep else 0, D, **like))

    def add(self, rows: slice, logits_CP: Tensor, slope_CP: Tensor | None, weight_PD: Tensor | None) -> Tensor:
        """Take in a piece; returns exp(logit - largest so far) (C, P). weight_PD: None without gradients."""
        most = torch.maximum(self.most[rows], logits_CP.amax(-1, keepdim=True))
        shrink = (self.most[rows] - most).exp_()
        odds = (logits_CP - most).exp_()
        self.total[rows] = self.total[rows] * shrink + odds.sum(-1, keepdim=True)
        self.most[rows] = most
        if weight_PD is not None:
            scaled = odds if slope_CP is None else odds * slope_CP
            self.weights[rows] = self.weights[rows] * shrink + (scaled.to(weight_PD.dtype) @ weight_PD).float()
        return odds

    def log_total(self) -> Tensor:
        """(M,)"""
        return (self.most + self.total.log())[:, 0]

    def expected(self) -> Tensor:
        """(M, D)"""
        return self.weights / self.total


def gather_edges(
    hidden_MD: Tensor, head: Head, row_E: Tensor, label_E: Tensor, *, want_mean: bool, keep: bool
) -> Gathered:
    """Log-probabilities of edges and what their gradients need; arguments as of model/head.py."""
    M, D = hidden_MD.shape
    V = len(head.weight)
    softmax = _Softmax.begin(hidden_MD, keep)
    label_logit = torch.zeros(len(row_E), dtype=torch.float32, device=hidden_MD.device)
    slope_E = torch.ones_like(label_logit)
    sums = torch.zeros(M, dtype=torch.float32, device=hidden_MD.device)
    mean_slope = None
    if keep and want_mean:
        mean_slope = torch.zeros(M if head.cap is not None else 1, D, dtype=torch.float32, device=hidden_MD.device)
    for tokens, weight, bias in _pieces(head):
        inside = ((label_E >= tokens.start) & (label_E < tokens.stop)).nonzero()[:, 0]
        if mean_slope is not None and head.cap is None:
            mean_slope += weight.float().sum(0) * head.scale
        for rows in _chunks(M):
            logits = head.finish(nn.functional.linear(hidden_MD[rows], weight, bias).float())
            slope = head.slope(logits) if keep else None
            here = inside[(row_E[inside] >= rows.start) & (row_E[inside] < rows.stop)]
            at = row_E[here] - rows.start, label_E[here] - tokens.start
            label_logit[here] = logits[at]
            if slope is not None:
                slope_E[here] = slope[at]
                if mean_slope is not None and head.cap is not None:
                    mean_slope[rows] += (slope.to(weight.dtype) @ weight).float()
            if want_mean:
                sums[rows] += logits.sum(-1)
            softmax.add(rows, logits, slope, weight if keep else None)
    log_total = softmax.log_total()
    mean = sums / V - log_total if want_mean else sums
    expected = softmax.expected().to(hidden_MD.dtype) if keep else softmax.weights
    return Gathered(
        label_logit - log_total[row_E], mean, expected, slope_E, None if mean_slope is None else mean_slope / V
    )


def gather_kl(hidden_MD: Tensor, base_MD: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """(KL(base || model) (M,) float32, its derivative with respect to `hidden_MD`)."""
    model, base = _Softmax.begin(hidden_MD, keep=True), _Softmax.begin(base_MD, keep=True)
    cross = torch.zeros_like(model.most)
    for _, weight, bias in _pieces(head):
        for rows in _chunks(len(hidden_MD)):
            ours, theirs = (
                head.finish(nn.functional.linear(hidden[rows], weight, bias).float()) for hidden in (hidden_MD, base_MD)
            )
            slope = head.slope(ours)
            former = base.most[rows].clone()
            model.add(rows, ours, slope, weight)
            odds = base.add(rows, theirs, slope, weight)
            shrink = (former - base.most[rows]).exp_()
            cross[rows] = cross[rows] * shrink + (odds * theirs.sub_(ours)).sum(-1, keepdim=True)
    kl = (cross / base.total)[:, 0] - base.log_total() + model.log_total()
    return kl, (model.expected() - base.expected()).to(hidden_MD.dtype)


def _pieces(head: Head) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
    assert isinstance(head.weight, QuantisedWeight)
    for tokens, weight in head.weight.pieces():
        yield tokens, weight, None if head.bias is None else head.bias[tokens]


def _chunks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, ROWS_PER_CHUNK):
        yield slice(start, min(start + ROWS_PER_CHUNK, rows))
