"""Write a model as a GGUF file: the tensors of llama.cpp's layout, the metadata, the tokenizer.

    write_gguf(path, lm, plan, layout, metadata, kind="f16")

Tensors are streamed, so writing takes little more memory than the largest of them. Matrices are stored in the type
asked for; vectors (norms, biases) in float32, as llama.cpp wants them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camelid.errors import UserError
from camelid.model.gguf import BLOCKS, GGUFFile, Value
from camelid.model.gguf_layout import Layout, Rule, read_layout
from camelid.model.gguf_metadata import Plan

if TYPE_CHECKING:
    from torch import Tensor

# --quantise names that are written here -> (ggml type, general.file_type of llama.h).
KINDS: dict[str, tuple[int, int]] = {"f32": (0, 0), "f16": (1, 1), "bf16": (30, 32), "q8_0": (8, 7)}
_FILE_TYPE, _QUANTISATION = "general.file_type", 2  # version 2 of the block formats


def halves_together(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of rotary pairs: rows (head, half, pair) of Hugging Face -> (head, pair, half)."""
    pairs = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, pairs, -1).swapaxes(1, 2).reshape(weight.shape)


def stored_values(rule: Rule, weight: np.ndarray) -> np.ndarray:
    """A weight of the model as llama.cpp's layout has it: float32, in the rule's shape."""
    values = np.ascontiguousarray(weight, np.float32)
    if rule.heads:
        values = halves_together(values, rule.heads)
    return values - np.float32(rule.offset) if rule.offset else values


def stored_kind(rule: Rule, kind: str) -> int:
    """The ggml type in which a tensor is stored: blocks need whole rows, and vectors stay float32."""
    wanted = KINDS[kind][0]
    if len(rule.shape) == 1:
        return KINDS["f32"][0]
    return wanted if rule.shape[-1] % BLOCKS[wanted][1] == 0 else KINDS["f16"][0]


def write_gguf(
    path: Path, weights: Mapping[str, Tensor], plan: Plan, layout: Layout, metadata: Mapping[str, Value], kind: str
) -> None:
    """Write the file. weights: by Hugging Face name; metadata: of the tokenizer and `general.*`, beside the plan's.

    Raises OSError, and `UserError` for weights that float16 cannot hold.
    """
    from gguf import GGUFWriter, quants
    from gguf.constants import GGMLQuantizationType

    writer = GGUFWriter(path, plan.family)
    figures = {_FILE_TYPE: KINDS[kind][1], "general.quantization_version": _QUANTISATION}
    for key, value in {**plan.metadata, **metadata, **figures}.items():
        if key != "general.architecture":  # the writer has put it in
            write_value(writer, key, value)
    for name, values in plan.extra.items():
        writer.add_tensor_info(name, values.shape, values.dtype, values.nbytes)
    for rule in layout.rules:
        stored = stored_kind(rule, kind)
        _, per_block, block_bytes = BLOCKS[stored]
        size = math.prod(rule.shape) // per_block * block_bytes
        byte_shape = (*rule.shape[:-1], rule.shape[-1] // per_block * block_bytes)
        writer.add_tensor_info(rule.source, byte_shape, np.dtype(np.uint8), size, GGMLQuantizationType(stored))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for values in plan.extra.values():
            writer.write_tensor_data(values)
        for rule, values in _in_layout(layout, weights):
            stored = stored_kind(rule, kind)
            if stored == KINDS["f16"][0]:
                _check_range(rule, values)
            writer.write_tensor_data(quants.quantize(values, GGMLQuantizationType(stored)))
    finally:
        writer.close()


def _in_layout(layout: Layout, weights: Mapping[str, Tensor]) -> Iterator[tuple[Rule, np.ndarray]]:
    for rule in layout.rules:
        yield rule, stored_values(rule, weights[rule.target].detach().float().cpu().numpy())


def _check_range(rule: Rule, values: np.ndarray) -> None:
    largest = float(np.abs(values).max())
    if not largest <= float(np.finfo(np.float16).max):
        raise UserError(
            f"the weight {rule.target} reaches {largest:.3g}, which float16 cannot hold", mend="use --quantise bf16"
        )


def write_value(writer: Any, key: str, value: Value | list[Any]) -> None:
    """One metadata pair, in the type that llama.cpp gives it."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def stored_difference(path: Path, weights: Mapping[str, Tensor]) -> dict[str, float]:
    """ggml type -> largest relative error (root mean square) of the tensors that a file holds in it.

    Read back by our own reader, bounds-checked, and compared with the model: the proof that each tensor is under its
    name and in its order. Raises `UserError` for a file that is not sound.
    """
    from camelid.model.gguf_convert import values_of

    worst: dict[str, float] = {}
    with GGUFFile(path) as file:
        for rule in read_layout(file).rules:
            read = np.concatenate([piece.reshape(-1) for piece in values_of(file, rule)])
            wanted = weights[rule.target].detach().float().cpu().numpy().reshape(-1)
            norm = float(np.linalg.norm(wanted)) or 1.0
            kind = file.tensors[rule.source].kind_name
            worst[kind] = max(worst.get(kind, 0.0), float(np.linalg.norm(read - wanted)) / norm)
    return worst
