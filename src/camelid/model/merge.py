"""Adding a LoRA adapter's update to the base's weights, and taking it out again exactly.

W + sBA is computed in float32 by PEFT, as `merge_and_unload` does. Subtracting it again would leave rounding behind,
so unmerging puts back the very weights that were there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from camelid.errors import UserError


@contextmanager
def merged(peft: PeftModel) -> Iterator[None]:
    """The adapter inside the weights for the length of a block; afterwards every weight is, bit for bit, as before.

    Costs a copy of the adapted weights. Raises `UserError` for an adapter whose update is not finite.
    """
    layers = [module for module in peft.modules() if isinstance(module, BaseTunerLayer)]
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
