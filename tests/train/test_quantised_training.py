"""Training on a quantised base is training on its dequantised values, and leaves every code as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from runs_for_tests import run, tiny_recipe
from tiny import tiny_base
from torch import Tensor, nn

from camelid.config import make_recipe
from camelid.data.records import Conversation, Message, Origin
from camelid.data.tree import build_tree
from camelid.errors import UserError
from camelid.generate.base import Sampling
from camelid.generate.local import LiveGenerator
from camelid.model.fused import fuse
from camelid.model.layout import choose_layout, hidden_states
from camelid.model.load import load_model
from camelid.model.packed import PackedLinear, Routing
from camelid.model.packed_layers import packed
from camelid.model.quantised import QuantisedWeight, weights_of
from camelid.train.finish import BASE_FILE, save_final

BITS = ["8bit", "4bit"]


def _dequantise(model: nn.Module) -> None:
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, value in list(module._parameters.items()):
            if isinstance(value, QuantisedWeight):
                setattr(module, name, made.setdefault(id(value), nn.Parameter(value.dense(), requires_grad=False)))


def _codes(model: nn.Module) -> dict[str, list[Tensor]]:
    return {name: [part.clone() for part in weight.parts] for name, weight in weights_of(model).items()}


FIELDS: list[dict[str, Any]] = [
    {},
    {"base": "gemma3", "label_smoothing_factor": 0.1},
    {"kl_to_base": 0.3, "gradient_checkpointing": True},
    {"lora": {"use_dora": True}, "layout": "separate"},
    {"method": "ptuning2", "prefix": {"num_virtual_tokens": 4}},
    {"method": "prompt"},
]


@pytest.mark.parametrize("quantization", BITS)
@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_a_run_is_that_on_the_dequantised_weights(tmp_path: Path, fields: dict[str, Any], quantization: str) -> None:
    own = {**fields, "base": str(tiny_base(fields.get("base", "llama"))), "eval_fraction": 0.2, "max_steps": 3}
    before: dict[str, list[Tensor]] = {}

    def remember(setup: Any) -> None:
        before.update(_codes(setup.trainable.lm))

    ours = run(
        tiny_recipe(tmp_path, **own, quantization=quantization, output_dir=str(tmp_path / "ours")), hook=remember
    )
    assert len(before) >= 3 * 7 + 1
    for name, parts in _codes(ours.setup.trainable.lm).items():
        assert all(torch.equal(a, b) for a, b in zip(parts, before[name], strict=True)), name
    theirs = run(
        tiny_recipe(tmp_path, **own, quantization=quantization, output_dir=str(tmp_path / "theirs")),
        hook=lambda setup: _dequantise(setup.trainable.lm),
    )
    assert not weights_of(theirs.setup.trainable.lm)
    assert ours.outcome.losses == pytest.approx(theirs.outcome.losses, rel=1e-4)
    assert ours.outcome.eval_losses[-1][1] == pytest.approx(theirs.outcome.eval_losses[-1][1], rel=1e-4)


@pytest.mark.parametrize("quantization", BITS)
def test_what_is_saved_is_a_plain_adapter_and_says_what_it_was_trained_on(tmp_path: Path, quantization: str) -> None:
    done = run(tiny_recipe(tmp_path, quantization=quantization))
    saved = save_final(done.setup, done.directory)
    assert "read back and equal" in saved.check
    said = json.loads((saved.directory / BASE_FILE).read_text(encoding="utf-8"))
    assert (said["quantization"], said["dtype"]) == (quantization, "float32")
    whole: Any = load_model(tiny_base(), dtype="float32").model
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        plain = whole(ids).logits
        tuned = PeftModel.from_pretrained(whole, str(saved.directory))(ids).logits
        quantised: Any = load_model(tiny_base(), dtype="float32", quantization=quantization).model
        fuse(quantised)
        choose_layout(quantised, "tree")
        tree = build_tree([ids[0].numpy().astype("int32")], [np.zeros(20, np.float32)])
        with done.setup.trainable.without_adapter():
            off = hidden_states(done.setup.trainable.lm, tree, "tree")
        own_base = hidden_states(quantised, tree, "tree")
    assert float((tuned - plain).abs().max()) > 1e-3
    torch.testing.assert_close(off, own_base, rtol=0, atol=0)  # switched off it is the quantised base, exactly


@pytest.mark.parametrize("quantization", BITS)
def test_it_answers_while_it_is_trained(tmp_path: Path, quantization: str) -> None:
    done = run(tiny_recipe(tmp_path, quantization=quantization))
    lm, renderer = done.setup.trainable.lm, done.setup.data.renderer
    asked = [Conversation((Message("user", text),), Origin("test", 1)) for text in ("你好", "Sort these numbers: 3, 1")]
    sampling = Sampling(max_new_tokens=8, temperature=0)
    weights = weights_of(lm)
    count = len(weights)
    own = {weight.codes.data_ptr() for weight in weights.values()}
    with packed(lm, Routing(), layout="tree"):  # no copy of the base, for as long as it answers
        layers = [module for module in lm.modules() if isinstance(module, PackedLinear)]
        assert len(layers) == 3 * 4
        for product in (product for layer in layers for product in layer._products):
            assert isinstance(product.weight, QuantisedWeight)
            assert product.weight.codes.data_ptr() in own
    ours = [answer.text for answer in LiveGenerator(lm, renderer).generate(asked, sampling)]
    assert len(weights_of(lm)) == count > 0
    _dequantise(lm)
    assert ours == [answer.text for answer in LiveGenerator(lm, renderer).generate(asked, sampling)]


def test_a_run_does_not_go_on_in_another_precision(tmp_path: Path) -> None:
    run(tiny_recipe(tmp_path, quantization="8bit"), stop_after=2)
    with pytest.raises(UserError, match=r"quantization: '8bit' there, '4bit' here"):
        run(tiny_recipe(tmp_path, quantization="4bit"))
    assert run(tiny_recipe(tmp_path, quantization="8bit")).outcome.step == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "full"}, "method full trains it"),
        ({"method": "freeze", "freeze": {"head": True}}, "method freeze trains it"),
        ({"lora": {"modules_to_save": ["lm_head"]}}, "modules_to_save trains some of it"),
        ({"lora": {"init_lora_weights": "pissa"}}, "init_lora_weights changes it"),
        ({"method": "full", "from_scratch": True}, "method full trains it"),
    ],
)
def test_what_quantised_weights_cannot_be(fields: dict[str, Any], message: str) -> None:
    make_recipe({"data": "rows.jsonl", **fields})
    with pytest.raises(UserError, match=message):
        make_recipe({"data": "rows.jsonl", **fields, "quantization": "4bit"})


def test_an_adapter_is_trained_on_and_one_of_another_method_is_refused(tmp_path: Path) -> None:
    done = run(tiny_recipe(tmp_path))
    final = save_final(done.setup, done.directory).directory
    own = {"base": str(final), "quantization": "8bit", "output_dir": str(tmp_path / "next")}
    with pytest.raises(UserError, match="on top of it could not be loaded"):
        run(tiny_recipe(tmp_path, **own, method="prompt"))
    assert run(tiny_recipe(tmp_path, **{**own, "output_dir": str(tmp_path / "on")})).outcome.step == 4
