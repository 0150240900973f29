"""Tiny models with virtual tokens of every kind, whose vectors are far from doing nothing."""

from __future__ import annotations

import torch
from tiny import tiny_base, tiny_model
from torch import nn

from camelid.data.vocabulary import Vocabulary
from camelid.model.adapters import Trainable
from camelid.model.fused import fuse
from camelid.model.layout import choose_layout
from camelid.model.virtual_start import add_input_tokens, add_layer_tokens
from camelid.model.virtual_tokens import GatedTokens
from camelid.recipe_sections import PrefixSettings, PromptSettings

KINDS = ("prompt", "ptuning", "prefix", "ptuning2", "gated")
COUNT = 5  # virtual tokens: less than the tiny models' window of 6, so that it leaves some behind in mid-text


def virtual_model(architecture: str, kind: str, *, layout: str = "tree", init: str = "random") -> Trainable:
    """A tiny base with virtual tokens of one kind; a gate of 0.7 where there is one."""
    model: nn.Module = tiny_model(architecture)
    fuse(model)
    choose_layout(model, layout)
    vocabulary = Vocabulary.from_directory(tiny_base())
    fields = {"num_virtual_tokens": COUNT, "init": init}
    if kind in ("prompt", "ptuning"):
        settings = PromptSettings.model_validate(fields)
        return add_input_tokens(model, settings, encoded=kind == "ptuning", vocabulary=vocabulary, seed=1)
    settings = PrefixSettings.model_validate({**fields, "zero_gate": kind == "gated"})
    made = add_layer_tokens(model, settings, projection=kind == "prefix", vocabulary=vocabulary, seed=1)
    if isinstance(made.virtual, GatedTokens):
        with torch.no_grad():
            for gate in made.virtual.gates:
                gate.fill_(0.7)
    return made
