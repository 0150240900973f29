"""A LoRA adapter as a GGUF file, which llama.cpp and Ollama put on a base that stays as it is.

llama.cpp computes Wx + (alpha / r) B A x, with alpha from the file's metadata and r from the tensor's shape. Adapters
that compute something else (DoRA, biases, modules trained in full, an initialisation that changed the base) are
refused: they can be merged. Rows of B follow the base's layout: the rotary order of q and k in Llama.

Format: llama.cpp's convert_lora_to_gguf.py and llama-adapter.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from peft import LoraConfig, PeftModel
from peft.tuners.lora.layer import LoraLayer
from torch import nn

from camelid.errors import UserError
from camelid.model.gguf_layout import Layout, Rule
from camelid.model.gguf_metadata import Plan
from camelid.model.gguf_write import KINDS, halves_together, write_value

_PLAIN_STARTS = (True, False, "gaussian")  # initialisations that leave the base as it is
_MERGE = "export it merged, without --lora-only"


@dataclass(frozen=True, slots=True)
class _Pair:
    """One adapted matrix: a (r, in), b (out, r), both float32, and the factor on their product."""

    rule: Rule
    a: np.ndarray
    b: np.ndarray
    scaling: float


def write_lora(path: Path, peft: PeftModel, plan: Plan, layout: Layout, *, kind: str, name: str) -> int:
    """Write the adapter; how many matrices it adapts. Raises `UserError` for one that llama.cpp cannot apply.

    kind: "f32" or "f16". `plan` and `layout` are the base's.
    """
    from gguf import GGUFWriter

    if kind not in ("f32", "f16"):
        raise UserError(f"an adapter is written as f32 or f16, not as {kind}", mend="add --quantise f32")
    config = peft.peft_config["default"]
    _check_plain(config)
    assert isinstance(config, LoraConfig)
    pairs = _pairs(peft.get_base_model(), layout)
    alpha = float(config.lora_alpha)
    writer = GGUFWriter(path, plan.family)
    writer.add_type("adapter")
    writer.add_name(name)
    write_value(writer, "general.file_type", KINDS[kind][1])
    write_value(writer, "adapter.type", "lora")
    write_value(writer, "adapter.lora.alpha", alpha)
    dtype = np.float32 if kind == "f32" else np.float16
    for pair in pairs:
        # llama.cpp scales by alpha / r everywhere; where ours is another factor (rsLoRA, patterns), B takes it up.
        b = pair.b * np.float32(pair.scaling * pair.a.shape[0] / alpha)
        writer.add_tensor(f"{pair.rule.source}.lora_a", pair.a.astype(dtype))
        writer.add_tensor(f"{pair.rule.source}.lora_b", b.astype(dtype))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return len(pairs)


def _check_plain(config: object) -> None:
    if not isinstance(config, LoraConfig):
        raise UserError("only LoRA adapters can be written as a GGUF adapter", mend=_MERGE)
    faults = {
        "it is a DoRA adapter": config.use_dora,
        "it trains biases": config.bias != "none",
        "it trains modules in full (modules_to_save)": bool(config.modules_to_save),
        f"its initialisation changed the base ({config.init_lora_weights})": config.init_lora_weights
        not in _PLAIN_STARTS,
        "its alpha is zero": not config.lora_alpha,
    }
    for what, holds in faults.items():
        if holds:
            raise UserError(f"this adapter cannot be written as a GGUF adapter: {what}", mend=_MERGE)


def _pairs(lm: nn.Module, layout: Layout) -> list[_Pair]:
    rules = {rule.target: rule for rule in layout.rules}
    found = []
    for name, module in lm.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        rule = rules.get(f"{name}.weight")
        if rule is None or "default" not in module.lora_A:
            raise UserError(f"llama.cpp has no place for an adapter on {name}", mend=_MERGE)
        a = module.lora_A["default"].weight.detach().float().numpy()  # type: ignore[union-attr]
        b = module.lora_B["default"].weight.detach().float().numpy()  # type: ignore[union-attr]
        if rule.heads:
            b = halves_together(b, rule.heads)
        found.append(_Pair(rule, a, b, float(module.scaling["default"])))
    if not found:
        raise UserError("the adapter adapts no matrix", mend=_MERGE)
    return found
