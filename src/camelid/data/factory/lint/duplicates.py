"""Rows that say what an earlier one says, or almost that."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from camelid.data.factory.dedup import normalised
from camelid.data.factory.lint.sample import Sample, around
from camelid.data.factory.lint.sets import Late, SetCheck
from camelid.data.factory.minhash import Hasher, unlike
from camelid.data.groups import digest

ALIKE = 0.6  # Jaccard index of three tokens in a row, over all that a row says
_PARTS_ALIKE = 0.5  # what is asked, and what is answered, each for itself
_BLOCK = 4096
_KEPT = 32  # of the 128 numbers of a part's signature: enough to tell


class Duplicates(SetCheck):
    """Rows with the text of an earlier one, and rows that ask and answer almost what an earlier one does.

    A long instruction, system prompt or passage that many rows share makes none of them a near duplicate by itself.
    """

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}
        self._exact: list[Late] = []
        self._places: list[int] = []
        self._waiting: list[tuple[str, str, str]] = []
        self._signatures: list[np.ndarray] = []
        self._asked: list[np.ndarray] = []
        self._answered: list[np.ndarray] = []
        self._hasher = Hasher()

    def see(self, place: int, sample: Sample) -> None:
        text = "\n".join(turn.text for turn in sample.turns if turn.text)
        first = self._first.setdefault(digest(normalised(text)), place)
        if first != place:
            self._exact.append(Late("exact-duplicate", place, around(text, 0), first))
            return
        self._places.append(place)
        self._waiting.append(_parts(sample))
        if len(self._waiting) == _BLOCK:
            self._sign()

    def _sign(self) -> None:
        if not self._waiting:
            return
        shared, asked, answered = (self._hasher.signatures(texts) for texts in zip(*self._waiting, strict=True))
        # the signature of several sets together is the least of theirs
        self._signatures.append(np.minimum(np.minimum(shared, asked), answered))
        self._asked.append(np.ascontiguousarray(asked[:, :_KEPT]))
        self._answered.append(np.ascontiguousarray(answered[:, :_KEPT]))
        self._waiting.clear()

    def finish(self) -> Iterator[Late]:
        yield from self._exact
        self._sign()
        if not self._signatures:
            return
        parts = np.concatenate(self._asked), np.concatenate(self._answered)
        for row, near in enumerate(unlike(np.concatenate(self._signatures), ALIKE)):
            if near is not None and all((part[row] == part[near.number]).mean() >= _PARTS_ALIKE for part in parts):
                yield Late("near-duplicate", self._places[row], f"{near.score:.0%}", self._places[near.number])


def _parts(sample: Sample) -> tuple[str, str, str]:
    """What rows of one task may share, what a row asks beside it, and all answers."""
    inputs = [one.input for one in sample.exchanges if one.input]
    shared = [turn.text for turn in sample.turns if turn.role in ("system", "tool")]
    if inputs:
        shared += [one.instruction for one in sample.exchanges]
        asked = inputs
    else:
        asked = [turn.text for turn in sample.turns if turn.role == "user"]
    answered = [turn.text for turn in sample.turns if turn.role in ("assistant", "text")]
    return "\n".join(shared), "\n".join(asked), "\n".join(answered)
