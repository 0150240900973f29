"""The fused norm, gate and layer equal transformers' own modules and PEFT's, forward and backward."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from tiny import tiny_model, with_random_adapter

from camelid.data.tree import TokenTree, build_tree
from camelid.model import fused
from camelid.model.adapters import FusedLoraLinear, Trainable, add_lora
from camelid.model.attend import TREE_ATTENTION
from camelid.model.fused import FusedDecoderLayer, FusedGatedMlp, FusedRmsNorm, fuse
from camelid.model.layout import edge_output
from camelid.recipe_sections import LoraSettings
from camelid.train.objectives import weighted_nll

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 200, 301]])


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_model_equals_transformers(architecture: str, dtype: torch.dtype) -> None:
    plain, ours = (torch.nn.Module.to(tiny_model(architecture), dtype) for _ in range(2))
    before = set(ours.state_dict())
    expected = 3 * 4 + 1 + (6 if architecture == "qwen3" else 0)
    assert fuse(ours) == expected
    assert set(ours.state_dict()) == before
    assert any(isinstance(m, FusedRmsNorm) for m in ours.modules())
    assert any(isinstance(m, FusedGatedMlp) for m in ours.modules())
    outputs = []
    for model in (plain, ours):
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


LORA = {
    "all": LoraSettings(r=4),
    "some": LoraSettings(r=3, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"]),
    "attention": LoraSettings(r=4, target_modules=["o_proj", "k_proj"]),
}


def _adapted(architecture: str, settings: LoraSettings, dtype: torch.dtype, *, fused: bool) -> Trainable:
    model = tiny_model(architecture)
    torch.nn.Module.to(model, dtype)
    if fused:
        fuse(model)
    trainable = add_lora(model, settings, seed=0)
    model.set_attn_implementation(TREE_ATTENTION)
    return with_random_adapter(trainable)


def _tree() -> TokenTree:
    paths = [np.arange(3, 15), np.r_[np.arange(3, 9), 70:80], np.arange(90, 99), np.r_[np.arange(3, 9), 60:62]]
    weights = [np.r_[np.zeros(2), np.ones(len(path) - 2)].astype(np.float32) for path in paths]
    return build_tree([path.astype(np.int32) for path in paths], weights)


def _loss_and_gradients(trainable: Trainable) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    loss = weighted_nll(edge_output(trainable.lm, _tree(), "tree"))
    parameters = trainable.named_parameters()
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    return loss.detach(), dict(zip(parameters, gradients, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lora", LORA)
@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_fused_layer_with_lora_equals_transformers_and_peft(
    architecture: str, lora: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same adapters, the same tree; sliding windows (mistral, qwen2), biases (qwen2), head norms (qwen3)."""
    trainable = _adapted(architecture, LORA[lora], dtype, fused=True)
    calls = []
    apply = fused._NormedMlp.apply
    monkeypatch.setattr(fused._NormedMlp, "apply", lambda *a: calls.append(1) or apply(*a))
    loss, gradients = _loss_and_gradients(trainable)
    assert len(calls) == 3, "each of the three layers takes the fused path"
    with torch.no_grad(), trainable.without_adapter():
        base = edge_output(trainable.lm, _tree(), "tree").logp
    assert len(calls) == 6, "and so does the base alone"
    monkeypatch.setattr(FusedLoraLinear, "projection", lambda self: None)  # PEFT's own forward
    plain = _adapted(architecture, LORA[lora], dtype, fused=False)
    wanted, wanted_gradients = _loss_and_gradients(plain)
    with torch.no_grad(), plain.without_adapter():
        wanted_base = edge_output(plain.lm, _tree(), "tree").logp
    assert len(calls) == 6
    close = 1e-5 if dtype == torch.float32 else 0.05
    assert abs(loss - wanted) <= close * abs(wanted)
    assert (base - wanted_base).norm() <= close * wanted_base.norm()
    # bfloat16 rounds on both sides, and each CPU in its own way: what counts is the distance to float32's gradients
    exact = wanted_gradients
    if dtype != torch.float32:
        exact = _loss_and_gradients(_adapted(architecture, LORA[lora], torch.float32, fused=False))[1]
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32
        theirs = (wanted_gradients[name] - exact[name]).norm()
        assert (gradient - exact[name]).norm() <= 1.5 * theirs + (1e-4 if dtype == torch.float32 else 0.03) * exact[
            name
        ].norm(), name


@pytest.mark.parametrize("case", ["dora", "dropout", "hook", "trained norm", "separate", "autocast"])
def test_what_the_fused_layer_does_not_know_takes_the_layers_own_path(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"dora": LoraSettings(use_dora=True), "dropout": LoraSettings(lora_dropout=0.1)}.get(
        case, LoraSettings()
    )
    trainable = _adapted("llama", settings, torch.float32, fused=True)
    lm, layout, seen = trainable.lm, "tree", []
    layer = next(module for module in lm.modules() if isinstance(module, FusedDecoderLayer))
    if case == "dropout":
        lm.train()
    elif case == "hook":
        for module in lm.modules():
            if isinstance(module, FusedLoraLinear):
                module.register_forward_hook(lambda *_: seen.append(1))
    elif case == "trained norm":
        for module in lm.modules():
            if isinstance(module, FusedRmsNorm):
                module.weight.requires_grad_(True)
    elif case == "separate":
        layout = "separate"
        lm.set_attn_implementation("sdpa")  # type: ignore[operator]
    monkeypatch.setattr(
        FusedDecoderLayer, "_forward_in_parts", lambda *_, **__: pytest.fail("the fused path knows nothing of this")
    )
    tree = build_tree([np.arange(6, dtype=np.int32)], [np.r_[0, np.ones(5)].astype(np.float32)], share=False)
    with torch.autocast("cpu", torch.bfloat16) if case == "autocast" else nullcontext():
        loss = weighted_nll(edge_output(lm, tree, layout))
    loss.backward()
    assert len(seen) == (21 if case == "hook" else 0), "hooks are called"
    if case == "trained norm":
        assert layer.input_layernorm.weight.grad is not None  # type: ignore[union-attr]


def test_what_is_not_known_is_left_alone() -> None:
    assert fuse(tiny_model("gemma3")) == 0, "Gemma's norm adds one to its weight and its gate is GELU"
