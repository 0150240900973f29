"""scale.html: the measured points, the curve with its range, and the answer; one file, both languages, no script."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from camelid.runs.report_page import render_page
from camelid.runs.report_words import Words
from camelid.runs.scaling import Scaling
from camelid.runs.scaling_words import measure_words, rows, sentence, shown
from camelid.runs.scatter import Curve, Dot, number_axis, scatter

_HEADS = {
    "share": Words("share", "比例"),
    "rows": Words("rows", "行数"),
    "curve": Words("curve", "曲线"),
    "seeds": Words("seeds", "种子数"),
}
_NOTE = Words(
    "Every share was trained for the same number of epochs, so a larger one had more steps; the held-out rows are the "
    "same for all, and of one seed each set of rows holds the smaller ones. Dots are single runs. The curve is "
    "c + a·n^−b; beyond the last dots it is a forecast, and the bar at twice the rows is its 95% interval.",
    "每个比例训练的轮数相同，因此行数多的步数也多；验证数据始终相同；同一个种子下，小的行集包含在大的之中。"
    "每个点是一次运行。曲线为 c + a·n^−b，最右边的点之后是预测；行数翻倍处的竖线是其 95% 区间。",
)


def render_scaling(scaling: Scaling) -> str:
    """The page as text, in both languages."""
    heads, body = shown(scaling)
    measure = measure_words(scaling)
    return render_page(
        "scale.html.jinja",
        title=Words("Is more data worth it?", "值得增加数据吗？"),
        name=scaling.title,
        answer=sentence(scaling),
        measure=measure,
        picture=_picture(scaling),
        note=_NOTE,
        heads=[measure if head == scaling.measure else _HEADS[head] for head in heads],
        body=[(cells, row["runs"]) for cells, row in zip(body, rows(scaling), strict=True)],
    )


def _picture(scaling: Scaling) -> Markup:
    """Rows on a logarithmic axis against quality."""
    dots = [
        Dot(
            float(point.rows),
            scaling.quality(point.badness),
            "held",
            f"{point.rows:,}: {scaling.quality(point.badness):.4f}",
        )
        for point in scaling.points
    ]
    curves = []
    if scaling.fit is not None:
        fit, most = scaling.fit, scaling.most
        first = min(point.rows for point in scaling.points)
        for low, high, style in ((first, most, "fit"), (most, 2 * most, "dashed")):
            along = np.geomspace(low, high, 60)
            curves.append(Curve([(float(n), scaling.quality(fit.at(float(n)))) for n in along], style))
        here = fit.at(most)
        ends = sorted(scaling.quality(here - gain) for gain in (fit.low, fit.high))
        forecast = scaling.quality(here - fit.gain)
        dots.append(Dot(2.0 * most, forecast, "best", f"{2 * most:,}: {forecast:.4f}", ends[0], ends[1]))
    values = [value for dot in dots for value in (dot.y, dot.low, dot.high) if value is not None]
    return Markup("").join(
        scatter(
            dots,
            number_axis([dot.x for dot in dots], log=True),
            number_axis(values),
            size=(width, 320),
            title=scaling.measure,
            style=f"chart {style}",
            curves=curves,
        )
        for width, style in ((900, "wide"), (430, "narrow"))
    )
