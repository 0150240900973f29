"""What a scaling curve says, in one plain sentence in each language, and its table."""

from __future__ import annotations

from typing import Any

from camelid.runs.interval import student_t
from camelid.runs.report_words import MEASURES, Words
from camelid.runs.scaling import Scaling

_ANSWERS = {
    "yes": Words(
        "More data is worth it: from {rows} to {double} rows the {measure} should {verb} by {gain} (95%: {low} to "
        "{high}), more than the {noise} by which single runs vary.",
        "值得增加数据：从 {rows} 行增加到 {double} 行，{measure}预计{verb} {gain}（95% 区间 {low} 到 {high}），"
        "大于单次运行之间 {noise} 的波动。",
    ),
    "no": Words(
        "More data of this kind is not worth it: from {rows} to {double} rows the {measure} should {verb} by no more "
        "than {most} (95%), less than the {noise} by which single runs vary.",
        "再增加同类数据不值得：从 {rows} 行增加到 {double} 行，{measure}最多{verb} {most}（95%），"
        "小于单次运行之间 {noise} 的波动。",
    ),
    "unclear": Words(
        "These points cannot tell whether more data is worth it: by the curve the {measure} should {verb} by {gain} "
        "from {rows} to {double} rows, but anything from {low} to {high} fits (95%), and single runs vary by {noise}. "
        "More seeds or shares would narrow it.",
        "凭这些点还看不出值不值得增加数据：按曲线，从 {rows} 行增加到 {double} 行，{measure}会{verb} {gain}，"
        "但从 {low} 到 {high} 都说得通（95% 区间），而单次运行之间就有 {noise} 的波动。"
        "多用几个种子或几个比例可以缩小范围。",
    ),
    "few": Words(
        "Too few points for a curve: it takes at least three shares and four runs that ended well.",
        "点太少，画不出曲线：至少需要三个比例，并有四次成功的运行。",
    ),
}


def sentence(scaling: Scaling) -> Words:
    """Is more data worth it?"""
    answer = _ANSWERS[scaling.answer]
    fit = scaling.fit
    if fit is None:
        return answer
    falls = scaling.lower_is_better
    return answer.filled(
        rows=f"{scaling.most:,}",
        double=f"{2 * scaling.most:,}",
        measure=MEASURES[scaling.measure],
        verb=Words("fall", "下降") if falls else Words("rise", "上升"),
        gain=f"{fit.gain:.3g}",
        low=f"{fit.low:.3g}",
        high=f"{fit.high:.3g}",
        most=f"{max(fit.high, 0):.3g}",
        noise=f"{fit.noise:.3g}",
    )


def measure_words(scaling: Scaling) -> Words:
    """The measure in both languages."""
    return MEASURES[scaling.measure]


def rows(scaling: Scaling) -> list[dict[str, Any]]:
    """One mapping a share: its rows, the mean quality over its seeds with Student's 95% interval, the curve's."""
    made = []
    for share in sorted({point.share for point in scaling.points}):
        points = [point for point in scaling.points if point.share == share]
        values = [scaling.quality(point.badness) for point in points]
        mean, n = sum(values) / len(values), len(values)
        half = None
        if n > 1:
            half = student_t(n - 1) * (sum((v - mean) ** 2 for v in values) / (n - 1) / n) ** 0.5
        made.append(
            {
                "share": share,
                "rows": points[0].rows,
                "quality": mean,
                "low": None if half is None else mean - half,
                "high": None if half is None else mean + half,
                "fitted": None if scaling.fit is None else scaling.quality(scaling.fit.at(points[0].rows)),
                "seeds": n,
                "runs": [point.run for point in points],
            }
        )
    return made


def shown(scaling: Scaling) -> tuple[list[str], list[list[str]]]:
    """Heads and cells as people read them."""
    body = []
    for row in rows(scaling):
        quality = f"{row['quality']:.4f}"
        if row["low"] is not None:
            quality += f" [{row['low']:.4f}, {row['high']:.4f}]"
        fitted = "" if row["fitted"] is None else f"{row['fitted']:.4f}"
        body.append([f"{row['share']:.0%}", f"{row['rows']:,}", quality, fitted, str(row["seeds"])])
    return ["share", "rows", scaling.measure, "curve", "seeds"], body
