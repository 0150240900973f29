"""How quality grows with data: y = c + a n^-b through a few measured points, and what twice the data would bring.

y is a loss, or 1 - accuracy; n the rows trained on. (The form: Hestness et al. 2017, Kaplan et al. 2020.) Four shares
hardly tell three numbers, so none of them is reported alone. The gain y(N) - y(2N) is, with its profile likelihood
interval: every (a, b), with its best c, whose sum of squares lies within t^2 s^2 of the best one's, s^2 being the
residual variance and t Student's for n - 3 degrees of freedom. b is looked for from 0.02 (all but logarithmic) to 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from camelid.runs.interval import student_t

_EXPONENTS = np.geomspace(0.02, 2.0, 120)
_LEAST_SHARES = 3  # a curve with an asymptote has no meaning on two
Answer = Literal["yes", "no", "unclear", "few"]


@dataclass(frozen=True)
class Point:
    """One run: rows trained on, and what is made smaller. seed: which nested set of rows it was trained on."""

    rows: int
    badness: float
    seed: int
    share: float
    run: str


@dataclass(frozen=True)
class Fit:
    """The curve, what doubling the data is predicted to gain, and whether to believe it.

    gain: of y, above 0 is better, with its interval at 95%
    noise: standard deviation of a single run about the curve; two runs that are alike differ by 1.4 times as much
    """

    c: float
    a: float
    b: float
    gain: float
    low: float
    high: float
    noise: float
    degrees: int

    def at(self, rows: float) -> float:
        """y for so many rows."""
        return self.c + self.a * rows**-self.b


@dataclass(frozen=True)
class Scaling:
    """All points of a curve, its fit (None where the points do not support one), and the answer."""

    title: str
    measure: str
    points: Sequence[Point]
    fit: Fit | None
    untrained: float | None = None  # y of the base, where it can be measured

    @property
    def lower_is_better(self) -> bool:
        return self.measure == "held-out loss"

    @property
    def most(self) -> int:
        """Rows of the largest share."""
        return max(point.rows for point in self.points)

    def quality(self, badness: float) -> float:
        """As the measure has it."""
        return badness if self.lower_is_better else 1 - badness

    @property
    def answer(self) -> Answer:
        """Is more data worth it? 'yes': the gain is surely above 0 and predicted above the noise of a run. 'no': it is
        surely below that noise. 'unclear': the interval holds both. 'few': too few points for a curve."""
        if self.fit is None:
            return "few"
        if self.fit.low > 0 and self.fit.gain > self.fit.noise:
            return "yes"
        return "no" if self.fit.high < self.fit.noise else "unclear"


def fit_curve(points: Sequence[Point]) -> Fit | None:
    """The curve through the points; None where fewer than three sizes, or no degree of freedom, are there."""
    n = np.array([point.rows for point in points], dtype=float)
    y = np.array([point.badness for point in points], dtype=float)
    degrees = len(points) - 3
    if len(set(n.tolist())) < _LEAST_SHARES or degrees < 1 or not np.isfinite(y).all():
        return None
    most = n.max()
    # x = (n / N)^-b - 1 is 0 at the largest share: the same family of curves, with sums that do not cancel
    x_BP = (n / most) ** -_EXPONENTS[:, None] - 1
    slope_B, error_B, spread_B = _lines(x_BP, y)
    best = int(error_B.argmin())
    noise = math.sqrt(max(error_B[best], 1e-18) / degrees)
    # gain of doubling for slope 1: x(N) - x(2N), with x(N) = 0
    unit_B = 1 - 2.0**-_EXPONENTS
    room_B = error_B[best] + (student_t(degrees) * noise) ** 2 - error_B
    half_B = np.sqrt(np.maximum(room_B, 0) / spread_B)
    allowed = room_B >= 0
    b = float(_EXPONENTS[best])
    a = float(slope_B[best] * most**b)
    c = float(y.mean() - a * (n**-b).mean())
    return Fit(
        c=c,
        a=a,
        b=b,
        gain=float(slope_B[best] * unit_B[best]),
        low=float((unit_B * (slope_B - half_B))[allowed].min()),
        high=float((unit_B * (slope_B + half_B))[allowed].max()),
        noise=noise,
        degrees=degrees,
    )


def _lines(x_BP: np.ndarray, y_P: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares y = c + slope x for each row of x: (slopes, sums of squared residuals, sums of squares of x)."""
    x_BP = x_BP - x_BP.mean(axis=1, keepdims=True)
    y_P = y_P - y_P.mean()
    spread_B = (x_BP**2).sum(axis=1)
    slope_B = (x_BP * y_P).sum(axis=1) / spread_B
    error_B = ((y_P - slope_B[:, None] * x_BP) ** 2).sum(axis=1)
    return slope_B, error_B, spread_B
