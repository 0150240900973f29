"""How many rows are like an earlier one: with the same text, and nearly so by MinHash."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from camelid.data.factory.dedup import duplicates
from camelid.data.factory.minhash import PERMUTATIONS, Hasher, unlike

NEAR = 0.8  # Jaccard index of the sets of three words in a row
_BLOCK = 4096


class Repeats:
    """Fed text by text; of each only a hash and, where `near` is set, a signature of 512 bytes is kept."""

    def __init__(self, *, near: bool = False) -> None:
        self.count = self.exact = 0
        self._near = near
        self._waiting: deque[str] = deque()
        self._verdicts = duplicates(self._texts(), "exact", threshold=NEAR, tokens="units")
        self._hasher, self._block, self._signatures = Hasher(), [], []

    def add(self, text: str) -> None:
        self.count += 1
        self._waiting.append(text)
        self.exact += next(self._verdicts) is not None
        if self._near:
            self._block.append(text)
            if len(self._block) == _BLOCK:
                self._hash()

    def summary(self) -> dict[str, Any]:
        """Rows like an earlier one, and their share."""
        found = {"exact": self.exact, "exact_share": round(self.exact / max(1, self.count), 6)}
        if self._near:
            self._hash()
            signatures = np.concatenate(self._signatures or [np.empty((0, PERMUTATIONS), np.uint32)])
            near = sum(one is not None for one in unlike(signatures, NEAR))
            found |= {"near": near, "near_share": round(near / max(1, self.count), 6)}
        return found

    def _texts(self) -> Iterator[str]:
        while self._waiting:
            yield self._waiting.popleft()

    def _hash(self) -> None:
        if self._block:
            self._signatures.append(self._hasher.signatures(self._block))
            self._block = []
