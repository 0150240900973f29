"""Short real runs on tiny bases, for tests of the loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tiny import chat_rows, tiny_base

from camelid.config import Recipe, make_recipe
from camelid.runs.directory import RunDirectory
from camelid.train.checkpoint import latest_checkpoint
from camelid.train.distributed import World
from camelid.train.interrupt import Interrupts
from camelid.train.loop import Outcome, SilentProgress, train
from camelid.train.setup import Setup, prepare


def tiny_recipe(folder: Path, **fields: Any) -> Recipe:
    """A recipe over 24 rows; made rows and base are shared by calls with the same folder."""
    rows = folder / "rows.jsonl"
    if not rows.exists():
        chat_rows(rows)
    values = {
        "base": str(tiny_base()),
        "data": str(rows),
        "dtype": "float32",
        "max_steps": 4,
        "per_device_train_batch_size": 6,
        "learning_rate": 1e-2,
        "max_length": 128,
        "output_dir": str(folder / "run"),
        **fields,
    }
    return make_recipe(values)


@dataclass
class Finished:
    """A run that ended, with the weights that it ended with."""

    outcome: Outcome
    weights: dict[str, torch.Tensor]
    setup: Setup
    directory: RunDirectory
    said: list[str]


class Notes(SilentProgress):
    """Keeps what the loop says."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)


def run(recipe: Recipe, *, world: World | None = None, stop_after: int | None = None, hook: Any = None) -> Finished:
    """Train by a recipe, resuming what is there; `hook(setup)` may disturb the setup before the first step."""
    world = world or World()
    said: list[str] = []
    with (
        RunDirectory.create(recipe.output_dir, recipe.resume, recipe=recipe.model_dump(mode="json")) as directory,
        Interrupts(notice="") as interrupts,
    ):
        setup = prepare(recipe, world, say=said.append)
        if hook is not None:
            hook(setup)
        try:
            checkpoint = latest_checkpoint(
                directory.checkpoints, on_damage=lambda path, why: said.append(f"{path}{why}")
            )
            notes = Notes()
            outcome = train(setup, directory, notes, interrupts, checkpoint, stop_after=stop_after)
        finally:
            setup.data.close()
        weights = {name: p.detach().clone() for name, p in setup.trainable.named_parameters().items()}
        return Finished(outcome, weights, setup, directory, said + notes.notes)
