"""How long texts are: percentiles, shares above the usual limits, and a histogram of two bins for each doubling."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

PERCENTILES = (5, 25, 50, 75, 95, 99)
LIMITS = (512, 1024, 2048, 4096)


class Lengths:
    """Whole numbers, eight bytes each."""

    def __init__(self) -> None:
        self._values = array("q")

    def add(self, value: int) -> None:
        self._values.append(value)

    def extend(self, values: Iterable[int]) -> None:
        self._values.extend(values)

    def summary(self) -> dict[str, Any]:
        """count, mean, percentiles (values that occur: nearest rank), max, above (shares) and histogram."""
        values = np.sort(np.frombuffer(self._values, np.int64)) if self._values else np.zeros(0, np.int64)
        count = len(values)
        if not count:
            return {"count": 0}
        ranks = {f"p{percent}": int(values[math.ceil(percent / 100 * count) - 1]) for percent in PERCENTILES}
        return {
            "count": count,
            "total": int(values.sum()),
            "mean": round(float(values.mean()), 2),
            **ranks,
            "max": int(values[-1]),
            "above": {str(limit): round(float((values > limit).mean()), 6) for limit in LIMITS},
            "histogram": _histogram(values),
        }


def _histogram(values: np.ndarray) -> list[dict[str, int]]:
    """[{"from", "below", "count"}], from the first bin that holds something to the last."""
    edges = edges_up_to(int(values[-1]))
    counts = np.histogram(values, edges)[0]
    filled = np.flatnonzero(counts)
    return [
        {"from": edges[i], "below": edges[i + 1], "count": int(counts[i])} for i in range(filled[0], filled[-1] + 1)
    ]


def edges_up_to(value: int) -> list[int]:
    """0, 1, 2, 3, 4, 6, 8, 12, 16 ... : two bins for each doubling, until one lies above `value`."""
    edges = [0, 1, 2, 3]
    while edges[-1] <= value:
        edges.append(edges[-2] * 2)
    return edges
