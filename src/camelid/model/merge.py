"""Adding a LoRA adapter's update to the base's weights, and taking it out again exactly.

W + sBA is computed in float32 by PEFT, as `merge_and_unload` does. Subtracting it again would leave rounding behind,
so unmerging puts back the very weights that were there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from camelid.errors import UserError
from camelid.model.quantised import QuantisedWeight


@contextmanager
def merged(peft: PeftModel) -> Iterator[None]:
    """The adapter inside the weights for the length of a block; afterwards every weight is, bit for bit, as before.

    Costs a copy of the adapted weights. Raises `UserError` for an adapter whose update is not finite.
    """
    layers = [module for module in peft.modules() if isinstance(module, BaseTunerLayer)]
    with _in_float(layers):
        yield from _merged(peft, layers)


def _merged(peft: PeftModel, layers: Sequence[BaseTunerLayer]) -> Iterator[None]:
    kept = {name: value.detach().clone() for layer in layers for name, value in _base_weights(layer)}
    try:
        try:
            peft.merge_adapter(safe_merge=True)  # type: ignore[operator]
        except ValueError as error:
            raise UserError(
                f"the adapter cannot be merged: {error}", mend="it is damaged: train or copy it again"
            ) from error
        yield
    finally:
        with torch.no_grad():
            for layer in layers:
                if layer.merged:  # not those after one that could not be merged
                    layer.unmerge()
                for name, value in _base_weights(layer):
                    value.copy_(kept[name])


@contextmanager
def _in_float(layers: Sequence[BaseTunerLayer]) -> Iterator[None]:
    """Quantised weights take no update: their float values stand in for them."""
    stored = {layer: weight for layer in layers if isinstance(weight := layer.get_base_layer().weight, QuantisedWeight)}
    for layer, weight in stored.items():
        layer.get_base_layer().weight = nn.Parameter(weight.dense(), requires_grad=False)
    try:
        yield
    finally:
        for layer, weight in stored.items():
            layer.get_base_layer().weight = weight


def _base_weights(layer: BaseTunerLayer) -> Iterator[tuple[str, Tensor]]:
    """The parameters of the module that a layer adapts."""
    for name, value in layer.get_base_layer().named_parameters():
        yield f"{id(layer)}.{name}", value


def merge(peft: PeftModel) -> torch.nn.Module:
    """The plain model with the adapter inside its weights, for good. Raises `UserError` as `merged` does."""
    try:
        return peft.merge_and_unload(safe_merge=True)  # type: ignore[operator]
    except ValueError as error:
        raise UserError(
            f"the adapter cannot be merged: {error}", mend="it is damaged: train or copy it again"
        ) from error
