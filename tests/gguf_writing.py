"""Write small GGUF files from random Hugging Face models, the way llama.cpp's converter does.

Independent of the reader under test: names come from the `gguf` package's own table, and the rearrangements follow
llama.cpp's convert_hf_to_gguf.py.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType, GGUFWriter, quants
from tiny import tiny_tokenizer

hf: Any = transformers  # its configs are typed too loosely for a type checker

SHAPE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_THETA = {"rope_type": "default", "rope_theta": 50_000.0}
_GEMMA_LAYERS = ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]

# family -> (model class, config). Figures differ wherever two could be confused: head size is not hidden / heads.
MODELS: dict[str, tuple[Any, Any]] = {
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig(**SHAPE, head_dim=32, rope_parameters=_THETA, rms_norm_eps=1e-5)),
    "llama-tied": (hf.LlamaForCausalLM, hf.LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "llama-bias": (hf.LlamaForCausalLM, hf.LlamaConfig(**SHAPE, attention_bias=True)),
    "llama3": (
        hf.LlamaForCausalLM,
        hf.LlamaConfig(
            **SHAPE | {"max_position_embeddings": 131_072},
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 500_000.0,
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        ),
    ),
    "llama-linear": (
        hf.LlamaForCausalLM,
        hf.LlamaConfig(**SHAPE, rope_parameters={"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}),
    ),
    "qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config(**SHAPE, rope_parameters=_THETA, tie_word_embeddings=True)),
    "qwen2-yarn": (
        hf.Qwen2ForCausalLM,
        hf.Qwen2Config(
            **SHAPE,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 10_000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 128,
            },
        ),
    ),
    "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config(**SHAPE, head_dim=32, rope_parameters=_THETA)),
    "gemma": (hf.GemmaForCausalLM, hf.GemmaConfig(**SHAPE, head_dim=32, hidden_activation="gelu_pytorch_tanh")),
    "gemma2": (
        hf.Gemma2ForCausalLM,
        hf.Gemma2Config(**SHAPE, head_dim=32, sliding_window=8, query_pre_attn_scalar=32, attn_logit_softcapping=5.0),
    ),
    "gemma3": (
        hf.Gemma3ForCausalLM,
        hf.Gemma3TextConfig(
            **SHAPE | {"num_hidden_layers": 7},
            head_dim=32,
            sliding_window=8,
            query_pre_attn_scalar=32,
            layer_types=_GEMMA_LAYERS,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            },
        ),
    ),
    "glm4": (hf.Glm4ForCausalLM, hf.Glm4Config(**SHAPE, head_dim=32, partial_rotary_factor=0.5, attention_bias=True)),
    "phi3": (hf.Phi3ForCausalLM, hf.Phi3Config(**SHAPE, sliding_window=12)),
}
_OFFSET_NORMS = ("gemma", "gemma2", "gemma3")


def random_model(name: str, seed: int = 0) -> transformers.PreTrainedModel:
    """A float32 model of random weights, norms and biases included, whose logits are not all alike."""
    kind, config = MODELS[name]
    torch.manual_seed(seed)
    model = kind(copy.deepcopy(config))  # a model's attention is a field of its configuration: never one of two models
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def write_gguf(
    path: Path,
    name: str,
    model: transformers.PreTrainedModel,
    *,
    kind: str = "F32",
    tokenizer: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    leave_out: str = "",
) -> Path:
    """Write `model` as GGUF and set its weights to what the file holds (after quantising)."""
    family = name.split("-")[0].replace("llama3", "llama")
    config = model.config
    writer = GGUFWriter(path, family)
    _write_config(writer, family, config)
    for key, value in {**(tokenizer if tokenizer is not None else bpe_metadata()), **(extra or {})}.items():
        write_value(writer, key, value)
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == family)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    rope = config.rope_parameters
    if isinstance(rope, dict) and rope.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_factors(config))
    with torch.no_grad():
        for hf_name, parameter in model.named_parameters():
            stored = names.get_name(hf_name, try_suffixes=(".weight", ".bias"))
            assert stored is not None, hf_name
            if stored == leave_out:
                continue
            parameter.copy_(torch.from_numpy(_write_tensor(writer, stored, hf_name, family, config, parameter, kind)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_tensor(
    writer: GGUFWriter, stored: str, hf_name: str, family: str, config: Any, parameter: torch.Tensor, kind: str
) -> np.ndarray:
    """Store one tensor; returns its values after quantising, in Hugging Face's order."""
    values = parameter.numpy().astype(np.float32)
    heads = 0
    if family == "llama" and "q_proj" in hf_name:
        heads = config.num_attention_heads
    elif family == "llama" and "k_proj" in hf_name:
        heads = config.num_key_value_heads
    if heads:  # LlamaModel.permute of the converter
        values = values.reshape(heads, 2, values.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)
    offset = 1.0 if family in _OFFSET_NORMS and "norm" in hf_name else 0.0
    values = values + np.float32(offset)
    quantisation = GGMLQuantizationType[kind] if values.ndim == 2 else GGMLQuantizationType.F32
    data = quants.quantize(values, quantisation)
    writer.add_tensor(stored, data, raw_dtype=quantisation)
    values = quants.dequantize(data, quantisation) - np.float32(offset)
    if heads:
        values = values.reshape(heads, values.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(parameter.shape)
    return np.array(values)


def _llama3_factors(config: Any) -> np.ndarray:
    """LlamaModel.generate_extra_tensors of the converter."""
    rope, size = config.rope_parameters, config.hidden_size // config.num_attention_heads
    factors = []
    for frequency in 1.0 / rope["rope_theta"] ** (np.arange(0, size, 2) / size):
        wavelength = 2 * np.pi / frequency
        original = rope["original_max_position_embeddings"]
        if wavelength < original / rope["high_freq_factor"]:
            factors.append(1.0)
        elif wavelength > original / rope["low_freq_factor"]:
            factors.append(rope["factor"])
        else:
            smooth = (original / wavelength - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"]
            )
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, np.float32)


def _write_config(writer: GGUFWriter, family: str, config: Any) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if head != config.hidden_size // config.num_attention_heads:
        writer.add_key_length(head)
        writer.add_value_length(head)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    if family in ("llama", "glm4", "phi3"):
        writer.add_rope_dimension_count(int(head * (rope.get("partial_rotary_factor") or 1.0)))
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if family in ("gemma2", "gemma3", "phi3"):
        writer.add_sliding_window(config.sliding_window)
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def write_value(writer: GGUFWriter, key: str, value: Any) -> None:
    """Write one metadata pair with the type that llama.cpp gives it."""
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


def bpe_metadata(pre: str = "gpt-2", **extra: Any) -> dict[str, Any]:
    """The metadata of `tiny.tiny_tokenizer`: byte-level BPE with ChatML's control tokens at 0, 1, 2."""
    model = json.loads(tiny_tokenizer().to_str())["model"]
    tokens = [text for text, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if index < 3 else 1 for index in range(len(tokens))],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 0,
        **{f"tokenizer.{key}": value for key, value in extra.items()},
    }


def minimal_gguf(path: Path, pairs: Mapping[str, Any] | None = None, **tensors: np.ndarray) -> Path:
    """A GGUF file of the architecture `llama` with these metadata pairs and float tensors (`a__b` stands for `a.b`)."""
    writer = GGUFWriter(path, "llama")
    for key, value in (pairs or {}).items():
        write_value(writer, key, value)
    for name, values in tensors.items():
        writer.add_tensor(name.replace("__", "."), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
