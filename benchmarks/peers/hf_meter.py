"""The meter on Hugging Face's Trainer: a callback ends the steps, a forward hook counts the batches.

TRL, LLaMA-Factory and Unsloth all run inside that Trainer. Runs in their environments.
"""

# pyright: reportMissingImports=false

from itertools import pairwise
from typing import Any

import torch
from meter import Meter
from transformers import TrainerCallback


def row_lengths(inputs: dict[str, Any]) -> list[int]:
    """True lengths of the rows in a batch: from a two-dimensional attention mask, else from where positions restart.

    In a packed batch padding looks like rows of one token, each at position 0; no real row is that short.
    """
    mask = inputs.get("attention_mask")
    if mask is not None and mask.dim() == 2 and int(mask.max()) == 1:
        return [int(length) for length in mask.sum(dim=1)]
    positions = inputs["position_ids"]
    lengths = []
    for row in positions:
        starts = [*torch.nonzero(row == 0).flatten().tolist(), row.numel()]
        lengths += [end - start for start, end in pairwise(starts) if end - start > 1]
    return lengths


class MeterCallback(TrainerCallback):
    """Feeds a meter. `trained_head`: the head runs at trained positions only (TRL does that on GPUs, not on CPUs)."""

    def __init__(self, meter: Meter, *, trained_head: bool = False) -> None:
        self.meter = meter
        self.trained_head = trained_head

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        """Hook the model that the Trainer is about to train and start the clock."""
        assert model is not None
        model.register_forward_pre_hook(self._count, with_kwargs=True)
        self.meter.start()

    def on_step_end(self, args, state, control, **kwargs):
        """One optimiser step is done."""
        self.meter.step()

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Keep the loss: a contestant that does not learn would be no contestant."""
        if logs and "loss" in logs:
            self.meter.losses.append(float(logs["loss"]))

    def _count(self, module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if not module.training:
            return
        computed = kwargs["input_ids"].numel()
        trained = int((kwargs["labels"][:, 1:] != -100).sum())  # a row's first token is never a target
        self.meter.batch(
            row_lengths(kwargs), computed=computed, trained=trained, head=trained if self.trained_head else computed
        )
