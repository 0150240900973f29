"""Near duplicates past memory: MinHash signatures (Broder 1997) with banding, a few hundred bytes a row.

Two texts' similarity is here the Jaccard index of their sets of three tokens in a row, estimated from 128 hash
functions: off by 0.04 at most times. Bands of four find a pair at 0.7 with probability 0.9998.

datasketch hashes row by row (dev/LOG.md); here many are hashed at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain

import numpy as np

from camelid.data.factory.similar import Neighbour, units

PERMUTATIONS, BAND = 128, 4
_SHINGLE = 3
_CACHED = 1_000_000  # tokens whose hash is remembered
_MOST_COMPARED = 64  # of the kept rows of one bucket, the latest

_random = np.random.default_rng(20231)
_FACTORS = _random.integers(0, 2**64, PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
_SHIFTS = _random.integers(0, 2**64, PERMUTATIONS, dtype=np.uint64)
_MIX = _random.integers(0, 2**64, _SHINGLE, dtype=np.uint64) | np.uint64(1)


class Hasher:
    """Signatures of texts: the same text has the same one, on every machine."""

    def __init__(self, tokens: Callable[[str], list[str]] = units) -> None:
        self._tokens, self._known = tokens, {}

    def signatures(self, texts: Sequence[str]) -> np.ndarray:
        """(n, PERMUTATIONS) uint32; of a text without tokens all are 2^32 - 1."""
        cut = [self._tokens(text) for text in texts]
        cut = [one + [""] * (_SHINGLE - len(one)) if one else one for one in cut]
        lengths = np.array([max(0, len(one) - _SHINGLE + 1) for one in cut])
        out = np.full((len(texts), PERMUTATIONS), np.iinfo(np.uint32).max, np.uint32)
        rows = np.flatnonzero(lengths)
        if not len(rows):
            return out
        hashes = np.fromiter(chain.from_iterable(map(self._hash, one) for one in cut), np.uint64)
        ends = np.cumsum([len(one) for one in cut])
        count = len(hashes) - _SHINGLE + 1
        mixed = np.zeros(count, np.uint64)
        for i in range(_SHINGLE):
            mixed += hashes[i : count + i] * _MIX[i]
        inside = np.ones(len(hashes), bool)
        for back in range(1, _SHINGLE):  # shingles that would reach over the end of a text
            inside[(ends - back)[ends >= back]] = False
        shingles = mixed[inside[:count]]
        shingles ^= shingles >> np.uint64(32)
        starts = np.concatenate([[0], np.cumsum(lengths[rows])[:-1]])
        for i in range(PERMUTATIONS):
            values = ((shingles * _FACTORS[i] + _SHIFTS[i]) >> np.uint64(32)).astype(np.uint32)
            out[rows, i] = np.minimum.reduceat(values, starts)
        return out

    def _hash(self, token: str) -> int:
        found = self._known.get(token)
        if found is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            found = int.from_bytes(blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
            self._known[token] = found
        return found


def unlike(signatures: np.ndarray, threshold: float) -> Iterator[Neighbour | None]:
    """In order, for each row None where it is like no kept row before it, else the most similar one of those.

    signatures: (n, PERMUTATIONS); number of a neighbour: its row
    """
    buckets, starts = _buckets(signatures)
    kept: list[list[int]] = [[] for _ in range(buckets.max(initial=-1) + 1)]
    for row in range(len(signatures)):
        mine = buckets[starts[row] : starts[row + 1]]
        near = None
        others = sorted(set(chain.from_iterable(kept[bucket][-_MOST_COMPARED:] for bucket in mine)))
        if others:
            alike = (signatures[others] == signatures[row]).mean(axis=1)
            best = int(alike.argmax())
            if alike[best] >= threshold:
                near = Neighbour(others[best], float(alike[best]))
        if near is None:
            for bucket in mine:
                kept[bucket].append(row)
        yield near


def _buckets(signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(buckets of all rows one after the other, where each row's begin), of bands that several rows share."""
    count, empty = len(signatures), np.iinfo(np.uint32).max
    rows_of: list[np.ndarray] = []
    bucket_of: list[np.ndarray] = []
    total = 0
    some = signatures[:, 0] != empty if count else np.zeros(0, bool)
    for start in range(0, PERMUTATIONS, BAND):
        band = np.ascontiguousarray(signatures[:, start : start + BAND])
        key = band.view([("", band.dtype)] * BAND).ravel()
        _, inverse, sizes = np.unique(key, return_inverse=True, return_counts=True)
        shared = np.flatnonzero((sizes[inverse] > 1) & some)
        numbers = np.cumsum(sizes > 1) - 1
        rows_of.append(shared)
        bucket_of.append(numbers[inverse[shared]] + total)
        total += int((sizes > 1).sum())
    rows = np.concatenate(rows_of)
    order = np.argsort(rows, kind="stable")
    starts = np.searchsorted(rows[order], np.arange(count + 1))
    return np.concatenate(bucket_of)[order], starts
