"""The instructions that are there: seeds and what was kept, none of them like another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from camelid.data.factory.similar import THRESHOLD, SimilarityPool


@dataclass(frozen=True, slots=True)
class Nearest:
    """The instruction that another is too much like, and ROUGE-L."""

    instruction: str
    score: float


class TaskPool:
    """Every instruction that may not be made again."""

    def __init__(self, seeds: Iterable[str], threshold: float = THRESHOLD) -> None:
        self._pool = SimilarityPool(threshold)
        self._texts: list[str] = []
        self.add(seeds)

    def add(self, instructions: Iterable[str]) -> None:
        """Put in what need not be unlike what is there."""
        for one in instructions:
            self._pool.add(one)
            self._texts.append(one)

    def admit(self, instructions: Sequence[str]) -> list[Nearest | None]:
        """In order: None for each that is new and now in the pool, else what it is like."""
        found: list[Nearest | None] = []
        for instruction, near in zip(instructions, self._pool.admit(instructions), strict=True):
            if near is None:
                self._texts.append(instruction)
                found.append(None)
            else:
                found.append(Nearest(self._texts[near.number], near.score))
        return found
