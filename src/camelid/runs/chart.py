"""Line charts as inline SVG: axes, round ticks, no script. Colours and fonts come from the page's style sheet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

Point = tuple[float, float]
_MOST_POINTS = 400  # drawn per line; more would only make the page heavy
_MOST_HINTS = 120  # points that show their numbers under the pointer


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `style`: class of the style sheet. `dots`: mark each point. `hints`: numbers under the pointer."""

    points: Sequence[Point]
    style: str
    dots: bool = False
    hints: bool = False


@dataclass(frozen=True, slots=True)
class _Frame:
    """From data to pixels."""

    left: float
    right: float
    top: float
    bottom: float
    x_range: Point
    y_range: Point

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def line_chart(lines: Sequence[Line], *, width: int, height: int, style: str, title: str, y_ticks: int = 5) -> Markup:
    """An SVG of `width` x `height` units. NaN and infinity leave a gap; nothing finite at all gives an empty Markup."""
    finite = [point for line in lines for point in line.points if _is_finite(point)]
    if not finite:
        return Markup("")
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    x_ticks = round_ticks(min(xs), max(xs), max(3, width // 110), whole=True)
    y_values = round_ticks(min(ys), max(ys), y_ticks)
    margin = 14 + 7 * max(len(number_label(value)) for value in y_values)
    frame = _Frame(
        left=margin,
        right=width - 14,
        top=12,
        bottom=height - 26,
        x_range=_widened(min(xs), max(xs)),
        y_range=_widened(min(*ys, y_values[0]), max(*ys, y_values[-1])),
    )
    parts = [_grid(frame, x_ticks, y_values), *(_drawn(line, frame) for line in lines)]
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        style, width, height, title, Markup("").join(parts)
    )


def smoothed(points: Sequence[Point]) -> list[Point]:
    """Mean over a window around each point, 1/12 of the run wide: unlike a running mean it does not lag behind."""
    finite = [point for point in points if _is_finite(point)]
    half = len(finite) // 24
    sums = list(itertools.accumulate((y for _, y in finite), initial=0.0))
    result = []
    for index, (x, _) in enumerate(finite):
        # At the start as far ahead as back, or the steep fall there would pull the curve down; at the end all of the
        # past half, or the curve would end in the noise of one step.
        first, last = max(0, index - half), min(len(finite) - 1, index + min(half, index))
        result.append((x, (sums[last + 1] - sums[first]) / (last + 1 - first)))
    return result


def thinned(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """At most about `most` points that keep every peak and dip: the smallest and largest of each stretch."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / (most / 2))
    kept: list[Point] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        broken = [point for point in stretch if not _is_finite(point)]
        whole = [point for point in stretch if _is_finite(point)]
        ends = {min(whole, key=lambda p: p[1]), max(whole, key=lambda p: p[1])} if whole else set()
        kept += sorted([*ends, *broken[:1]], key=lambda p: p[0])
    return kept


def round_ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """About `count` round numbers that span [low, high]; the first and last lie at or inside its ends, or just beyond
    where there would be fewer than two."""
    most = max(abs(low), abs(high))
    # Values equal but for rounding have no span that could be ticked: show them amid their own size.
    span = high - low if high - low > 1e-9 * most else most or 1.0
    wanted = span / max(count - 1, 1)
    power = 10 ** math.floor(math.log10(wanted))
    step = min((factor * power for factor in (1, 2, 2.5, 5, 10)), key=lambda step: abs(math.log(step / wanted)))
    if whole:
        step = max(1, round(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first < 1:
        first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def _is_finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _widened(low: float, high: float) -> Point:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def number_label(value: float) -> str:
    """A number as a tick shows it: 1e-5, 0.003, 2,000."""
    if value and abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _grid(frame: _Frame, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> Markup:
    parts = []
    for value in y_ticks:
        at = f"{frame.y(value):.1f}"
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="tick" x="{}" y="{}" dy="4" '
                'text-anchor="end">{}</text>'
            ).format(frame.left, frame.right, at, at, frame.left - 8, at, number_label(value))
        )
    for value in x_ticks:
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                frame.x(value), frame.bottom + 18, number_label(value)
            )
        )
    axis = Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        frame.left, frame.right, frame.bottom, frame.bottom
    )
    return Markup("").join([*parts, axis])


def _drawn(line: Line, frame: _Frame) -> Markup:
    path, pen_down = [], False
    for point in thinned(line.points):
        if not _is_finite(point):
            pen_down = False
            continue
        path.append(f"{'L' if pen_down else 'M'}{frame.x(point[0]):.1f} {frame.y(point[1]):.1f}")
        pen_down = True
    parts = [Markup('<path class="line {}" d="{}"/>').format(line.style, "".join(path))]
    finite = [point for point in line.points if _is_finite(point)]
    if line.dots:
        parts += [_circle(frame, point, f"dot {line.style}", 3.5) for point in thinned(finite, 60)]
    if line.hints:
        parts += [_circle(frame, point, "hint", 7) for point in finite[:: max(1, len(finite) // _MOST_HINTS)]]
    return Markup("").join(parts)


def _circle(frame: _Frame, point: Point, style: str, radius: float) -> Markup:
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{:,.0f}: {:.4g}</title></circle>').format(
        style, frame.x(point[0]), frame.y(point[1]), radius, point[0], point[1]
    )
