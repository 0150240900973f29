"""What the tests of export have in common: the tiny tokenizer as an `Exported`, and a plan over it."""

from __future__ import annotations

from typing import Any

from tiny import tiny_base
from transformers import PreTrainedModel

from camelid.data.render import Renderer
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary
from camelid.model.export import Exported, GGUFPlan, plan_gguf


def about_tiny(*, license: str | None = None) -> Exported:
    """The tokenizer and ChatML template of `tiny_base`."""
    directory = tiny_base()
    vocabulary = Vocabulary.from_directory(directory)
    template: Any = template_for("auto", vocabulary)
    stop_ids = Renderer(vocabulary, template, 512).stop_ids
    return Exported("tiny", "A tiny model", directory, vocabulary, template, stop_ids, "A tiny base", license)


def plan_of(model: PreTrainedModel) -> GGUFPlan:
    """The plan of a GGUF file for a tiny model with the tiny tokenizer."""
    return plan_gguf(model, about_tiny())
