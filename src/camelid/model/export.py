"""Write a model for others: a merged Hugging Face directory, or a GGUF file for llama.cpp and Ollama.

The functions here write into a directory that is there (cli/export.py stages it) and return what was written; what it
is compared with afterwards is in export_check.py.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from camelid.data.templates.jinja import JinjaTemplate
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.bars import no_progress_bars
from camelid.model.gguf import GGUFFile, Value
from camelid.model.gguf_convert import values_of
from camelid.model.gguf_layout import Layout, read_layout
from camelid.model.gguf_metadata import Plan, plan_file
from camelid.model.gguf_vocabulary import token_table
from camelid.model.gguf_write import KINDS, write_gguf
from camelid.model.layout import ordinary_attention
from camelid.model.quantise import quantise
from camelid.model.tokenizer_files import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARD_SIZE = "5GB"  # as Hugging Face had it for years: small enough for every file system and hub
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
_SPARE = 1 << 26  # bytes for tokenizer, metadata and card


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export is about, beside the weights.

    label: of the model, for people; base: what it was made from, and its licence where that is known;
    tokenizer: the directory of its files; stop_ids: where an answer ends, the template's own end first.
    """

    name: str
    label: str
    tokenizer: Path
    vocabulary: Vocabulary
    template: JinjaTemplate
    stop_ids: tuple[int, ...]
    base: str
    license: str | None


def weights_of(lm: nn.Module) -> dict[str, Tensor]:
    """Every weight by its Hugging Face name, tied ones once; of a model under an adapter, the base's."""
    tied = bool(lm.config.get_text_config().tie_word_embeddings)  # type: ignore[union-attr]
    found = {}
    for name, value in lm.state_dict().items():
        if ".lora_" in name or (tied and name == "lm_head.weight"):
            continue
        found[name.replace(".base_layer.", ".")] = value
    return found


def require_room(directory: Path, needed: int) -> None:
    """Refuse, before anything is written, what will not fit. Raises `UserError`."""
    free = shutil.disk_usage(directory).free
    if free < needed + _SPARE:
        raise UserError(
            f"the export needs {(needed + _SPARE) / 1e9:.1f} GB on the disk, {free / 1e9:.1f} GB are free",
            where=str(directory),
            mend="free some space, or give --output on another disk",
        )


def write_hf(lm: nn.Module, about: Exported, directory: Path, kind: str, *, shard_size: str = SHARD_SIZE) -> None:
    """A directory as transformers, vLLM and TGI load it. Afterwards `lm` holds what was written, in float32.

    kind: one of DTYPES. Raises OSError, and `UserError` for weights that float16 cannot hold.
    """
    model: Any = lm
    if kind == "f16":
        _check_range(lm)
    settings = model.generation_config
    settings.eos_token_id = list(about.stop_ids)
    for name, token in (("bos_token_id", about.vocabulary.bos), ("pad_token_id", about.vocabulary.pad)):
        if token is not None:
            setattr(settings, name, about.vocabulary.id_of(token))
    attention = model.config._attn_implementation
    model.set_attn_implementation(ordinary_attention(lm))
    try:
        _cast(lm, DTYPES[kind])
        with no_progress_bars():
            model.save_pretrained(str(directory), safe_serialization=True, max_shard_size=shard_size)
    finally:
        _cast(lm, torch.float32)
        model.set_attn_implementation(attention)
    write_tokenizer(about.tokenizer, directory, about.template.source)


def _cast(lm: nn.Module, dtype: torch.dtype) -> None:
    """The parameters alone: `to` would also round what is never saved, such as the rotary frequencies."""
    for parameter in lm.parameters():
        parameter.data = parameter.data.to(dtype)


def _check_range(lm: nn.Module) -> None:
    largest = float(torch.finfo(torch.float16).max)
    for name, weight in weights_of(lm).items():
        if not float(weight.abs().max()) <= largest:
            raise UserError(f"the weight {name} is larger than float16 can hold", mend="use --quantise bf16")


@dataclass(frozen=True, slots=True)
class GGUFPlan:
    """Everything of a GGUF file but the values of its tensors; `notes` are for the user."""

    plan: Plan
    layout: Layout
    metadata: dict[str, Value]
    notes: tuple[str, ...]


def plan_gguf(lm: nn.Module, about: Exported) -> GGUFPlan:
    """Refuses, before anything is written, a model or tokenizer that llama.cpp would read as another one."""
    config = lm.config.to_dict()  # type: ignore[union-attr, operator]
    shapes = {name: tuple(value.shape) for name, value in weights_of(lm).items()}
    plan, layout = plan_file(config, shapes, about.tokenizer)
    table = token_table(
        about.tokenizer,
        about.vocabulary,
        rows=int(config["vocab_size"]),
        family=plan.family,
        template=about.template.source,
        stop_ids=about.stop_ids,
    )
    general: dict[str, Value] = {"general.type": "model", "general.name": about.label}
    if about.license:
        general["general.license"] = about.license
    return GGUFPlan(plan, layout, {**general, **table.metadata}, table.notes)


def write_model(path: Path, lm: nn.Module, planned: GGUFPlan, kind: str) -> None:
    """Write the model in any quantisation: those of llama.cpp go through a float32 file, which is removed again.

    Raises OSError and `UserError`.
    """
    direct = kind in KINDS
    first = path if direct else path.with_name(f"{path.name}.f32")
    write_gguf(first, weights_of(lm), planned.plan, planned.layout, planned.metadata, kind if direct else "f32")
    if not direct:
        try:
            quantise(first, path, kind)
        finally:
            first.unlink()


def take_stored_values(path: Path, lm: nn.Module) -> None:
    """Set the model's weights to what a GGUF file holds, so that only the runtime differs from here on."""
    weights = weights_of(lm)
    with GGUFFile(path) as file, torch.no_grad():
        for rule in read_layout(file).rules:
            flat, at = weights[rule.target].view(-1), 0
            for piece in values_of(file, rule):
                values = torch.from_numpy(piece.reshape(-1).copy())
                flat[at : at + len(values)] = values
                at += len(values)


def sizes(directory: Path) -> dict[str, int]:
    """Bytes of every file in a directory, by name."""
    return {path.name: path.stat().st_size for path in sorted(directory.iterdir()) if path.is_file()}


def estimated_bytes(lm: nn.Module, kinds: Sequence[str]) -> int:
    """About how many bytes files of these kinds take together."""
    per_value = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 1.07}
    values = sum(value.numel() for value in weights_of(lm).values())
    return int(sum(values * per_value.get(kind, 0.9) for kind in kinds))
