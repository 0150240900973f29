"""A base loaded into 8 or 4 bits: the float model is never in memory, only a piece of one weight at a time.

On a CPU the weights become ours (model/quantised.py): linear layers in the bits asked for; value projections, the
embedding, and the head that is usually the same weight, in 8, much as llama.cpp's 4-bit files have them. On CUDA
bitsandbytes does it, by transformers' own way (LLM.int8, Dettmers et al. 2022; NF4, Dettmers et al. 2023).
"""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from camelid.errors import UserError
from camelid.model.quantised import Bits, bits_per_weight, unfilled, weights_of

BITS: dict[str, Bits] = {"8bit": 8, "4bit": 4}
_PIECE = 1 << 20  # values read at a time


def bitsandbytes_config(quantization: str, dtype: torch.dtype) -> BitsAndBytesConfig:
    """What transformers is asked for on CUDA. Raises UserError where bitsandbytes is missing."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "quantised weights on CUDA need bitsandbytes, which is not installed",
            where=f"quantization={quantization}",
            mend="pip install 'camelid[bitsandbytes]'",
        )
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def load_quantised(directory: Path, quantization: str, dtype: torch.dtype) -> PreTrainedModel:
    """The causal LM of a checked Hugging Face directory, on the CPU, frozen, computing in `dtype`.

    quantization: "8bit" or "4bit"
    Raises UserError for a base whose file holds other tensors than its modules have, or that has nothing to quantise.
    """
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    kinds = bits_of(model, quantization)
    for name, file in _files(directory).items():
        owner, _, own = name.rpartition(".")
        parent = _module(model, owner)
        if parent is None or own not in parent._parameters:
            continue  # it is reported as missing, if its place is
        shape, bits, fewest = tuple(parent.get_parameter(own).shape), kinds.get(name), BITS[quantization]
        value = _read(file, name, shape, fewest, dtype, exactly=True) if bits is not None and bits > fewest else None
        if value is None:
            value = _read(file, name, shape, bits, dtype)
        assert value is not None
        setattr(parent, own, nn.Parameter(value, requires_grad=False))
    model.tie_weights()
    _require_whole(model, directory)
    if not weights_of(model):
        raise UserError(
            "no weight of this base can be quantised (its rows are no multiples of 16)",
            where=str(directory),
            mend="quantization=none",
        )
    return model.eval()


def bits_of(model: Any, quantization: str, *, bitsandbytes: bool = False) -> dict[str, Bits]:
    """In how many bits each weight of a causal LM is kept at most, by name: what fewer hold exactly is kept in fewer.

    bitsandbytes: its way on CUDA, all linear layers alike, embedding and head in float
    """
    kinds: dict[str, Bits] = {
        f"{name}.weight": BITS[quantization] if isinstance(module, nn.Linear) else 8
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding)
    }
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    own = {f"{name}.weight" for name, module in model.named_modules() if module in ends}
    if bitsandbytes:
        return {name: bits for name, bits in kinds.items() if name not in own}
    # several heads often share a value projection: 1% of Gemma 3 270M's weights, but a third of what 4 bits cost it
    kinds.update({name: 8 for name in kinds if name in own or name.endswith(".v_proj.weight")})
    return kinds


def shape_quantised(model: Any, quantization: str, *, bitsandbytes: bool = False) -> None:
    """Give a model on the meta device the weights that `load_quantised` would, without values."""
    for name, bits in bits_of(model, quantization, bitsandbytes=bitsandbytes).items():
        owner, _, own = name.rpartition(".")
        parent = model.get_submodule(owner)
        weight = parent.get_parameter(own)
        small = unfilled(tuple(weight.shape), bits, weight.dtype, weight.device)
        if small is not None:
            setattr(parent, own, nn.Parameter(small, requires_grad=False))
    model.tie_weights()


def quantisation_line(model: nn.Module) -> str:
    """One line for the log: how much is kept in how many bits, and what it takes."""
    weights = weights_of(model)
    rest = sum(p.numel() * p.element_size() for name, p in model.named_parameters() if name not in weights)
    stored = sum(w.stored_bytes for w in weights.values())
    counts = {bits: sum(w.numel() for w in weights.values() if w.bits == bits) for bits in (8, 4)}
    shown = ", ".join(f"{count / 1e6:.0f}M weights in {bits} bits" for bits, count in counts.items() if count)
    each = bits_per_weight(weights)
    return f"base: {shown}, {each:.1f} bits each with their scales; {(stored + rest) / 1e6:.0f} MB in all"


def _files(directory: Path) -> dict[str, Path]:
    """Every tensor's file."""
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {name: directory / file for name, file in names.items()}
    file = directory / "model.safetensors"
    with safe_open(str(file), framework="pt") as tensors:
        return dict.fromkeys(tensors.keys(), file)


def _module(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def _read(
    file: Path, name: str, shape: tuple[int, ...], bits: Bits | None, dtype: torch.dtype, *, exactly: bool = False
) -> Tensor | None:
    """A tensor in its final form, read in pieces: the file is mapped anew for each, lest its pages pile up.

    exactly: None as soon as a quantised value is not the file's
    """
    small = unfilled(shape, bits, dtype) if bits is not None and len(shape) == 2 else None
    made = torch.empty(shape, dtype=dtype) if small is None else small
    step = max(1, _PIECE // max(1, math.prod(shape[1:]))) if shape else 1
    for start in range(0, shape[0] if shape else 1, step):
        with safe_open(str(file), framework="pt") as tensors:
            stored = tensors.get_slice(name)
            if tuple(stored.get_shape()) != shape:
                raise UserError(
                    f"{name} has the shape {tuple(stored.get_shape())}, its module {shape}",
                    where=str(file),
                    mend="download or copy the model again",
                )
            piece = stored[start : start + step] if shape else tensors.get_tensor(name)
            if small is not None:
                small.fill(start, piece)
                if exactly and not torch.equal(small.rows(slice(start, start + step)).dense(), piece.to(dtype)):
                    return None
            elif shape:
                made[start : start + step] = piece
            else:
                made.copy_(piece)
            del piece  # it keeps the file mapped
    return made


def _require_whole(model: nn.Module, directory: Path) -> None:
    missing = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if missing:
        raise UserError(
            f"{len(missing)} of the model's weights are not in the file under their names, such as {missing[0]}",
            where=str(directory),
            mend="quantization=none, or save the model again with transformers' save_pretrained",
        )
