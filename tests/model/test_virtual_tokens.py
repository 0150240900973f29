"""Virtual tokens of every kind: tree = separate = PEFT's own forward, both ways through PEFT's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from peft import (
    AdaptionPromptConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from tiny import ARCHITECTURES, tiny_base, tiny_model
from token_trees import Paths, loss_and_gradient, weighted_paths
from virtual_subjects import COUNT, KINDS, virtual_model

from camelid.data.tree import build_tree
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.adapter_parts import adapter_parts
from camelid.model.fused import fuse
from camelid.model.head import head_of
from camelid.model.layout import choose_layout, hidden_states, ordinary_attention
from camelid.model.virtual_start import add_input_tokens, add_layer_tokens, recorded
from camelid.model.virtual_tokens import attach, load_virtual_tokens
from camelid.recipe_sections import PrefixSettings, PromptSettings

FAMILIES = sorted({*ARCHITECTURES, "mistral", "qwen2"})
IDS = [3, 5, 7, 9, 11, 13, 17, 19, 23, 29, 31]


def _logits(model: Any, ids: list[int] = IDS) -> torch.Tensor:
    """(T, V) by our own layout."""
    tree = build_tree([np.array(ids, np.int32)], [np.zeros(len(ids), np.float32)])
    with torch.no_grad():
        return head_of(model).logits(hidden_states(model, tree, "tree"))


def _pefts(peft: PeftModel, ids: list[int] = IDS) -> torch.Tensor:
    """(T, V) of the text's own tokens."""
    with torch.no_grad():
        return peft(input_ids=torch.tensor([ids])).logits[0, -len(ids) :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", FAMILIES)
def test_tree_equals_separate(architecture: str, kind: str) -> None:
    shared, apart = virtual_model(architecture, kind), virtual_model(architecture, kind, layout="separate")
    shared.lm.eval()
    apart.lm.eval()

    @given(weighted_paths())
    @settings(max_examples=8)
    def check(made: Paths) -> None:
        paths, weights = made
        alone = [build_tree([p], [w], share=False) for p, w in zip(paths, weights, strict=True)]
        loss, gradient = loss_and_gradient(shared, [build_tree(paths, weights)], "tree")
        wanted, wanted_gradient = loss_and_gradient(apart, alone, "separate")
        batch, batch_gradient = loss_and_gradient(apart, [build_tree(paths, weights, share=False)], "separate")
        if not any(w.any() for w in weights):
            assert loss == wanted == batch == 0
            return
        assert abs(loss - wanted) <= 1e-6 * abs(wanted)
        assert abs(batch - wanted) <= 1e-6 * abs(wanted)
        assert (gradient - wanted_gradient).norm() <= 2e-5 * wanted_gradient.norm()
        assert (batch_gradient - wanted_gradient).norm() <= 2e-5 * wanted_gradient.norm()

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_never_scaled(kind: str, tmp_path: Path) -> None:
    made = virtual_model("llama", kind)
    assert made.virtual is not None
    made.virtual.save(tmp_path, "nowhere")
    with pytest.raises(UserError, match="only LoRA adapters can be scaled"):
        adapter_parts(tiny_model("llama"), tmp_path, scale=0.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", FAMILIES)
def test_peft_loads_what_is_saved(architecture: str, kind: str, tmp_path: Path) -> None:
    """Shows 8: equal logits, and the same as when it is read back here."""
    made = virtual_model(architecture, kind)
    made.lm.eval()
    assert made.virtual is not None
    ours = _logits(made.lm)
    with made.without_adapter():
        base = _logits(made.lm)
    assert (ours - base).abs().max() > 0.1, "the virtual tokens do nothing"
    made.virtual.save(tmp_path, "nowhere")
    attach(made.lm, load_virtual_tokens(made.lm, tmp_path))
    torch.testing.assert_close(_logits(made.lm), ours, rtol=0, atol=1e-5)
    plain = tiny_model(architecture)
    if kind == "gated" and architecture not in ("llama", "mistral"):
        with pytest.raises(ValueError, match="Unsupported model type"):
            PeftModel.from_pretrained(plain, tmp_path)
        return
    peft = PeftModel.from_pretrained(plain, tmp_path)
    torch.testing.assert_close(_pefts(peft), ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["prefix", "ptuning2", "gated"])  # for prompts PEFT ignores positions: padding counts
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])  # a window of 6 would count the padding
def test_a_left_padded_batch_of_pefts_answers_as_each_prompt_alone_here(
    architecture: str, kind: str, tmp_path: Path
) -> None:
    if kind == "gated" and architecture != "llama":
        pytest.skip("PEFT has no gated prompts for this architecture")
    made = virtual_model(architecture, kind)
    made.lm.eval()
    assert made.virtual is not None
    made.virtual.save(tmp_path, "nowhere")
    peft: Any = PeftModel.from_pretrained(tiny_model(architecture), tmp_path)
    short = IDS[:7]
    padded = torch.tensor([[0] * 4 + short, IDS])
    mask = torch.ones_like(padded)
    mask[0, :4] = 0
    answers = peft.generate(
        input_ids=padded, attention_mask=mask, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    for prompt, answer in zip((short, IDS), answers, strict=True):
        ids = list(prompt)
        for _ in range(6):
            ids.append(int(_logits(made.lm, ids)[-1].argmax()))
        assert answer[-6:].tolist() == ids[-6:]


def _peft_config(kind: str) -> Any:
    shared: dict[str, Any] = {"num_virtual_tokens": COUNT, "task_type": "CAUSAL_LM"}
    if kind == "prompt":
        return PromptTuningConfig(**shared)
    if kind == "ptuning":
        return PromptEncoderConfig(**shared, encoder_hidden_size=16)
    if kind == "gated":
        return AdaptionPromptConfig(adapter_len=COUNT, adapter_layers=2, task_type="CAUSAL_LM")
    return PrefixTuningConfig(**shared, prefix_projection=kind == "prefix", encoder_hidden_size=16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3"])
def test_what_peft_made_is_read(architecture: str, kind: str, tmp_path: Path) -> None:
    """Shows 8, the other way; a gate that PEFT put on the last two layers only is none on the first."""
    if kind == "gated" and architecture != "llama":
        pytest.skip("PEFT has no gated prompts for this architecture")
    torch.manual_seed(3)
    theirs: Any = get_peft_model(tiny_model(architecture), _peft_config(kind))  # type: ignore[arg-type]
    for name, parameter in theirs.named_parameters():
        if "adaption_gate" in name:
            parameter.data.fill_(0.5)
    theirs.eval()
    theirs.save_pretrained(tmp_path)
    model = tiny_model(architecture)
    fuse(model)
    choose_layout(model, "tree")
    attach(model, load_virtual_tokens(model, tmp_path))
    torch.testing.assert_close(_logits(model), _pefts(theirs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_switched_off_it_is_the_base_and_with_a_zero_gate_it_begins_as_the_base(kind: str) -> None:
    """Shows 1: byte for byte."""
    model: Any = tiny_model("llama")
    fuse(model)
    choose_layout(model, "tree")
    model.requires_grad_(False)  # a frozen layer adds up in an order of its own
    base, before = _logits(model), {name: p.detach().clone() for name, p in model.named_parameters()}
    made = virtual_model("llama", kind)
    made.lm.eval()
    with made.without_adapter():
        assert torch.equal(_logits(made.lm), base)
    assert not torch.equal(_logits(made.lm), base)
    for name, value in before.items():
        assert torch.equal(made.lm.get_parameter(name), value)
        assert not made.lm.get_parameter(name).requires_grad
    if kind == "gated":
        for gate in made.virtual.gates:  # type: ignore[union-attr]
            gate.data.zero_()
        assert torch.equal(_logits(made.lm), base)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["tree", "separate"])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_gradient_checkpointing_changes_nothing(architecture: str, layout: str, kind: str) -> None:
    paths = [np.array(IDS, np.int32), np.array([*IDS[:4], 41, 43, 47], np.int32)]
    weights = [np.r_[0, np.ones(len(path) - 1)].astype(np.float32) for path in paths]
    tree = build_tree(paths, weights, share=layout == "tree")
    results = []
    for checkpointing in (False, True):
        made = virtual_model(architecture, kind, layout=layout)
        if checkpointing:
            made.lm.activation_checkpointing_enable()  # type: ignore[operator]
            made.lm.enable_input_require_grads()  # type: ignore[operator]
        made.lm.train()
        results.append(loss_and_gradient(made, [tree], layout))
    assert results[0][0] == results[1][0]
    assert (results[0][1] - results[1][1]).norm() <= 1e-6 * results[0][1].norm()
    assert results[0][1].norm() > 0


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_start_from_text_does_what_the_text_does(architecture: str, projection: bool) -> None:
    """The base's own keys and values of some tokens, as a prefix, are those tokens before the text; an MLP adds 0."""

    def base() -> Any:
        model: Any = tiny_model(architecture)
        fuse(model)
        choose_layout(model, "tree")
        return model

    model, vocabulary = base(), Vocabulary.from_directory(tiny_base())
    text = vocabulary.backend.encode("Sort these numbers", add_special_tokens=False).ids
    wanted = _logits(model, [*text, *IDS])[len(text) :]
    settings = PrefixSettings(num_virtual_tokens=len(text), init="text", init_text="Sort these numbers")
    made = add_layer_tokens(base(), settings, projection=projection, vocabulary=vocabulary, seed=0)
    torch.testing.assert_close(_logits(made.lm), wanted, rtol=0, atol=1e-5)
    for encoded in (False, True):
        prompt = PromptSettings(num_virtual_tokens=len(text), init="text", init_text="Sort these numbers")
        made = add_input_tokens(base(), prompt, encoded=encoded, vocabulary=vocabulary, seed=0)
        torch.testing.assert_close(_logits(made.lm), wanted, rtol=0, atol=1e-5)
    embeddings = model.get_input_embeddings()(torch.tensor(text))
    assert recorded(model, embeddings).positions == len(text)


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_attention_never_forgets_learned_keys(kind: str) -> None:
    """A model that is switched to attention which does not know them fails; it is never computed without them."""
    made = virtual_model("llama", kind)
    if kind in ("prompt", "ptuning"):
        assert ordinary_attention(made.lm) == "sdpa"
        return
    made.lm.set_attn_implementation("sdpa")  # type: ignore[operator]
    with pytest.raises(RuntimeError, match="knows nothing"):
        _logits(made.lm)


@pytest.mark.filterwarnings("ignore:Unexpected keyword arguments")
def test_files_that_do_not_fit_are_the_users_fault(tmp_path: Path) -> None:
    made = virtual_model("llama", "ptuning2")
    assert made.virtual is not None
    made.virtual.save(tmp_path, "nowhere")
    with pytest.raises(UserError, match="does not fit the base"):
        load_virtual_tokens(tiny_model("qwen3"), tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="cannot be read"):
        load_virtual_tokens(tiny_model("llama"), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "MULTITASK_PROMPT_TUNING"}))
    with pytest.raises(UserError, match="no virtual tokens"):
        load_virtual_tokens(tiny_model("llama"), tmp_path)
