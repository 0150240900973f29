"""Checks that see every row: of a row they keep some hundred bytes (hashes, a MinHash signature), never its text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from camelid.data.factory.lint.sample import Sample
from camelid.data.records import Origin


@dataclass(frozen=True, slots=True)
class Late:
    """What is known when all rows were seen.

    place: the row's number; other: the number of the row that it is held against, or where an evaluation set has it
    """

    kind: str
    place: int
    shown: str
    other: int | Origin | None = None


class SetCheck(ABC):
    """Sees the rows in order, each with its number; then tells."""

    @abstractmethod
    def see(self, place: int, sample: Sample) -> None: ...

    @abstractmethod
    def finish(self) -> Iterator[Late]: ...
