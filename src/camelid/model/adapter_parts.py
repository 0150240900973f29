"""An adapter taken apart: what it does to each linear layer of its base, so that packed layers can carry it.

LoRA in its plain form is a low-rank update. Any other kind that PEFT can merge into a linear layer (DoRA and kin)
becomes the merged weight of that layer. Virtual tokens of every kind become keys and values that a text begins with.
Oracle: PEFT's own forward (tests/model/test_adapter_parts.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.lora.layer import Linear as PeftLoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

from camelid.errors import UserError
from camelid.model.adapters import FusedLoraLinear, load_fused, scale_adapter
from camelid.model.packed_layers import PackedModel
from camelid.model.projection import Projection
from camelid.model.virtual import Virtual
from camelid.model.virtual_start import learned_layers
from camelid.model.virtual_tokens import InputTokens, VirtualTokens, is_virtual, load_virtual_tokens, refuse_scale


@dataclass
class AdapterParts:
    """What an adapter does.

    updates, weights: of each adapted linear layer, by its name in the base: its low-rank update, or its weight with it
    virtual: keys and values before every text; first: input embeddings (P, W) instead, for a base of layout 'separate'
    """

    updates: dict[str, Projection] = field(default_factory=dict)
    weights: dict[str, tuple[Tensor, Tensor | None]] = field(default_factory=dict)
    virtual: Virtual | None = None
    first: Tensor | None = None

    def put_on(self, packed: PackedModel, name: str) -> None:
        """Let packed layers carry this adapter under `name`."""
        for place, update in self.updates.items():
            layer, part = packed.places[place]
            layer.add(name, part, update)
        for place, (weight, bias) in self.weights.items():
            layer, part = packed.places[place]
            layer.put(name, part, weight, bias)


def adapter_parts(model: nn.Module, directory: Path, layout: str = "tree", scale: float = 1.0) -> AdapterParts:
    """Take the adapter in `directory` apart; the base stays as it is. Raises UserError for one that cannot be.

    layout: the base's, as model/layout.py chose it; scale: as `scale_adapter` takes it
    """
    config = PeftConfig.from_pretrained(str(directory))
    if is_virtual(config):
        refuse_scale(scale, directory)
        return virtual_parts(model, load_virtual_tokens(model, directory, config), layout, str(directory))
    if config.is_prompt_learning:
        raise UserError(f"adapters of the kind {config.peft_type} cannot be answered with", where=str(directory))
    wrapped = load_fused(model, directory, config)
    scale_adapter(wrapped, scale, str(directory))
    inner = wrapped.get_base_model()
    parts = AdapterParts()
    try:
        for name, module in inner.named_modules():
            if isinstance(module, ModulesToSaveWrapper):
                raise _whole(name, directory)
            if isinstance(module, BaseTunerLayer):
                _take(parts, name, module, directory)
    finally:
        wrapped.unload()
    return parts


def virtual_parts(model: nn.Module, tokens: VirtualTokens, layout: str, where: str) -> AdapterParts:
    """Virtual tokens as a model that answers needs them. Raises UserError for a base that cannot take them."""
    if layout == "tree":
        return AdapterParts(virtual=learned_layers(model, tokens))
    if not isinstance(tokens, InputTokens):
        raise UserError(f"learned keys and values cannot be put into {type(model).__name__}", where=where)
    return AdapterParts(first=tokens.embeddings().detach())


def _take(parts: AdapterParts, name: str, module: Any, directory: Path) -> None:
    plain = module.projection() if isinstance(module, FusedLoraLinear) else None
    if plain is not None and plain.a is not None and plain.b is not None:
        parts.updates[name] = Projection(
            plain.weight, plain.bias, plain.a.detach().clone(), plain.b.detach().clone(), plain.scale
        )
        return
    if not isinstance(module, PeftLoraLinear):
        raise _whole(name, directory)
    base: Any = module.get_base_layer()
    weight, bias = _copied(base)
    with torch.no_grad():
        module.merge()
        parts.weights[name] = _copied(base)
        base.weight.copy_(weight)
        if bias is not None:
            base.bias.copy_(bias)
    module.merged_adapters.clear()


def _copied(base: Any) -> tuple[Tensor, Tensor | None]:
    return base.weight.detach().clone(), None if base.bias is None else base.bias.detach().clone()


def _whole(name: str, directory: Path) -> UserError:
    return UserError(
        f"the adapter does more to {name} than a linear layer's weight",
        where=str(directory),
        mend="merge it into its base: camelid export --format hf, and name what that wrote",
    )
