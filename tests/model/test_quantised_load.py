"""A base loaded in 8 or 4 bits is the float base with its weights quantised, for every architecture."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ARCHITECTURES, tiny_base, tiny_model
from torch import nn

from camelid.errors import UserError
from camelid.model import quantised_load
from camelid.model.load import load_model
from camelid.model.quantised import QuantisedWeight, quantised, weights_of

IDS = torch.arange(5, 45)[None]


def dequantised(model: nn.Module) -> nn.Module:
    """The same model with float values in place of its quantised weights; tied ones stay tied."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, value in list(module._parameters.items()):
            if isinstance(value, QuantisedWeight):
                own = made.setdefault(id(value), nn.Parameter(value.dense(), requires_grad=False))
                setattr(module, name, own)
    return model


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(architecture: str, quantization: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised_load, "_PIECE", 5_000)  # so that weights are read in several pieces
    base, bits = tiny_base(architecture), quantised_load.BITS[quantization]
    model: Any = load_model(base, dtype="float32", quantization=quantization).model
    whole = dict(tiny_model(architecture).named_parameters())
    loaded = dict(model.named_parameters())
    assert set(loaded) == set(whole)
    assert not any(p.requires_grad for p in loaded.values())
    ends = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    for name, value in whole.items():
        found = loaded[name]
        if value.dim() != 2:
            assert torch.equal(found, value), name
            continue
        assert isinstance(found, QuantisedWeight)
        assert found.bits == (8 if id(found) in ends or name.endswith("v_proj.weight") else bits), name
        wanted = quantised(value, found.bits, torch.float32)
        assert wanted is not None
        torch.testing.assert_close(found.dense(), wanted.dense(), rtol=0, atol=0)
    tied = model.config.tie_word_embeddings
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) is tied
    with torch.no_grad():
        ours = model(IDS).logits
        theirs = dequantised(model)(IDS).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert not weights_of(model)


def _changed(folder: Path, change: Any) -> Path:
    shutil.copytree(tiny_base(), folder / "base")
    tensors = load_file(folder / "base" / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "base" / "model.safetensors", {"format": "pt"})
    return folder / "base"


def test_what_four_bits_hold_exactly_is_kept_in_four(tmp_path: Path) -> None:
    """So a base whose file has 4 bits throughout loses nothing, value projections included."""
    exact, other = (f"model.layers.{i}.self_attn.v_proj.weight" for i in (0, 1))

    def change(tensors: dict[str, torch.Tensor]) -> None:
        small = quantised(tensors[exact], 4, torch.float32)
        assert small is not None
        tensors[exact] = small.dense()

    base = _changed(tmp_path, change)
    weights = weights_of(quantised_load.load_quantised(base, "4bit", torch.float32))
    assert (weights[exact].bits, weights[other].bits) == (4, 8)
    assert torch.equal(weights[exact].dense(), load_file(base / "model.safetensors")[exact])


def test_a_file_that_does_not_fit_its_modules(tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    base = _changed(tmp_path / "a", lambda tensors: tensors.update({"other": tensors.pop(name)}))
    with pytest.raises(UserError, match=rf"1 of the model's weights .* such as {name}"):
        load_model(base, dtype="float32", quantization="8bit")
    base = _changed(tmp_path / "b", lambda tensors: tensors.update({name: torch.zeros(3, 48)}))
    with pytest.raises(UserError, match=r"has the shape \(3, 48\), its module \(80, 48\)"):
        load_model(base, dtype="float32", quantization="8bit")


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_cuda_without_bitsandbytes_names_the_extra() -> None:
    with pytest.raises(UserError, match="bitsandbytes") as error:
        load_model(tiny_base(), dtype="float32", quantization="4bit", device="cuda")
    assert error.value.mend == "pip install 'camelid[bitsandbytes]'"


_LOAD = """
import sys
from camelid.model.load import load_model
from camelid.runs.memory import peak_memory_bytes
import camelid.model.quantised_load, transformers.models.llama.modeling_llama  # so that only the weights are counted
before = peak_memory_bytes()
load_model("smollm2", dtype="bfloat16", quantization=sys.argv[1])
print(peak_memory_bytes() - before)
"""


@pytest.mark.slow
def test_the_float_model_is_never_in_memory() -> None:
    """SmolLM2 has 134.5 M weights: 538 MB in its file, 269 MB in bfloat16, 143 MB and 97 MB quantised."""
    grown = {}
    for quantization in ("none", "8bit", "4bit"):
        run = subprocess.run([sys.executable, "-c", _LOAD, quantization], capture_output=True, text=True, check=True)
        grown[quantization] = int(run.stdout.splitlines()[-1])
    assert grown["none"] > 269e6
    assert grown["8bit"] < 250e6
    assert grown["4bit"] < 200e6
