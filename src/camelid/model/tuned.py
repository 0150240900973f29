"""A model that was tuned, with its adapter on it in our own layers, so that it can be switched off and scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from peft import PeftConfig
from torch import nn

from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.adapters import Trainable, load_fused, scale_adapter
from camelid.model.fused import fuse
from camelid.model.layout import choose_layout
from camelid.model.load import load_model, source_vocabulary
from camelid.model.resolve import Source
from camelid.model.virtual_tokens import attach, is_virtual, load_virtual_tokens, refuse_scale


def load_tuned(
    source: Source, *, scale: float = 1.0, announce: Callable[[str], None] | None = None
) -> tuple[Trainable, Vocabulary, str]:
    """(model in float32, its tokenizer, its layout); nothing of it is trained. scale: how much of a LoRA adapter.

    Raises UserError for every fault of the files.
    """
    directory = source.adapter_directory
    model: nn.Module = load_model(replace(source, adapter_directory=None), dtype="float32", announce=announce).model
    fuse(model)
    layout, _ = choose_layout(model, "tree")
    if directory is None:
        if scale != 1:
            raise UserError("there is no adapter to scale", where=source.label)
        tuned = Trainable(model)
    else:
        tuned = _with_adapter(model, directory, scale)
    tuned.lm.requires_grad_(False).eval()
    return tuned, source_vocabulary(source), layout


def _with_adapter(model: nn.Module, directory: Path, scale: float) -> Trainable:
    config = PeftConfig.from_pretrained(str(directory))
    if is_virtual(config):
        refuse_scale(scale, directory)
        tokens = load_virtual_tokens(model, directory, config)
        attach(model, tokens)
        return Trainable(model, virtual=tokens)
    wrapped = load_fused(model, directory, config)
    scale_adapter(wrapped, scale, str(directory))
    return Trainable(wrapped.get_base_model(), wrapped)
