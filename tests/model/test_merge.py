"""Merging an adapter: the same logits, and the very weights back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gguf_writing import random_model
from peft import LoraConfig, get_peft_model
from torch import nn

from camelid.errors import UserError
from camelid.model.export_check import model_logits
from camelid.model.merge import merge, merged
from camelid.model.quantised import quantised, weights_of

IDS = list(range(3, 60))


def adapted(**settings: Any) -> Any:
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM", **settings)
    peft = get_peft_model(random_model("llama"), config)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return peft.eval()


def weights(peft: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in peft.state_dict().items()}


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"use_dora": True}], ids=str)
def test_merged_logits_are_the_adapters_and_every_weight_comes_back(settings: dict[str, Any]) -> None:
    peft = adapted(**settings)
    logits = model_logits(peft.get_base_model())
    with peft.disable_adapter():
        base = logits(IDS)
    before, kept = logits(IDS), weights(peft)
    with merged(peft):
        inside = logits(IDS)
        assert any(not torch.equal(value, kept[name]) for name, value in peft.state_dict().items())
    assert abs(inside - before).max() <= 1e-5 * abs(before).max()
    assert abs(before - base).max() > 0.1  # the adapter does change something
    assert all(torch.equal(value, kept[name]) for name, value in peft.state_dict().items())
    assert (logits(IDS) == before).all()
    assert abs(model_logits(merge(peft))(IDS) - inside).max() == 0


def test_subtracting_alone_would_not_bring_them_back() -> None:
    """Why `merged` keeps the weights: floating-point addition cannot be undone."""
    peft = adapted()
    kept = weights(peft)
    peft.merge_adapter()
    peft.unmerge_adapter()
    assert any(not torch.equal(value, kept[name]) for name, value in peft.state_dict().items())


def test_the_weights_come_back_when_the_block_fails() -> None:
    peft = adapted()
    kept = weights(peft)
    with pytest.raises(RuntimeError, match="inside"), merged(peft):
        raise RuntimeError("inside")
    assert all(torch.equal(value, kept[name]) for name, value in peft.state_dict().items())


def test_an_adapter_that_is_not_finite_is_refused_and_nothing_changed() -> None:
    peft = adapted()
    with torch.no_grad():
        next(p for n, p in reversed(list(peft.named_parameters())) if "lora_B" in n)[0, 0] = float("inf")
    kept = weights(peft)
    with pytest.raises(UserError, match="cannot be merged"), merged(peft):
        raise AssertionError("must not be reached")
    assert all(torch.equal(value, kept[name]) for name, value in peft.state_dict().items())
    with pytest.raises(UserError, match="cannot be merged"):
        merge(peft)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_base_is_merged_in_float_and_comes_back_as_it_was(bits: Any) -> None:
    peft = adapted()
    for module in peft.modules():
        if type(module) is nn.Linear and not module.weight.requires_grad:
            small = quantised(module.weight, bits, torch.float32)
            assert small is not None
            module.weight = nn.Parameter(small, requires_grad=False)
    stored = {name: [part.clone() for part in weight.parts] for name, weight in weights_of(peft).items()}
    assert len(stored) >= 14
    logits = model_logits(peft.get_base_model())
    before = logits(IDS)
    with merged(peft):
        inside = logits(IDS)
    np.testing.assert_allclose(inside, before, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(logits(IDS), before)
    after = weights_of(peft)
    assert set(after) == set(stored)
    assert all(torch.equal(a, b) for name in stored for a, b in zip(after[name].parts, stored[name], strict=True))
