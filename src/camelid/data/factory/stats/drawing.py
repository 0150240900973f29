"""Histograms and the ring of verbs and objects as inline SVG, without script. Only numbers and the data's words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from camelid.runs.chart import number_label, round_ticks

_LEAST_ARC = 0.02  # radians: narrower ones are not named


def histogram(
    bins: Sequence[Mapping[str, int]], *, width: int, height: int, title: str, style: str = "chart"
) -> Markup:
    """Bars of equal width for bins that grow: a logarithmic axis. bins: {"from", "below", "count"} in order."""
    total = sum(one["count"] for one in bins)
    if not total:
        return Markup("")
    shares = [one["count"] / total for one in bins]
    ticks = [tick for tick in round_ticks(0.0, 100 * max(shares), 4) if tick <= 105 * max(shares)]
    left, right, top, bottom = 46, width - 6, 10, height - 24
    step = (right - left) / len(bins)

    def y(percent: float) -> float:
        return round(bottom - percent / (100 * max(shares)) * (bottom - top), 1)

    parts = [
        Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/><text class="tick" x="{}" y="{y}" dy="4" '
            'text-anchor="end">{}%</text>'
        ).format(left, right, left - 6, number_label(tick), y=y(tick))
        for tick in ticks
    ]
    bars = [
        Markup('<rect class="part tree" x="{}" y="{}" width="{}" height="{}" rx="1.5"><title>{}</title></rect>').format(
            round(left + i * step + 0.75, 1), y(100 * share), round(max(step - 1.5, 0.5), 1),
            round(bottom - y(100 * share), 1), _hint(one, share),
        )
        for i, (one, share) in enumerate(zip(bins, shares, strict=True))
    ]  # fmt: skip
    parts.append(Markup('<g class="bar">{}</g>').format(Markup("").join(bars)))
    parts += [
        Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            left + i * step, bottom + 17, _short(bins[i]["from"])
        )
        for i in _named(bins, int(width / 55))
    ]
    parts.append(Markup('<line class="axis" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(left, right, y=bottom))
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        style, width, height, title, Markup("").join(parts)
    )


def _hint(one: Mapping[str, int], share: float) -> str:
    last = one["below"] - 1
    ends = f"{one['from']:,}" if one["from"] == last else f"{one['from']:,}–{last:,}"
    return f"{ends}: {one['count']:,} ({share:.1%})"


def _named(bins: Sequence[Mapping[str, int]], most: int) -> list[int]:
    """Which bins' beginnings are written: powers of two, every so many of them."""
    powers = [i for i, one in enumerate(bins) if one["from"] and one["from"] & (one["from"] - 1) == 0]
    every = max(1, math.ceil(len(powers) / most))
    return [i for i in powers if (bins[i]["from"].bit_length() - 1) % every == 0]


def _short(value: int) -> str:
    return f"{value // 1024}k" if value >= 1024 and value % 1024 == 0 else str(value)


def ring(top: Sequence[Mapping[str, Any]], *, size: int, title: str, style: str = "chart wide") -> Markup:
    """Self-Instruct's figure: the commonest verbs within, each with its commonest objects around it.

    top: {"verb", "count", "objects": [{"object", "count"}]}; only what is drawn fills the circle.
    """
    shown = [(one["verb"], [(thing["object"], thing["count"]) for thing in one["objects"]]) for one in top]
    shown = [(verb, things) for verb, things in shown if things]
    total = sum(count for _, things in shown for _, count in things)
    if not total:
        return Markup("")
    inner, middle, outer = 0.13 * size, 0.29 * size, 0.47 * size
    parts, begin = [], 0.0
    for i, (verb, things) in enumerate(shown):
        colour = f"hsl({(i * 137.5) % 360:.0f} 52% {66 + 6 * (i % 2)}%)"
        end = begin + 2 * math.pi * sum(count for _, count in things) / total
        parts.append(_arc(begin, end, inner, middle, size, colour, 1.0, f"{verb}: {sum(c for _, c in things):,}"))
        parts.append(_label(begin, end, (inner + middle) / 2, size, verb))
        for thing, count in things:
            last = begin + 2 * math.pi * count / total
            parts.append(_arc(begin, last, middle, outer, size, colour, 0.62, f"{verb} {thing}: {count:,}"))
            parts.append(_label(begin, last, (middle + outer) / 2, size, thing))
            begin = last
    return Markup('<svg class="{}" viewBox="0 0 {size} {size}" role="img" aria-label="{}">{}</svg>').format(
        style, title, Markup("").join(parts), size=size
    )


def _arc(
    begin: float, end: float, inner: float, outer: float, size: int, colour: str, opacity: float, hint: str
) -> Markup:
    end = min(end, begin + 2 * math.pi - 1e-4)  # a full circle would begin where it ends
    large = int(end - begin > math.pi)
    corners = [
        _point(begin, outer, size),
        _point(end, outer, size),
        _point(end, inner, size),
        _point(begin, inner, size),
    ]
    path = (
        f"M{corners[0]}A{outer:.1f} {outer:.1f} 0 {large} 1 {corners[1]}"
        f"L{corners[2]}A{inner:.1f} {inner:.1f} 0 {large} 0 {corners[3]}Z"
    )
    return Markup(
        '<path d="{}" fill="{}" fill-opacity="{}" stroke="#fff" stroke-opacity=".7"><title>{}</title></path>'
    ).format(path, colour, opacity, hint)


def _label(begin: float, end: float, radius: float, size: int, text: str) -> Markup:
    """Along the radius, from the side on which it can be read."""
    if end - begin < max(_LEAST_ARC, 12 / radius):
        return Markup("")
    angle = (begin + end) / 2
    x, y = _point(angle, radius, size).split(" ")
    turn = math.degrees(angle) - 90
    turn += 180 if math.pi < angle < 2 * math.pi else 0
    return Markup(
        '<text x="{x}" y="{y}" dy="3.5" text-anchor="middle" font-size="11" fill="#1d1a16" '
        'transform="rotate({:.1f} {x} {y})">{}</text>'
    ).format(turn, text if len(text) <= 14 else f"{text[:13]}…", x=x, y=y)


def _point(angle: float, radius: float, size: int) -> str:
    """Clockwise from the top."""
    return f"{size / 2 + radius * math.sin(angle):.1f} {size / 2 - radius * math.cos(angle):.1f}"
