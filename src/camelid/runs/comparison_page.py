"""compare.html: the table of a comparison, and its qualities with their intervals as a picture; one file, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from camelid.runs.chart import round_ticks
from camelid.runs.comparison import Comparison, rows, shown
from camelid.runs.report_page import render_page
from camelid.runs.report_words import MEASURES, Words

_HEADS = {
    "method": Words("method", "方法"),
    **MEASURES,
    "trained": Words("trained parameters", "可训练参数"),
    "share": Words("share", "占比"),
    "peak memory": Words("peak memory", "峰值内存"),
    "minutes": Words("minutes", "分钟"),
    "tokens/s": Words("tokens/s", "token/秒"),
    "saved": Words("saved", "保存大小"),
    "general en": Words("general English", "英文通用文本"),
    "general zh": Words("general Chinese", "中文通用文本"),
    "plain questions kept": Words("plain questions kept", "常识题保留"),
}
_BESIDE = {
    "general en beside ": "英文通用文本，与 {} 相比",
    "general zh beside ": "中文通用文本，与 {} 相比",
    "kept beside ": "保留率与 {} 之差",
}
_NOTE = Words(
    "Bars are 95% intervals: over the seeds where there are several, of the one measurement otherwise. Time and memory "
    "are medians over the seeds. General text: how much its perplexity rose. Plain questions: share of those that the "
    "base knew. Beside the first method: the difference on the same passages or questions, all seeds together, with "
    "its own interval.",
    "横线为 95% 区间：有多个种子时是种子之间的区间，否则是单次测量的区间。时间和内存取各种子的中位数。"
    "通用文本：困惑度上升了多少。常识题：基座原本会的题中还答对多少。与第一种方法相比：同样的段落或题目上（各种子合在一起）的差别及其区间。",
)
# What a picture shows beside the quality: column of the table, what it is, whether it is a share in percent.
_FORGETTING = {
    "retention_en": Words("General English text: rise of its perplexity", "英文通用文本：困惑度上升"),
    "retention_zh": Words("General Chinese text: rise of its perplexity", "中文通用文本：困惑度上升"),
    "beside_en": Words(
        "General English text: perplexity beside the first method's", "英文通用文本：困惑度与第一种方法相比"
    ),
    "beside_zh": Words(
        "General Chinese text: perplexity beside the first method's", "中文通用文本：困惑度与第一种方法相比"
    ),
    "kept": Words("Plain questions that are still right", "仍能答对的常识题"),
    "gain": Words("More of them kept than by the first method", "比第一种方法多保留的常识题"),
}
_DIFFERENCES = {"beside_en", "beside_zh", "gain"}  # is zero inside the interval, is what their pictures answer


def render_comparison(comparison: Comparison) -> str:
    """The page as text, in both languages."""
    heads, body = shown(comparison)
    table = rows(comparison)
    links = {row["method"]: row["run"] for row in table}
    pictures = [
        (
            _HEADS.get(heads[1], Words(heads[1], heads[1])),
            picture(table, comparison.measure, value="quality", low="low", high="high"),
        )
    ]
    for column, title in _FORGETTING.items():
        if any(row[column] is not None for row in table):
            drawn = picture(
                table, title.en, value=column, low=f"{column}_low", high=f"{column}_high",
                percent=True, zero=column in _DIFFERENCES,
            )  # fmt: skip
            pictures.append((title, drawn))
    return render_page(
        "compare.html.jinja",
        title=Words("Methods side by side", "方法对比"),
        name=comparison.title,
        heads=[_head(head) for head in heads],
        body=[(row, links.get(row[0])) for row in body],
        pictures=pictures,
        note=_NOTE,
    )


def _head(head: str) -> Words:
    for start, chinese in _BESIDE.items():
        if head.startswith(start):
            return Words(head, chinese.format(head.removeprefix(start)))
    return _HEADS.get(head, Words(head, head))


def picture(
    table: Sequence[Mapping[str, Any]],
    label: str,
    *,
    value: str,
    low: str,
    high: str,
    percent: bool = False,
    zero: bool = False,
) -> Markup:
    """A dot and a bar for each row that has `value`, in order; value, low, high: names of columns; zero: show it."""
    drawn = [row for row in table if row[value] is not None]
    if not drawn:
        return Markup("")
    factor, unit = (100.0, "%") if percent else (1.0, "")

    def scaled(row: Mapping[str, Any], column: str) -> float | None:
        return None if row[column] is None else factor * row[column]

    dots = [(scaled(row, value), scaled(row, low), scaled(row, high)) for row in drawn]
    return Markup("").join(
        _dots([row["method"] for row in drawn], dots, label, unit, zero=zero, width=width, style=style)
        for width, style in ((900, "wide"), (430, "narrow"))
    )


def _dots(
    names: Sequence[str],
    dots: Sequence[tuple[float | None, float | None, float | None]],
    label: str,
    unit: str,
    *,
    zero: bool,
    width: int,
    style: str,
) -> Markup:
    """Names stand above their bars: a method with its fields is longer than any column beside them."""
    ends = [end for dot in dots for end in dot if end is not None] + [0.0] * zero
    low, high = min(ends), max(ends)
    margin = max((high - low) * 0.08, 1e-3)
    low, high = low - margin, high + margin
    left, right, step, top = 24, width - 24, 44, 6
    bottom = top + step * len(dots)

    def x(value: float) -> float:
        return round(left + (value - low) / (high - low) * (right - left), 1)

    parts = []
    for tick in round_ticks(low, high, 6 if width > 600 else 4):
        if low <= tick <= high:
            parts.append(
                Markup('<line class="{}" x1="{x}" x2="{x}" y1="{}" y2="{}"/><text class="tick" x="{x}" y="{}" '
                       'text-anchor="middle">{:g}{}</text>').format(
                    "grid" if tick else "axis", top, bottom, bottom + 18, tick, unit, x=x(tick)
                )
            )  # fmt: skip
    for i, (name, (middle, start, end)) in enumerate(zip(names, dots, strict=True)):
        assert middle is not None
        y = top + step * i + 32
        parts.append(Markup('<text class="tick named" x="2" y="{}">{}</text>').format(y - 14, name))
        if start is not None and end is not None:
            parts.append(
                Markup('<line class="line held" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(x(start), x(end), y=y)
            )
        parts.append(
            Markup('<circle class="dot held" cx="{}" cy="{}" r="4.5"><title>{}: {:.4g}{}</title></circle>').format(
                x(middle), y, name, middle, unit
            )
        )
    return Markup('<svg class="chart {}" viewBox="{}" role="img" aria-label="{}">{}</svg>').format(
        style, f"0 0 {width} {bottom + 26}", label, Markup("").join(parts)
    )
