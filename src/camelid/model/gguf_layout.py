"""How llama.cpp lays out each model family in a GGUF file, and how to undo it for Hugging Face.

One function per family turns the metadata into a `Layout`: the config and the rule for every tensor. llama.cpp
differs from Hugging Face in names everywhere; in the order of the rotary halves of q and k (`llama` alone); in norm
weights stored with one added (Gemma). Every tensor of the file must be claimed by a rule and every rule be met.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from camelid.errors import UserError
from camelid.model.gguf import TensorInfo, Value

MAX_LAYERS = 1024
LLAMA3_ROPE = (1.0, 4.0, 8192)  # low_freq_factor, high_freq_factor, original context: all of Llama 3.1 to 3.3


@dataclass(frozen=True, slots=True)
class Rule:
    """GGUF tensor `source` becomes `target` of `shape`; `heads`: undo the rotary order; `offset`: added to values."""

    source: str
    target: str
    shape: tuple[int, ...]
    heads: int = 0
    offset: float = 0.0


@dataclass(slots=True)
class Layout:
    """The Hugging Face config of a GGUF file, and one rule per tensor; `unused` tensors are known and left out."""

    config: dict[str, Any]
    rules: list[Rule]
    unused: set[str] = field(default_factory=set)


class Described(Protocol):
    """What a layout is read from: an open GGUF file, or the plan of one that is yet to be written."""

    @property
    def path(self) -> Path: ...

    @property
    def metadata(self) -> Mapping[str, Value]: ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    def values(self, name: str) -> np.ndarray: ...


class _Metadata:
    """The keys of one family (`llama.block_count` ...), typed and checked."""

    def __init__(self, file: Described, family: str) -> None:
        self.file, self.family = file, family

    def fault(self, what: str, mend: str = "download the model again or use another conversion of it") -> UserError:
        return UserError(what, where=str(self.file.path), mend=mend)

    def find(self, key: str) -> Any:
        return self.file.metadata.get(f"{self.family}.{key}")

    def integer(self, key: str, default: int | None = None, *, most: int = 1 << 24) -> int:
        value = self.find(key)
        if isinstance(value, np.ndarray) and value.size and (value == value.flat[0]).all():
            value = int(value.flat[0])  # one figure per layer, all alike
        if value is None:
            value = default
        if type(value) is not int or not 0 < value <= most:
            raise self.fault(f"the GGUF metadata {self.family}.{key} is {_shown(value)}, a whole number is needed")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        found = self.find(key)
        value = default if found is None else found
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise self.fault(f"the GGUF metadata {self.family}.{key} is {_shown(value)}, a positive number is needed")
        # float32 in the file: 9.999999747378752e-06 was written as 1e-05, and that is what the model was trained with.
        return float(str(np.float32(value)))

    def refuse(self, key: str, meaning: str) -> None:
        if self.find(key):
            raise self.fault(f"{meaning} ({self.family}.{key}) cannot be read", mend="use the model's original weights")


def _shown(value: object) -> str:
    return "missing" if value is None else repr(value)[:60]


def read_layout(file: Described) -> Layout:
    """The layout of a GGUF file. Raises `UserError` for a family not supported or metadata not sound."""
    layout = layout_of(file)
    _check(file, layout)
    return layout


def layout_of(file: Described) -> Layout:
    """The same from metadata alone, before it is known whether the file's tensors are as it says."""
    family = file.metadata.get("general.architecture")
    parts = file.metadata.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise UserError(
            f"this is one of {parts} parts of a model", where=str(file.path), mend="join them: llama-gguf-split --merge"
        )
    if not isinstance(family, str) or family not in FAMILIES:
        raise UserError(
            f"GGUF models of the architecture {_shown(family)} cannot be read",
            where=str(file.path),
            mend=f"supported are {', '.join(sorted(FAMILIES))}; or give the model's Hugging Face directory",
        )
    return FAMILIES[family](file, _Metadata(file, family))


def _check(file: Described, layout: Layout) -> None:
    """Every tensor claimed, every rule met, every shape as the config says."""
    claimed = {rule.source for rule in layout.rules} | layout.unused
    unknown = [name for name in file.tensors if name not in claimed]
    if unknown:
        raise UserError(
            f"the GGUF file has {len(unknown)} tensors that its architecture does not explain, such as {unknown[0]!r}",
            where=str(file.path),
            mend="give the model's Hugging Face directory instead",
        )
    for rule in layout.rules:
        tensor = file.tensors.get(rule.source)
        if tensor is None or tensor.shape != rule.shape:
            found = "missing" if tensor is None else f"of shape {tensor.shape}"
            raise UserError(
                f"the tensor {rule.source} is {found}, expected {rule.shape}",
                where=str(file.path),
                mend="download or install it again",
            )


# -- what the families share ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Shape:
    """The figures that every decoder family has."""

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_size: int
    rows: int
    tied: bool


def _shape(file: Described, data: _Metadata, *, head_size: int | None = None) -> _Shape:
    hidden, heads = data.integer("embedding_length"), data.integer("attention.head_count")
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise data.fault("the GGUF file has no token embedding")
    size = data.integer("attention.key_length", head_size or hidden // heads or 1)
    if data.integer("attention.value_length", size) != size:
        raise data.fault("keys and values of different length cannot be read")
    return _Shape(
        layers=data.integer("block_count", most=MAX_LAYERS),
        hidden=hidden,
        inner=data.integer("feed_forward_length"),
        heads=heads,
        kv_heads=data.integer("attention.head_count_kv", heads),
        head_size=size,
        rows=embedding.shape[0],
        tied="output.weight" not in file.tensors,
    )


def _config(data: _Metadata, shape: _Shape, model_type: str, architecture: str) -> dict[str, Any]:
    if shape.heads % shape.kv_heads:
        raise data.fault(f"{shape.heads} attention heads cannot share {shape.kv_heads} key heads")
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": shape.rows,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "max_position_embeddings": data.integer("context_length"),
        "rms_norm_eps": data.number("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": shape.tied,
        "rope_parameters": _rope(data),
        "dtype": "float32",
        "use_cache": True,
    }


def _rope(data: _Metadata) -> dict[str, Any]:
    """Rotary settings as transformers >= 5 names them: base frequency, and the rule that stretches the context."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": data.number("rope.freq_base", 10_000.0)}
    kind = data.find("rope.scaling.type")
    if kind in (None, "none") and data.find("rope.scale_linear"):
        return rope | {"rope_type": "linear", "factor": data.number("rope.scale_linear")}
    if kind in (None, "none"):
        return rope
    if kind == "linear":
        return rope | {"rope_type": "linear", "factor": data.number("rope.scaling.factor", 1.0)}
    if kind == "yarn" and data.number("rope.scaling.attn_factor", 1.0) == 1.0:
        return rope | {
            "rope_type": "yarn",
            "factor": data.number("rope.scaling.factor"),
            "original_max_position_embeddings": data.integer("rope.scaling.original_context_length"),
        }
    raise data.fault(f"the rotary scaling {kind!r} cannot be read", mend="give the model's Hugging Face directory")


def _block_rules(
    shape: _Shape,
    norms: dict[str, str],
    *,
    offset: float = 0.0,
    rotary: bool = False,
    fused_qkv: bool = False,
    fused_gate: bool = False,
) -> list[Rule]:
    """The rules that all families share; `norms`: GGUF name -> HF name of each norm over the hidden size."""
    query, key = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    rules = [
        Rule("token_embd.weight", "model.embed_tokens.weight", (shape.rows, shape.hidden)),
        Rule("output_norm.weight", "model.norm.weight", (shape.hidden,), offset=offset),
    ]
    if not shape.tied:
        rules.append(Rule("output.weight", "lm_head.weight", (shape.rows, shape.hidden)))
    for layer in range(shape.layers):
        source, target = f"blk.{layer}.", f"model.layers.{layer}."
        rules += [
            Rule(f"{source}{ours}.weight", f"{target}{theirs}.weight", (shape.hidden,), offset=offset)
            for ours, theirs in norms.items()
        ]
        rules += [
            Rule(f"{source}attn_output.weight", f"{target}self_attn.o_proj.weight", (shape.hidden, query)),
            Rule(f"{source}ffn_down.weight", f"{target}mlp.down_proj.weight", (shape.hidden, shape.inner)),
        ]
        if fused_gate:
            both = (2 * shape.inner, shape.hidden)
            rules.append(Rule(f"{source}ffn_up.weight", f"{target}mlp.gate_up_proj.weight", both))
        else:
            rules += [
                Rule(f"{source}ffn_gate.weight", f"{target}mlp.gate_proj.weight", (shape.inner, shape.hidden)),
                Rule(f"{source}ffn_up.weight", f"{target}mlp.up_proj.weight", (shape.inner, shape.hidden)),
            ]
        if fused_qkv:
            all_three = (query + 2 * key, shape.hidden)
            rules.append(Rule(f"{source}attn_qkv.weight", f"{target}self_attn.qkv_proj.weight", all_three))
            continue
        rules += [
            Rule(f"{source}attn_q.weight", f"{target}self_attn.q_proj.weight", (query, shape.hidden),
                 heads=shape.heads if rotary else 0),
            Rule(f"{source}attn_k.weight", f"{target}self_attn.k_proj.weight", (key, shape.hidden),
                 heads=shape.kv_heads if rotary else 0),
            Rule(f"{source}attn_v.weight", f"{target}self_attn.v_proj.weight", (key, shape.hidden)),
        ]  # fmt: skip
    return rules


def _bias_rules(shape: _Shape, *, rotary: bool, output: bool) -> list[Rule]:
    query, key = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    rules = []
    for layer in range(shape.layers):
        source, target = f"blk.{layer}.attn_", f"model.layers.{layer}.self_attn."
        rules += [
            Rule(f"{source}q.bias", f"{target}q_proj.bias", (query,), heads=shape.heads if rotary else 0),
            Rule(f"{source}k.bias", f"{target}k_proj.bias", (key,), heads=shape.kv_heads if rotary else 0),
            Rule(f"{source}v.bias", f"{target}v_proj.bias", (key,)),
        ]
        if output:
            rules.append(Rule(f"{source}output.bias", f"{target}o_proj.bias", (shape.hidden,)))
    return rules


def _head_norm_rules(shape: _Shape, *, offset: float) -> list[Rule]:
    return [
        Rule(f"blk.{layer}.attn_{x}_norm.weight", f"model.layers.{layer}.self_attn.{x}_norm.weight",
             (shape.head_size,), offset=offset)
        for layer in range(shape.layers) for x in "qk"
    ]  # fmt: skip


_PRE_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}


# -- the families ---------------------------------------------------------------------------------------------------


def _llama(file: Described, data: _Metadata) -> Layout:
    """Llama 1 to 3, Mistral, SmolLM, TinyLlama, Yi ...: all that `LlamaForCausalLM` computes."""
    data.refuse("expert_count", "a mixture of experts")
    shape = _shape(file, data)
    if data.integer("rope.dimension_count", shape.head_size) != shape.head_size:
        raise data.fault("rotary embedding of a part of each head cannot be read for llama")
    config = _config(data, shape, "llama", "LlamaForCausalLM")
    config["hidden_act"] = "silu"
    rules = _block_rules(shape, _PRE_NORMS, rotary=True)
    config["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
    config["mlp_bias"] = False
    if config["attention_bias"]:
        rules += _bias_rules(shape, rotary=True, output=True)  # LlamaForCausalLM has all four or none
    unused: set[str] = set()
    if "rope_freqs.weight" in file.tensors:
        config["rope_parameters"] |= _llama3_rope(file, data, shape.head_size, config["rope_parameters"]["rope_theta"])
        unused.add("rope_freqs.weight")
    return Layout(config, rules, unused)


def _llama3_rope(file: Described, data: _Metadata, head_size: int, theta: float) -> dict[str, Any]:
    """llama.cpp stores a divisor per frequency; Hugging Face the rule (Llama 3.1) that makes them. Checked equal."""
    stored = file.values("rope_freqs.weight").reshape(-1).astype(np.float64)
    low, high, original = LLAMA3_ROPE
    factor = float(stored[-1]) if stored.size else 0.0
    if stored.size == head_size // 2 and np.isfinite(stored).all() and factor >= 1.0:
        wavelength = 2 * math.pi * theta ** (np.arange(0, head_size, 2) / head_size)
        smooth = np.clip((original / wavelength - low) / (high - low), 0.0, 1.0)
        if np.allclose(stored, 1 / ((1 - smooth) / factor + smooth), rtol=1e-4):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
    raise data.fault("its rotary frequency factors follow no known rule", mend="give the Hugging Face directory")


def _qwen2(file: Described, data: _Metadata) -> Layout:
    """Qwen 1.5, 2 and 2.5: biases on q, k and v."""
    shape = _shape(file, data)
    if shape.head_size * shape.heads != shape.hidden:
        raise data.fault("qwen2 with a head size of its own cannot be read")
    config = _config(data, shape, "qwen2", "Qwen2ForCausalLM") | {"hidden_act": "silu", "use_sliding_window": False}
    return Layout(config, _block_rules(shape, _PRE_NORMS) + _bias_rules(shape, rotary=False, output=False))


def _qwen3(file: Described, data: _Metadata) -> Layout:
    """Qwen 3: norms on the heads of q and k, no biases."""
    shape = _shape(file, data, head_size=128)
    config = _config(data, shape, "qwen3", "Qwen3ForCausalLM")
    config |= {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False}
    return Layout(config, _block_rules(shape, _PRE_NORMS) + _head_norm_rules(shape, offset=0.0))


_GEMMA_NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def _gemma3(file: Described, data: _Metadata) -> Layout:
    """Gemma 3, text: five layers that see a window, then one that sees all; norm weights are stored plus one."""
    shape = _shape(file, data, head_size=256)
    config = _config(data, shape, "gemma3_text", "Gemma3ForCausalLM")
    full = config["rope_parameters"]
    if data.find("rope.freq_base") is None:
        full["rope_theta"] = 1_000_000.0
    local = {"rope_type": "default", "rope_theta": data.number("rope.freq_base_swa", 10_000.0)}
    period = data.integer("attention.sliding_window_pattern", 6)
    config |= {
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "sliding_window": data.integer("attention.sliding_window"),
        # llama.cpp scales by the head size, except in the 27B model (62 layers): by hidden size / heads.
        "query_pre_attn_scalar": shape.hidden // shape.heads if shape.layers == 62 else shape.head_size,
        "layer_types": [
            "sliding_attention" if (layer + 1) % period else "full_attention" for layer in range(shape.layers)
        ],
        "rope_parameters": {"full_attention": full, "sliding_attention": local},
    }
    rules = _block_rules(shape, _GEMMA_NORMS, offset=-1.0) + _head_norm_rules(shape, offset=-1.0)
    return Layout(config, rules)


def _gemma(file: Described, data: _Metadata) -> Layout:
    """Gemma 1."""
    shape = _shape(file, data, head_size=256)
    config = _config(data, shape, "gemma", "GemmaForCausalLM")
    config |= {"hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu_pytorch_tanh", "attention_bias": False}
    return Layout(config, _block_rules(shape, _PRE_NORMS, offset=-1.0))


def _gemma2(file: Described, data: _Metadata) -> Layout:
    """Gemma 2: every other layer sees a window; attention scores and logits are capped."""
    shape = _shape(file, data, head_size=256)
    config = _config(data, shape, "gemma2", "Gemma2ForCausalLM")
    config |= {
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "sliding_window": data.integer("attention.sliding_window", 4096),
        "attn_logit_softcapping": data.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": data.number("final_logit_softcapping", 30.0),
        "query_pre_attn_scalar": shape.hidden // shape.heads if shape.layers == 46 else shape.head_size,  # 27B
        "layer_types": ["full_attention" if layer % 2 else "sliding_attention" for layer in range(shape.layers)],
    }
    return Layout(config, _block_rules(shape, _GEMMA_NORMS, offset=-1.0))


def _glm4(file: Described, data: _Metadata) -> Layout:
    """GLM-4-0414: gate and up in one matrix, half of each head rotated, norms after attention and MLP too."""
    shape = _shape(file, data)
    config = _config(data, shape, "glm4", "Glm4ForCausalLM")
    config["rope_parameters"]["partial_rotary_factor"] = data.integer("rope.dimension_count") / shape.head_size
    config["hidden_act"] = "silu"
    config["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
    norms = {
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_self_attn_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "post_ffw_norm": "post_mlp_layernorm",
    }
    rules = _block_rules(shape, norms, fused_gate=True)
    if config["attention_bias"]:
        rules += _bias_rules(shape, rotary=False, output=False)
    return Layout(config, rules)


def _phi3(file: Described, data: _Metadata) -> Layout:
    """Phi-3 and Phi-4 with the plain context: q, k, v in one matrix, gate and up in one."""
    if any(name.startswith("rope_factors") for name in file.tensors):
        raise data.fault("phi3 with long-context factors cannot be read", mend="give the Hugging Face directory")
    shape = _shape(file, data)
    config = _config(data, shape, "phi3", "Phi3ForCausalLM")
    config["rope_parameters"]["partial_rotary_factor"] = (
        data.integer("rope.dimension_count", shape.head_size) / shape.head_size
    )
    config |= {
        "hidden_act": "silu",
        "original_max_position_embeddings": config["max_position_embeddings"],
        "sliding_window": data.integer("attention.sliding_window", config["max_position_embeddings"]),
    }
    return Layout(config, _block_rules(shape, _PRE_NORMS, fused_qkv=True, fused_gate=True))


FAMILIES: dict[str, Callable[[Described, _Metadata], Layout]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "glm4": _glm4,
    "phi3": _phi3,
}
