"""Optimisers and learning-rate schedules: torch's own, but for Muon (train/muon.py says why)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.optim import Optimizer

from camelid.config import Recipe
from camelid.train.muon import Muon

_FACTOR = "lr_factor"  # of a parameter group


def make_optimizers(recipe: Recipe, parameters: Mapping[str, nn.Parameter], *, embeddings: set[str]) -> list[Optimizer]:
    """One or two optimisers over the trained parameters.

    Weight decay acts on matrices only. `muon` (Jordan et al. 2024) takes the hidden matrices; embeddings (names in
    `embeddings`), norms and biases stay with AdamW, as its authors advise.
    """
    matrices = [p for name, p in parameters.items() if p.ndim == 2]
    others = [p for p in parameters.values() if p.ndim != 2]
    betas = (recipe.adam_beta1, recipe.adam_beta2)
    if recipe.optim == "muon":
        hidden = [p for name, p in parameters.items() if p.ndim == 2 and name not in embeddings]
        rest = [p for name, p in parameters.items() if p.ndim != 2 or name in embeddings]
        made: list[Optimizer] = []
        if hidden:
            made.append(Muon(hidden, recipe.learning_rate, weight_decay=recipe.weight_decay))
        if rest:
            made.append(torch.optim.AdamW(rest, lr=recipe.learning_rate, betas=betas, weight_decay=0.0))
        return made
    # LoRA+ (Hayou et al. 2024): an adapter's B has a rate of its own
    b = [p for name, p in parameters.items() if p.ndim == 2 and ("lora_B" in name or "lora_embedding_B" in name)]
    of_b = {id(p) for p in b}
    groups = [
        {"params": [p for p in matrices if id(p) not in of_b], "weight_decay": recipe.weight_decay},
        {"params": b, "weight_decay": recipe.weight_decay, _FACTOR: recipe.lora.loraplus_lr_ratio},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optim == "adafactor":
        return [torch.optim.Adafactor(groups, lr=recipe.learning_rate)]
    return [torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=betas, eps=recipe.adam_epsilon)]


def learning_rate_factor(recipe: Recipe, total_steps: int) -> Callable[[int], float]:
    """Factor on the peak learning rate for optimiser step 0, 1, ... total_steps - 1.

    A pure function of the step: resuming needs no scheduler state.
    """
    warmup = recipe.warmup_steps or math.ceil(recipe.warmup_ratio * total_steps)
    low = recipe.min_lr_ratio
    decay = max(1, math.ceil(recipe.decay_ratio * total_steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, total_steps - warmup)
        if recipe.lr_scheduler_type == "cosine":
            return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress))
        if recipe.lr_scheduler_type == "linear":
            return low + (1 - low) * (1 - progress)
        if recipe.lr_scheduler_type == "warmup_stable_decay":
            left = total_steps - step
            return 1.0 if left > decay else low + (1 - low) * left / decay
        return 1.0

    return factor


def set_learning_rate(optimizers: list[Optimizer], rate: float) -> None:
    """Give every parameter group this rate for the coming step, times its own factor."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get(_FACTOR, 1.0)


def pull_to_start(optimizers: list[Optimizer], strength: float) -> None:
    """L2-SP (Li et al. 2018), decoupled as AdamW's decay is: after each step w -= rate * strength * (w - start).

    The start is what the weights are now; a copy of it is kept. What was pulled is no state: a resumed run starts from
    the same weights before it takes its checkpoint's.
    """
    starts = {p: p.detach().clone() for o in optimizers for group in o.param_groups for p in group["params"]}

    @torch.no_grad()
    def pull(optimizer: Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.lerp_(starts[parameter], min(1.0, group["lr"] * strength))

    for optimizer in optimizers:
        optimizer.register_step_post_hook(pull)
