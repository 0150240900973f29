"""The model of a recipe, ready to train, without its weights: of the whole depth, or cut to a few layers.

Shapes come from the base's configuration alone. transformers and PEFT build on PyTorch's `meta` device, and the
functions that put adapters and heads on are those of a real run. A model of few layers is enough where all layers are
alike: what it needs grows by the same amount with each (`alike` proves that on the parameters).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from camelid.config import Recipe
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.adapters import Trainable
from camelid.model.attend import TREE_ATTENTION
from camelid.model.class_head import add_class_head
from camelid.model.fused import fuse
from camelid.model.layout import ordinary_attention, why_not_tree
from camelid.model.load import check_config
from camelid.model.quantised_load import shape_quantised
from camelid.model.resolve import read_json
from camelid.model.task_info import TaskInfo
from camelid.train.plan.ledger import materialise
from camelid.train.setup import make_trainable


@dataclass(frozen=True)
class Base:
    """What is known of a base before its weights are read. adapter: one that it brings and that is trained on."""

    directory: Path
    config: Any
    adapter: Path | None = None

    @property
    def layers(self) -> int:
        """How many decoder layers it has."""
        return self.config.get_text_config().num_hidden_layers


@dataclass(frozen=True)
class Sizes:
    """How many parameters there are, and how many of them are trained."""

    parameters: int
    trained: int


def read_base(directory: Path, adapter: Path | None = None) -> Base:
    """Raises UserError for a configuration that transformers cannot make sense of."""
    check_config(directory)
    try:
        return Base(directory, AutoConfig.from_pretrained(directory, trust_remote_code=False), adapter)
    except (ValueError, OSError, KeyError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"transformers cannot read this base: {lines[0][:300]}", where=str(directory)) from error


def build(
    recipe: Recipe,
    base: Base,
    vocabulary: Vocabulary,
    task: TaskInfo | None,
    dtype: torch.dtype,
    depth: int,
    *,
    gpu: bool = False,
) -> tuple[Trainable, str]:
    """(model on the meta device with `depth` layers, its layout); the weights are in the type that a run loads.

    gpu: quantised weights as bitsandbytes has them, which leaves the embedding and the head in float
    """
    recipe = as_drawn(recipe, base.adapter)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            _of_depth(base.config, depth),
            dtype=dtype if recipe.has_adapter else torch.float32,
            trust_remote_code=False,
        )
        if recipe.quantization != "none":
            shape_quantised(model, recipe.quantization, bitsandbytes=gpu)
        fuse(model)
        layout = "tree" if recipe.layout == "tree" and why_not_tree(model) is None else "separate"
        model.set_attn_implementation(TREE_ATTENTION if layout == "tree" else ordinary_attention(model))
        trainable = make_trainable(recipe, model, vocabulary)
        if task is not None:
            add_class_head(trainable.lm, task, seed=0)
    trainable.ready(checkpointing=recipe.gradient_checkpointing)
    return trainable, layout


def as_drawn(recipe: Recipe, adapter: Path | None) -> Recipe:
    """The recipe with what needs the weights' values left out (where an adapter begins), its sizes as they will be."""
    virtual = {"init": "random", "init_text": None}
    lora: dict[str, Any] = {"init_lora_weights": True}
    prefix, prompt = dict(virtual), dict(virtual)
    if adapter is not None and recipe.has_adapter:
        saved = read_json(adapter / "adapter_config.json")
        lora |= {key: saved[key] for key in ("r", "target_modules", "use_dora") if saved.get(key) is not None}
        count = saved.get("num_virtual_tokens") or saved.get("adapter_len")
        for values in (prefix, prompt) if count else ():
            values["num_virtual_tokens"] = count
    return recipe.model_copy(
        update={
            "lora": recipe.lora.model_copy(update=lora),
            "prefix": recipe.prefix.model_copy(update=prefix),
            "prompt": recipe.prompt.model_copy(update=prompt),
        }
    )


def sizes(trainable: Trainable) -> Sizes:
    """Counted as a run counts them."""
    trained, everything = trainable.count()
    return Sizes(everything, trained)


def depths(base: Base, recipe: Recipe, sizes_at: Callable[[int], Sizes]) -> tuple[int, int]:
    """Two depths from which the rest follows in a straight line; (whole, whole) where layers differ.

    sizes_at: counts the parameters of the model of a depth
    """
    whole = base.layers
    if names_layers(recipe):
        return whole, whole
    first = 2 + (recipe.freeze.last_layers if recipe.method == "freeze" else 0)
    second = first + 2
    text = base.config.get_text_config().to_dict()
    kinds = set(text.get("layer_types") or [])
    window = text.get("sliding_window") if len(kinds) > 1 else None
    if second >= whole or (window is not None and window < recipe.row_tokens):
        return whole, whole
    a, b, all_of_it = (sizes_at(depth) for depth in (first, second, whole))
    steps = (whole - first) / (second - first)
    alike = all(
        round(x + (y - x) * steps) == z
        for x, y, z in ((a.parameters, b.parameters, all_of_it.parameters), (a.trained, b.trained, all_of_it.trained))
    )
    return (first, second) if alike else (whole, whole)


def names_layers(recipe: Recipe) -> bool:
    """Whether a pattern of the recipe may name single layers, which a model of fewer does not have."""
    targets = recipe.lora.target_modules
    by_pattern = recipe.method == "lora" and isinstance(targets, str) and targets != "all-linear"
    return by_pattern or (recipe.method == "freeze" and bool(recipe.freeze.trainable))


def stand_in(tensor: Tensor) -> Tensor:
    """A tensor of the shape and type of one on the meta device, on the CPU (without memory inside `without_memory`)."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")


def drawn(tensor: Tensor) -> Tensor:
    """The same with small random numbers, for a model that is really run; norms are ones."""
    new = stand_in(tensor)
    with torch.no_grad():
        if not new.is_floating_point():
            return new.zero_()
        return new.fill_(1.0) if new.ndim < 2 else new.uniform_(-0.03, 0.03)


def filled(trainable: Trainable, make: Callable[[Tensor], Tensor]) -> nn.Module:
    """The model with memory behind its tensors, as `make` gives it."""
    materialise(trainable.lm, make)
    return trainable.lm


def _of_depth(config: Any, depth: int) -> Any:
    config = copy.deepcopy(config)
    text = config.get_text_config()
    if depth != text.num_hidden_layers:
        kinds = text.to_dict().get("layer_types")
        text.num_hidden_layers = depth
        if kinds:
            text.layer_types = kinds[:depth]
    return config
