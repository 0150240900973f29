"""Points with their intervals and curves on linear, logarithmic or named axes, as inline SVG without script."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from camelid.runs.chart import number_label, round_ticks

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Dot:
    """One point. hint: text under the pointer. low, high: ends of its interval, if it has one."""

    x: float
    y: float
    style: str
    hint: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through points, drawn behind the dots."""

    points: Sequence[Point]
    style: str


@dataclass(frozen=True, slots=True)
class Axis:
    """From data to [0, 1]. ticks: (value, label)."""

    low: float
    high: float
    log: bool
    ticks: Sequence[tuple[float, str]]

    def at(self, value: float) -> float:
        """Where a value lies between the ends."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        return ((math.log(value) if self.log else value) - low) / (high - low)


def number_axis(values: Sequence[float], *, log: bool = False, ticks: int = 5, whole: bool = False) -> Axis:
    """An axis that holds all values (above 0 where `log`), with a margin."""
    low, high = min(values), max(values)
    if log:
        margin = max((high / low) ** 0.05, 1.05)
        low, high = low / margin, high * margin
        return Axis(low, high, True, [(value, number_label(value)) for value in _log_ticks(low, high)])
    margin = (high - low) * 0.06 or max(abs(high) * 0.05, 1e-3)
    low, high = low - margin, high + margin
    marks = [value for value in round_ticks(low, high, ticks, whole=whole) if low <= value <= high]
    return Axis(low, high, False, [(value, number_label(value)) for value in marks])


def named_axis(names: Sequence[str]) -> Axis:
    """An axis with a place for each name: 0, 1, 2 ..."""
    return Axis(-0.5, len(names) - 0.5, False, list(enumerate(names)))


def scatter(
    dots: Sequence[Dot],
    x: Axis,
    y: Axis,
    *,
    size: tuple[int, int],
    title: str,
    style: str = "chart",
    curves: Sequence[Curve] = (),
) -> Markup:
    """An SVG of `size` (width, height) units; style: its classes, as `chart wide` for wide windows only."""
    width, height = size
    margin = 16 + 7 * max((len(label) for _, label in y.ticks), default=1)
    left, right, top, bottom = margin, width - 16, 12, height - 28

    def px(value: float) -> float:
        return round(left + x.at(value) * (right - left), 1)

    def py(value: float) -> float:
        return round(bottom - y.at(value) * (bottom - top), 1)

    parts = [
        Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/><text class="tick" x="{}" y="{y}" dy="4" '
            'text-anchor="end">{}</text>'
        ).format(left, right, left - 8, label, y=py(value))
        for value, label in y.ticks
    ]
    parts += [
        Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(px(value), bottom + 18, label)
        for value, label in x.ticks
    ]
    parts.append(Markup('<line class="axis" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(left, right, y=bottom))
    parts += [Markup('<path class="line {}" d="{}"/>').format(c.style, _path(c.points, px, py)) for c in curves]
    for dot in dots:
        if dot.low is not None and dot.high is not None:
            parts.append(
                Markup('<line class="line {}" x1="{x}" x2="{x}" y1="{}" y2="{}"/>').format(
                    dot.style, py(dot.low), py(dot.high), x=px(dot.x)
                )
            )
        parts.append(
            Markup('<circle class="dot {}" cx="{}" cy="{}" r="4.5"><title>{}</title></circle>').format(
                dot.style, px(dot.x), py(dot.y), dot.hint
            )
        )
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        style, width, height, title, Markup("").join(parts)
    )


def _path(points: Sequence[Point], px: Callable[[float], float], py: Callable[[float], float]) -> str:
    return "".join(f"{'L' if i else 'M'}{px(x)} {py(y)}" for i, (x, y) in enumerate(points))


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; where fewer than three lie within, 1, 2 and 5 times them, or else round numbers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        marks = [float(f"{factor}e{power}") for power in powers for factor in factors]
        marks = [value for value in marks if low <= value <= high]
        if len(marks) >= 3:
            return marks if len(marks) <= 7 else marks[:: math.ceil(len(marks) / 7)]
    return [value for value in round_ticks(low, high, 4) if low <= value <= high]
