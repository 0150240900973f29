"""What a run writes and fetches, in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from camelid.config import Recipe
from camelid.model.adapters import Trainable
from camelid.train.plan.locate import Located
from camelid.train.plan.phases import Phases


@dataclass(frozen=True)
class Disk:
    """checkpoint: one of them, of which `kept` stay; final: weights of `final/`; cache: the base's dequantised weights

    download: what is not on this disk yet
    """

    checkpoint: float
    kept: int
    final: float
    cache: int
    download: int

    @property
    def total(self) -> float:
        """The most at one time: a new checkpoint stands beside those kept."""
        return self.checkpoint * (self.kept + 1) + self.final + self.cache + self.download


def saved_bytes(trainable: Trainable) -> int:
    """Bytes of the tensors of `final/`: of virtual tokens the finished vectors, whatever encoder makes them."""
    if trainable.virtual is not None:
        encoder = {id(p) for p in trainable.virtual.parameters()}
        head = [p for p in trainable.named_parameters().values() if id(p) not in encoder]
        return sum(t.nbytes for t in (*trainable.virtual.saved().values(), *head))
    kept = trainable.named_parameters().values() if trainable.has_adapter else trainable.lm.parameters()
    return sum(p.nbytes for p in kept)


def disk_of(recipe: Recipe, steps: int, phases: Phases, saved: int, found: Located) -> Disk:
    """Checkpoints hold what is trained and the optimiser's state."""
    made = max(1, -(-steps // recipe.save_steps) if recipe.save_steps else 1)
    trained = phases.gradients.live  # in the weights' own type, as gradients are
    return Disk(
        checkpoint=trained + phases.optimizer.live,
        kept=min(made, recipe.save_total_limit),
        final=saved,
        cache=found.cache,
        download=found.download,
    )
