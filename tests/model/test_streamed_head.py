"""The head that goes through the vocabulary in pieces equals the one that has its whole weight, dequantised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from camelid.model import quantised as quantised_module
from camelid.model import streamed_head
from camelid.model.head import Head, edge_logprobs, kl_to_base
from camelid.model.quantised import quantised


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_head, "ROWS_PER_CHUNK", 4)
    monkeypatch.setattr(quantised_module, "_PIECE", 32 * 5)


def _heads(bits: Any, scale: float, cap: float | None, bias: bool) -> tuple[Head, Head]:
    torch.manual_seed(0)
    weight = quantised(torch.randn(23, 32), bits, torch.float32)
    assert weight is not None
    head = Head(weight, torch.randn(23) if bias else None, scale, cap)
    return head, replace(head, weight=weight.dense())


CASES = [(1.0, None, False), (0.5, None, True), (1.0, 3.0, False), (2.0, 3.0, True)]
ROW = torch.tensor([0, 0, 2, 3, 4, 4, 4, 7, 8, 10, 10])  # rows without an edge, rows with several
LABEL = torch.tensor([0, 22, 4, 5, 9, 10, 21, 3, 3, 14, 15])  # at the borders of pieces, too


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("want_mean", [False, True])
@pytest.mark.parametrize(("scale", "cap", "bias"), CASES)
def test_edges(bits: Any, want_mean: bool, scale: float, cap: float | None, bias: bool) -> None:
    hidden = torch.randn(11, 32, requires_grad=True)
    factors = torch.randn(2, 11)
    found: list[list[Tensor]] = []
    for head in _heads(bits, scale, cap, bias):
        logp, mean = edge_logprobs(hidden, head, ROW, LABEL, want_mean=want_mean)
        total = (factors[0] * logp).sum() + (factors[1] * mean).sum() * want_mean
        with torch.no_grad():
            without_gradients, _ = edge_logprobs(hidden.detach(), head, ROW, LABEL)
        torch.testing.assert_close(without_gradients, logp.detach(), rtol=1e-5, atol=1e-5)
        found.append([logp, mean, *torch.autograd.grad(total, hidden)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("scale", "cap", "bias"), CASES)
def test_kl_to_the_base(scale: float, cap: float | None, bias: bool) -> None:
    hidden, base, factor = torch.randn(11, 32, requires_grad=True), torch.randn(11, 32), torch.randn(11)
    found: list[list[Tensor]] = []
    for head in _heads(8, scale, cap, bias):
        kl = kl_to_base(hidden, base, head)
        found.append([kl, *torch.autograd.grad((factor * kl).sum(), hidden)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_logits_far_apart_do_not_overflow() -> None:
    head, dense = _heads(8, 1.0, None, False)
    hidden = torch.randn(11, 32) * 300
    ours, _ = edge_logprobs(hidden, head, ROW, LABEL)
    theirs, _ = edge_logprobs(hidden, dense, ROW, LABEL)
    assert float(theirs.min()) < -500
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-2)
