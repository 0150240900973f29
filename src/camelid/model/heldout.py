"""The loss on rows that nothing is learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import nn

from camelid.data.pack import Row
from camelid.model.class_head import learnt_of
from camelid.model.layout import hidden_states


@torch.no_grad()
def held_out_nll(lm: nn.Module, rows: Sequence[Row], layout: str, *, autocast: bool = False) -> tuple[float, float]:
    """(summed negative log-probability in nats of what rows would teach, summed weight of it), without dropout."""
    was_training = lm.training
    lm.eval()
    total = weight = 0.0
    device = next(lm.parameters()).device
    for row in rows:
        with torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext():
            out = learnt_of(lm, hidden_states(lm, row.tree, layout), row)
        total -= float((out.weight * out.logp).sum())
        weight += float(out.weight.sum())
    lm.train(was_training)
    return total, weight
