"""What a checkpoint holds of a training run, and how it comes back bit for bit.

Weights and optimiser state are tensors under the parameters' names. There is no random state to keep: every draw of
a step comes from a generator seeded by (seed, step, rank), and the data order is a function of the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from camelid.errors import UserError


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch for one optimiser step, so that its dropout and noise do not depend on what ran before."""
    digest = hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def state_tensors(parameters: Mapping[str, nn.Parameter], optimizers: list[Optimizer]) -> dict[str, dict[str, Tensor]]:
    """Tensors by file stem: `weights` by parameter name, `optimizer` by `<parameter name>:<state key>`."""
    moments: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                if not isinstance(value, Tensor):
                    raise TypeError(f"optimiser state {key} of {name} is no tensor")
                moments[f"{name}:{key}"] = value
    return {"weights": {name: p.detach() for name, p in parameters.items()}, "optimizer": moments}


def restore_tensors(
    tensors: Mapping[str, Mapping[str, Tensor]], parameters: Mapping[str, nn.Parameter], optimizers: list[Optimizer]
) -> None:
    """Put a checkpoint's tensors back. Raises UserError naming what is missing or does not fit, before any change."""
    weights, moments = tensors.get("weights", {}), tensors.get("optimizer", {})
    difference = set(weights) ^ set(parameters)
    if difference:
        raise UserError(
            f"the checkpoint trains other weights ({sorted(difference)[0]})", mend="start anew with resume=no"
        )
    for name, parameter in parameters.items():
        if weights[name].shape != parameter.shape:
            raise UserError(f"{name} has another shape in the checkpoint", mend="start anew with resume=no")
    owner = {id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    restored: dict[str, dict[str, Tensor]] = {}
    for full, value in moments.items():
        name, _, key = full.rpartition(":")
        restored.setdefault(name, {})[key] = value
    if moments and set(restored) != set(parameters):
        missing = sorted(set(parameters) ^ set(restored))[0]
        raise UserError(f"the checkpoint lacks the optimiser's state of {missing}", mend="start anew with resume=no")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
            if name in restored:
                owner[id(parameter)].state[parameter] = {
                    key: value.clone() if key == "step" else value.to(parameter.device, copy=True)
                    for key, value in restored[name].items()
                }
