"""compare.html: the table of a comparison, and its qualities with their intervals as a picture; one file, no script."""

from __future__ import annotations

from markupsafe import Markup

from camelid.runs.chart import round_ticks
from camelid.runs.comparison import Comparison, rows, shown
from camelid.runs.report_page import render_page
from camelid.runs.report_words import Words

_HEADS = {
    "method": Words("method", "方法"),
    "accuracy": Words("accuracy", "准确率"),
    "entity F1": Words("entity F1", "实体 F1"),
    "held-out loss": Words("held-out loss", "验证集损失"),
    "trained": Words("trained parameters", "可训练参数"),
    "share": Words("share", "占比"),
    "peak memory": Words("peak memory", "峰值内存"),
    "minutes": Words("minutes", "分钟"),
    "tokens/s": Words("tokens/s", "token/秒"),
    "saved": Words("saved", "保存大小"),
    "general en": Words("general English", "英文通用文本"),
    "general zh": Words("general Chinese", "中文通用文本"),
}
_NOTE = Words(
    "Bars are 95% intervals: over the seeds where there are several, of the one measurement otherwise. Time and memory "
    "are medians over the seeds. General text: how much its perplexity rose.",
    "横线为 95% 区间：有多个种子时是种子之间的区间，否则是单次测量的区间。时间和内存取各种子的中位数。"
    "通用文本：困惑度上升了多少。",
)


def render_comparison(comparison: Comparison) -> str:
    """The page as text, in both languages."""
    heads, body = shown(comparison)
    links = {row["method"]: row["run"] for row in rows(comparison)}
    return render_page(
        "compare.html.jinja",
        title=Words("Methods side by side", "方法对比"),
        name=comparison.title,
        heads=[_HEADS.get(head, Words(head, head)) for head in heads],
        body=[(row, links.get(row[0])) for row in body],
        picture=_picture(comparison),
        note=_NOTE,
    )


def _picture(comparison: Comparison) -> Markup:
    """A dot and a bar for each method that succeeded, the best on top."""
    table = [row for row in rows(comparison) if row["quality"] is not None]
    if not table:
        return Markup("")
    ends = [value for row in table for value in (row["quality"], row["low"], row["high"]) if value is not None]
    low, high = min(ends), max(ends)
    margin = max((high - low) * 0.08, 1e-3)
    low, high = low - margin, high + margin
    left, right, step, top = 190, 880, 30, 10
    bottom = top + step * len(table)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = []
    for tick in round_ticks(low, high, 6):
        if low <= tick <= high:
            parts.append(
                Markup('<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/><text class="tick" x="{0}" y="{3}" '
                       'text-anchor="middle">{4:g}</text>').format(round(x(tick), 1), top, bottom, bottom + 18, tick)
            )  # fmt: skip
    for i, row in enumerate(table):
        y = top + step * i + step / 2
        parts.append(
            Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(
                left - 12, y + 4, row["method"]
            )
        )
        if row["low"] is not None:
            parts.append(
                Markup('<line class="line held" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
                    round(x(row["low"]), 1), round(x(row["high"]), 1), y=y
                )
            )
        parts.append(
            Markup('<circle class="dot held" cx="{}" cy="{}" r="4.5"><title>{}: {:.4f}</title></circle>').format(
                round(x(row["quality"]), 1), y, row["method"], row["quality"]
            )
        )
    box = f"0 0 {right + 20} {bottom + 26}"
    return Markup('<svg class="chart" viewBox="{}" role="img" aria-label="{}">{}</svg>').format(
        box, comparison.measure, Markup("").join(parts)
    )
