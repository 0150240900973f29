"""Log-probabilities and gradients of the chunked head equal log_softmax of the whole logits."""

from __future__ import annotations

import pytest
import torch

from camelid.model import head as head_module
from camelid.model.head import Head, edge_logprobs, kl_to_base


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "ROWS_PER_CHUNK", 4)


def _case(scale: float, cap: float | None, trained: bool, bias: bool):
    torch.manual_seed(0)
    hidden = torch.randn(11, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, 6, dtype=torch.float64, requires_grad=trained)
    head = Head(weight, torch.randn(9, dtype=torch.float64) if bias else None, scale, cap)
    row = torch.tensor([0, 0, 2, 3, 4, 4, 4, 7, 8, 10, 10])  # rows without an edge, rows with several
    label = torch.randint(0, 9, (11,))
    return hidden, head, row, label


def _reference(hidden: torch.Tensor, head: Head) -> torch.Tensor:
    logits = torch.nn.functional.linear(hidden, head.weight, head.bias) * head.scale
    if head.cap is not None:
        logits = torch.tanh(logits / head.cap) * head.cap
    return torch.log_softmax(logits, -1)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.5, None), (1.0, 3.0), (2.0, 3.0)])
@pytest.mark.parametrize("bias", [False, True])
def test_edges_equal_log_softmax(scale: float, cap: float | None, trained: bool, bias: bool) -> None:
    hidden, head, row, label = _case(scale, cap, trained, bias)
    logp, mean = edge_logprobs(hidden, head, row, label, want_mean=True)
    reference = _reference(hidden, head)
    torch.testing.assert_close(logp, reference[row, label].float())
    torch.testing.assert_close(mean, reference.mean(-1)[row].float())
    factors = torch.randn(2, 11)
    wanted = [hidden, head.weight] if trained else [hidden]
    ours = torch.autograd.grad((factors[0] * logp + factors[1] * mean).sum(), wanted)
    theirs = torch.autograd.grad(
        (factors[0] * reference[row, label] + factors[1] * reference.mean(-1)[row]).sum(), wanted
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (2.0, 3.0)])
def test_kl_to_base(scale: float, cap: float | None) -> None:
    hidden, head, _, _ = _case(scale, cap, False, False)
    base = torch.randn_like(hidden)
    kl = kl_to_base(hidden, base, head)
    ours, theirs = _reference(hidden, head), _reference(base, head)
    reference = (theirs.exp() * (theirs - ours)).sum(-1)
    torch.testing.assert_close(kl, reference.float())
    factor = torch.randn(11)
    (a,) = torch.autograd.grad((factor * kl).sum(), hidden)
    (b,) = torch.autograd.grad((factor * reference).sum(), hidden)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert float(kl_to_base(hidden.detach(), hidden.detach(), head).abs().max()) < 1e-6


def test_kl_needs_a_frozen_head() -> None:
    hidden, head, _, _ = _case(1.0, None, True, False)
    with pytest.raises(ValueError, match="frozen"):
        kl_to_base(hidden, hidden, head)


def test_no_edges_at_all() -> None:
    hidden = torch.zeros(0, 6, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    logp, _ = edge_logprobs(hidden, Head(torch.randn(9, 6), None, 1.0, None), none, none)
    logp.sum().backward()
    assert logp.shape == (0,)
