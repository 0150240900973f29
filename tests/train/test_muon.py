"""Muon's steps equal torch's own (which iterates in bfloat16) to its rounding, and the matrices become orthogonal."""

from __future__ import annotations

import pytest
import torch

from camelid.train.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(20, 50), (50, 20)])
def test_singular_values_end_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape)
    values = torch.linalg.svdvals(orthogonalised(matrices))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    cosine = (orthogonalised(matrices) * (left @ right)).sum((1, 2)) / min(shape)
    assert float(cosine.min()) > 0.7


def test_steps_equal_torchs_own_to_bfloat16() -> None:
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in ((48, 96), (48, 96), (64, 32))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    start = [p.detach().clone() for p in ours]
    muon = Muon(ours, 1e-2, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, 1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        muon.step()
        reference.step()
    for p, q, first in zip(ours, theirs, start, strict=True):
        assert (p - q).norm() < 0.05 * (p - first).norm()


def test_only_matrices() -> None:
    with pytest.raises(ValueError, match="matrices only"):
        Muon([torch.nn.Parameter(torch.zeros(5))], 1e-2)
