"""A Hugging Face config -> the metadata of a GGUF file, and the rule for every tensor.

The inverse of gguf_layout.py, and proven to be: the metadata is read back through it before anything is written, and
every figure of the config must come out as it went in. So a config that GGUF cannot carry (another activation, an
unknown rotary scaling, a window that llama.cpp would forget) is refused here, and never written as something else.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and llama.cpp's convert_hf_to_gguf.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from camelid.errors import UserError
from camelid.model.gguf import TensorInfo, Value
from camelid.model.gguf_layout import Layout, layout_of

# transformers' model_type -> llama.cpp's architecture. Mistral is computed as Llama is.
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "glm4": "glm4",
}
ROPE_FACTORS = "rope_freqs.weight"
# What a layout's config says that need not be in the original: names of classes, and what has no effect on a logit.
_FREE = {"architectures", "model_type", "dtype", "use_cache", "max_position_embeddings", "use_sliding_window"}
# What changes a model's logits and has no place in the layout of any family but those that name it.
_MUST_BE_OFF = (
    "attn_logit_softcapping", "final_logit_softcapping", "attention_bias", "mlp_bias", "logit_scale",
    "use_bidirectional_attention", "quantization_config",
)  # fmt: skip
_F32 = 0  # ggml's number of the type


@dataclass(frozen=True, slots=True)
class Plan:
    """A GGUF file that is yet to be written, as `gguf_layout.layout_of` wants to see it.

    metadata: architecture and figures, without the tokenizer; extra: tensors that no weight of the model is the source
    of (float32); tensors: those whose presence or shape says something about the architecture.
    """

    path: Path
    family: str
    metadata: dict[str, Value]
    tensors: dict[str, TensorInfo]
    extra: dict[str, np.ndarray] = field(default_factory=dict)

    def values(self, name: str) -> np.ndarray:
        """The values of an extra tensor."""
        return self.extra[name]


def plan_file(config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]], where: Path) -> tuple[Plan, Layout]:
    """The metadata for a model of this config (transformers' `to_dict`), and its layout.

    names: the shape of every weight by its Hugging Face name, tied ones once. `where` is for messages.
    Raises `UserError` for an architecture or a setting that a GGUF file of it cannot carry.
    """
    kind = str(config.get("model_type"))
    family = ARCHITECTURES.get(kind)
    if family is None:
        raise UserError(
            f"models of the type {kind!r} cannot be written as GGUF",
            where=str(where),
            mend=f"known are {', '.join(ARCHITECTURES)}; or use --format hf",
        )
    config = {**config, "head_dim": _head_size(config)}
    figures = {**_shared(config), **_rope(config, where), **_OWN.get(family, lambda config: {})(config)}
    metadata: dict[str, Value] = {"general.architecture": family}
    metadata |= {f"{family}.{key}": value for key, value in figures.items() if value is not None}
    plan = Plan(where, family, metadata, _telling_tensors(config, names))
    if _rope_type(config) == "llama3":
        plan.extra[ROPE_FACTORS] = _llama3_factors(config)
        shape = plan.extra[ROPE_FACTORS].shape
        plan.tensors[ROPE_FACTORS] = TensorInfo(ROPE_FACTORS, shape, _F32, 0, 4 * shape[0])
    layout = _read_back(plan, names)
    _check_config(config, layout, where)
    return plan, layout


def _read_back(plan: Plan, names: Mapping[str, tuple[int, ...]]) -> Layout:
    """The layout that the metadata gives; its rules must name exactly the model's weights, in their shapes."""
    layout = layout_of(plan)
    wanted = {rule.target: rule.shape for rule in layout.rules}
    wrong = sorted(name for name in {*wanted, *names} if wanted.get(name) != names.get(name))
    if wrong:
        has, needs = names.get(wrong[0], "nothing"), wanted.get(wrong[0], "nothing")
        raise UserError(
            f"{len(wrong)} weights are not as llama.cpp's {plan.family} has them, such as {wrong[0]}: the model has "
            f"{has}, a GGUF file would have {needs}",
            where=str(plan.path),
            mend="use --format hf",
        )
    return layout


def _check_config(config: Mapping[str, Any], layout: Layout, where: Path) -> None:
    """Every figure comes back as it went in. What only one of the two mentions must be off."""
    unnamed = {key: None for key in _MUST_BE_OFF if key not in layout.config}
    for key, read in {**layout.config, **unnamed}.items():
        if key in _FREE:
            continue
        given = config.get(key)
        if key == "rope_parameters":
            same = _plain_rope(given) == _plain_rope(read)
        elif isinstance(read, float):
            same = given is not None and math.isclose(read, given, rel_tol=1e-6)
        else:
            same = (given or None) == (read or None)
        if not same:
            raise UserError(
                f"this model's {key} is {given!r}, and in a GGUF file it would be {read!r}",
                where=str(where),
                mend="llama.cpp cannot compute this model; use --format hf",
            )


def _plain_rope(value: Any) -> Any:
    """Rotary settings as comparable numbers: without empty entries and those that are at their default."""
    if not isinstance(value, Mapping):
        return value
    plain = {k: _plain_rope(v) for k, v in value.items() if v is not None}
    if plain.get("partial_rotary_factor") == 1.0:
        del plain["partial_rotary_factor"]
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in plain.items()}


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that every decoder family has."""
    head_size = _head_size(config)
    return {
        "context_length": _context(config),
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config.get("num_key_value_heads") or config["num_attention_heads"],
        "attention.key_length": head_size,
        "attention.value_length": head_size,
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "vocab_size": config["vocab_size"],
    }


def _head_size(config: Mapping[str, Any]) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def _context(config: Mapping[str, Any]) -> int:
    """The longest text. llama.cpp gives Mistral and Qwen 2 no window, so it ends where a window would begin to act."""
    length, window = config["max_position_embeddings"], config.get("sliding_window")
    acts = config.get("model_type") == "mistral" or (
        config.get("model_type") in ("qwen2", "qwen3")
        and config.get("use_sliding_window")
        and "sliding_attention" in (config.get("layer_types") or ["sliding_attention"])
    )
    return min(length, window) if acts and window else length


def _full_rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary settings of the layers that see everything."""
    rope = config.get("rope_parameters") or {}
    return rope.get("full_attention", rope)


def _rope_type(config: Mapping[str, Any]) -> str:
    return str(_full_rope(config).get("rope_type", "default"))


def _rope(config: Mapping[str, Any], where: Path) -> dict[str, Any]:
    rope, kind = _full_rope(config), _rope_type(config)
    found: dict[str, Any] = {"rope.freq_base": float(rope.get("rope_theta", 10_000.0))}
    if kind in ("linear", "yarn"):
        found |= {"rope.scaling.type": kind, "rope.scaling.factor": float(rope["factor"])}
    elif kind not in ("default", "llama3"):
        raise UserError(
            f"the rotary scaling {kind!r} cannot be written as GGUF", where=str(where), mend="use --format hf"
        )
    if kind == "yarn":
        found["rope.scaling.original_context_length"] = int(rope["original_max_position_embeddings"])
    return found


def _llama3_factors(config: Mapping[str, Any]) -> np.ndarray:
    """(head size / 2,) float32: llama.cpp's divisor of each frequency, for Llama 3.1's rule (its section on RoPE)."""
    rope, size = _full_rope(config), _head_size(config)
    low, high, original = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    wavelength = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, size, 2) / size)
    smooth = np.clip((original / wavelength - low) / (high - low), 0.0, 1.0)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def _telling_tensors(config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    """The tensors that `gguf_layout` asks for: the embedding, a head of its own, biases."""
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (config["vocab_size"], config["hidden_size"])}
    if "lm_head.weight" in names:
        found["output.weight"] = found["token_embd.weight"]
    bias = names.get("model.layers.0.self_attn.q_proj.bias")
    if bias is not None:
        found["blk.0.attn_q.bias"] = bias
    return {name: TensorInfo(name, shape, _F32, 0, 4 * math.prod(shape)) for name, shape in found.items()}


# -- the families ---------------------------------------------------------------------------------------------------


def _rotary_part(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"rope.dimension_count": int(_head_size(config) * _full_rope(config).get("partial_rotary_factor", 1.0))}


def _gemma2(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "attention.sliding_window": config["sliding_window"],
        "attn_logit_softcapping": float(config["attn_logit_softcapping"]),
        "final_logit_softcapping": float(config["final_logit_softcapping"]),
    }


def _gemma3(config: Mapping[str, Any]) -> dict[str, Any]:
    """The window, after how many layers one sees everything, and the rotary base of those with a window."""
    kinds = config["layer_types"]
    period = kinds.index("full_attention") + 1 if "full_attention" in kinds else len(kinds) + 1
    return {
        "attention.sliding_window": config["sliding_window"],
        "attention.sliding_window_pattern": period,
        "rope.freq_base_swa": float(config["rope_parameters"]["sliding_attention"]["rope_theta"]),
    }


_OWN: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "llama": _rotary_part,
    "glm4": _rotary_part,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
}
