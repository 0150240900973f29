"""Who competes, and with which settings. Data only.

A contestant is a peer (a driver and an environment), what its users would set, and the number types it is run in.
Batch is what goes through the model at once; every contestant takes an optimiser step each 16 rows (a packed one: each
four packs of 512 tokens, about 18 rows).
"""

from dataclasses import dataclass, field
from typing import Any

ROWS_A_STEP = 16
TYPES = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class Contestant:
    """One line of the table. `types` maps a number type to the settings that bring it, merged over `settings`."""

    name: str
    peer: str
    settings: dict[str, Any]
    types: dict[str, dict[str, Any]] = field(default_factory=dict)
    note: str = ""

    def in_type(self, dtype: str) -> dict[str, Any]:
        """The settings of this contestant in one number type; nested dicts are merged one level deep."""
        merged = {key: dict(value) if isinstance(value, dict) else value for key, value in self.settings.items()}
        for key, value in self.types[dtype].items():
            if isinstance(value, dict):
                merged[key] = {**merged.get(key, {}), **value}
            else:
                merged[key] = value
        return merged


def _batch(size: int) -> dict[str, int]:
    return {"per_device_train_batch_size": size, "gradient_accumulation_steps": ROWS_A_STEP // size}


PACKS = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
TRL_TYPES = {
    "float32": {"sft": {"bf16": False}},
    # Base weights in bfloat16 too, so that autocast has nothing to convert in each pass.
    "bfloat16": {"sft": {"bf16": True, "model_init_kwargs": {"dtype": "bfloat16"}}},
}
LLAMAFACTORY_TYPES = {"float32": {}, "bfloat16": {"arguments": {"bf16": True}}}
UNSLOTH_TYPES = {"float32": {"dtype": "float32"}, "bfloat16": {"dtype": "bfloat16"}}
LITGPT_TYPES = {"float32": {"precision": "32-true"}, "bfloat16": {"precision": "bf16-true"}}
NO_CHECKPOINTING = {"gradient_checkpointing": False}
LF_NO_CHECKPOINTING = {"disable_gradient_checkpointing": True, "cutoff_len": 1024}


def _trl(name: str, sft: dict[str, Any], **more: Any) -> Contestant:
    return Contestant(name, "trl", {"sft": {**sft, **NO_CHECKPOINTING}, **more}, TRL_TYPES)


def _llamafactory(name: str, arguments: dict[str, Any]) -> Contestant:
    return Contestant(name, "llamafactory", {"arguments": {**LF_NO_CHECKPOINTING, **arguments}}, LLAMAFACTORY_TYPES)


def _litgpt(batch: int) -> Contestant:
    return Contestant(f"litgpt-b{batch}", "litgpt", {"micro_batch_size": batch}, LITGPT_TYPES)


def _unsloth(name: str, sft: dict[str, Any], **more: Any) -> Contestant:
    return Contestant(name, "unsloth", {"sft": sft, **more}, UNSLOTH_TYPES)


GROUPED = {"train_sampling_strategy": "group_by_length"}
CONTESTANTS = (
    Contestant(
        "trl-default",
        "trl",
        {"sft": {"gradient_accumulation_steps": 2}},
        {"float32": {"sft": {"bf16": False}}, "bfloat16": {}},
        note="SFTConfig as it comes: batch 8, activation checkpointing; its own type is bfloat16 by autocast",
    ),
    _trl("trl-b1", _batch(1)),
    _trl("trl-b4", _batch(4)),
    _trl("trl-b4-grouped", {**_batch(4), **GROUPED}),
    _trl("trl-packed", {**PACKS, "packing": True, "max_length": 512}),
    Contestant(
        "trl-b1-pure",
        "trl",
        {"sft": {**_batch(1), **NO_CHECKPOINTING, "bf16": False}, "adapter_bfloat16": True},
        {"bfloat16": {}},
        note="base and adapter in bfloat16, no autocast: not a setting of TRL's own, the user builds the model",
    ),
    Contestant(
        "llamafactory-default",
        "llamafactory",
        {"arguments": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": ROWS_A_STEP}},
        LLAMAFACTORY_TYPES,
        note="as its LoRA example: batch 1, activation checkpointing",
    ),
    _llamafactory("llamafactory-b1", _batch(1)),
    _llamafactory("llamafactory-b4", _batch(4)),
    _llamafactory("llamafactory-b4-grouped", {**_batch(4), **GROUPED, "disable_shuffling": False}),
    _llamafactory("llamafactory-neat-packing", {**PACKS, "packing": True, "neat_packing": True, "cutoff_len": 512}),
    _unsloth("unsloth-default", {"gradient_accumulation_steps": 2}, checkpointing="unsloth"),
    _unsloth("unsloth-b1", _batch(1)),
    _unsloth("unsloth-b4", _batch(4)),
    _unsloth("unsloth-b4-grouped", {**_batch(4), **GROUPED}),
    _unsloth("unsloth-b1-compiled", _batch(1), compile=True),
    _litgpt(1),
    _litgpt(4),
    Contestant("camelid", "camelid", {}, {"float32": {"dtype": "float32"}, "bfloat16": {"dtype": "bfloat16"}}),
)
BY_NAME = {contestant.name: contestant for contestant in CONTESTANTS}
ALIASES = {
    "all": tuple(BY_NAME),
    "default": ("trl-default", "llamafactory-b1", "llamafactory-neat-packing", "unsloth-b1-compiled", "camelid"),
    "trl-best": ("trl-b1",),
    "llamafactory-best": ("llamafactory-neat-packing",),
    "litgpt-best": ("litgpt-b1",),
}
