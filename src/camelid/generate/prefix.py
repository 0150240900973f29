"""Keys and values of prompts' blocks that may come again: a system prompt, the earlier turns of a conversation."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from camelid.generate.cache import Pool, Row, copy
from camelid.generate.step import BLOCK


def block_keys(ids: np.ndarray, adapter: str) -> list[bytes]:
    """A key for each whole block of a prompt, the one with the last token left out: of the adapter and all ids so far.

    The last token is always computed anew, for its logits.
    """
    digest = hashlib.blake2b(adapter.encode(), digest_size=16)
    keys = []
    for start in range(0, len(ids) - BLOCK, BLOCK):
        digest.update(np.ascontiguousarray(ids[start : start + BLOCK], np.int32).tobytes())
        keys.append(digest.digest())
    return keys


@final
class PrefixStore:
    """The blocks used last, up to a number of tokens; each holds the keys and values of every layer."""

    def __init__(self, tokens: int) -> None:
        self._limit = tokens // BLOCK
        self._blocks: OrderedDict[bytes, list[Tensor]] = OrderedDict()

    def fill(self, row: Row, pool: Pool, keys: Sequence[bytes]) -> int:
        """Copy the known first blocks of a prompt to the end of its row; returns how many there are."""
        known = 0
        for key in keys:
            block = self._blocks.get(key)
            if block is None:
                break
            self._blocks.move_to_end(key)
            copy(block, pool.part(row, slice(row.length, row.length + BLOCK)))
            known += 1
            row.length += BLOCK
        return known

    def keep(self, key: bytes, row: Row, pool: Pool, start: int) -> None:
        """Remember a row's block that begins at position `start`."""
        if key in self._blocks or not self._limit:
            return
        at = slice(start, start + BLOCK)
        self._blocks[key] = [part.clone(memory_format=torch.contiguous_format) for part in pool.part(row, at)]
        while len(self._blocks) > self._limit:
            self._blocks.popitem(last=False)
