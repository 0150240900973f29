"""The fused norm and gate equal transformers' own modules, forward and backward, frozen and trained."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_model

from camelid.model.fused import FusedGatedMlp, FusedRmsNorm, fuse

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 200, 301]])


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_model_equals_transformers(architecture: str, dtype: torch.dtype) -> None:
    plain, fused = (torch.nn.Module.to(tiny_model(architecture), dtype) for _ in range(2))
    before = set(fused.state_dict())
    expected = 3 * 3 + 1 + (6 if architecture == "qwen3" else 0)
    assert fuse(fused) == expected
    assert set(fused.state_dict()) == before
    assert any(isinstance(m, FusedRmsNorm) for m in fused.modules())
    assert any(isinstance(m, FusedGatedMlp) for m in fused.modules())
    outputs = []
    for model in (plain, fused):
        logits = model(input_ids=IDS).logits.float()
        logits.logsumexp(-1).square().sum().backward()
        outputs.append((logits.detach(), {name: p.grad for name, p in model.named_parameters()}))
    (logits, gradients), (fused_logits, fused_gradients) = outputs
    bound = 2e-5 if dtype == torch.float32 else 0.06
    assert (logits - fused_logits).abs().max() <= bound * logits.abs().max()
    for name, gradient in gradients.items():
        assert gradient is not None
        assert fused_gradients[name] is not None, name
        assert (gradient - fused_gradients[name]).norm() <= bound * gradient.norm() + 1e-6, name


def test_what_is_not_known_is_left_alone() -> None:
    assert fuse(tiny_model("gemma3")) == 0, "Gemma's norm adds one to its weight and its gate is GELU"
