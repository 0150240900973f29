"""Which data rows each optimiser step trains on: a pure function of seed and step, so resuming needs no state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StepSchedule:
    """Steps over `units` data rows.

    A step takes `per_step` rows of data over all ranks; rank r of `world` gets every world-th of them, from the r-th.
    Each epoch is a fresh seeded permutation; its last step may be smaller. `epochs` may be fractional.
    """

    units: int
    per_step: int
    epochs: float
    max_steps: int | None
    seed: int
    shuffle: bool = True
    rank: int = 0
    world: int = 1

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.units / self.per_step)

    @property
    def total_steps(self) -> int:
        # max_steps decides alone where it is given, as in transformers: it may exceed the epochs
        return self.max_steps or max(1, math.ceil(self.epochs * self.steps_per_epoch))

    def order(self, epoch: int) -> np.ndarray:
        """(units,) int64: the permutation of an epoch."""
        if not self.shuffle:
            return np.arange(self.units)
        return np.random.default_rng([self.seed, epoch]).permutation(self.units)

    def step(self, step: int) -> np.ndarray:
        """Indices of this rank's rows in optimiser step 0, 1, ...; may be empty on some ranks."""
        epoch, within = divmod(step, self.steps_per_epoch)
        rows = self.order(epoch)[within * self.per_step : (within + 1) * self.per_step]
        return rows[self.rank :: self.world]


def nested_share(count: int, fraction: float, seed: int) -> np.ndarray:
    """Ascending indices of a seeded share of `count` rows, at least one; of one seed, smaller lie in larger."""
    wanted = max(1, round(count * fraction))
    return np.sort(np.random.default_rng([seed, 0x5CA1E]).permutation(count)[:wanted])
