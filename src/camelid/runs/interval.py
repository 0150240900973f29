"""How sure a figure is: intervals at 95% of shares, of their differences, and of means of few values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054  # the standard normal's two-sided 95% point


@dataclass(frozen=True, slots=True)
class Share:
    """`right` of `total`, with its Wilson score interval (Wilson 1927), which holds at 0% and 100% too."""

    right: int
    total: int

    @property
    def value(self) -> float:
        """The share itself; nan where nothing was asked."""
        return self.right / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end at 95%; (0, 1) where nothing was asked."""
        if self.total == 0:
            return 0.0, 1.0
        n, p, z2 = self.total, self.value, Z_95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        low = 0.0 if self.right == 0 else centre - half  # exactly, where rounding would leave 1e-17
        high = 1.0 if self.right == self.total else centre + half
        return low, high

    def __str__(self) -> str:
        if self.total == 0:
            return "0/0"
        low, high = self.interval
        return f"{self.right}/{self.total} = {self.value:.1%} [{low:.1%}, {high:.1%}]"


def paired_difference(gained: int, lost: int, total: int) -> tuple[float, float, float]:
    """(difference, low, high) of two shares over the same `total` questions, of which one alone has `gained` right and
    the other alone `lost`: the interval of Agresti & Min (2005), which holds for few differences and for none.
    """
    size, difference = total + 2, gained - lost
    error = math.sqrt(gained + lost + 1 - difference**2 / size) / size
    middle, half = difference / size, Z_95 * error
    return difference / total, max(-1.0, middle - half), min(1.0, middle + half)


Passages = Sequence[tuple[float, int]]  # of each: summed -log p in nats, and its tokens


def paired_rise(one: Passages, other: Passages) -> tuple[float, float, float]:
    """(rise of the perplexity from one to the other, low, high) as shares, on the same passages: paired, so that easy
    and hard ones do not blur it.

    The interval is the jackknife's over passages (Tukey 1958), on the logarithm, with Student's t, for they are few.
    ValueError: other passages.
    """
    if [n for _, n in one] != [n for _, n in other]:
        raise ValueError("not measured on the same tokens")
    tokens = [n for _, n in one]
    difference = [b - a for (a, _), (b, _) in zip(one, other, strict=True)]
    total = sum(tokens)
    change = sum(difference) / total
    left_out = [(sum(difference) - d) / (total - n) for d, n in zip(difference, tokens, strict=True) if total > n]
    k = len(left_out)
    middle = sum(left_out) / k if k else change
    error = math.sqrt((k - 1) / k * sum((value - middle) ** 2 for value in left_out)) if k > 1 else math.inf
    half = student_t(k - 1) * error if k > 1 else math.inf
    rise, low, high = (math.expm1(min(x, 700.0)) for x in (change, change - half, change + half))
    return rise, low, high


# Student's t at 97.5% for 1, 2, 3 ... degrees of freedom; beyond them the normal's is near enough.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def student_t(degrees: int) -> float:
    """The quantile for so many degrees of freedom, at least 1."""
    return _T[degrees - 1] if degrees <= len(_T) else Z_95
