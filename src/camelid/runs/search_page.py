"""tune.html: each trial's quality, what mattered, every field against quality; one file, both languages, no script."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from camelid.runs.report_page import render_page
from camelid.runs.report_words import MEASURES, Words
from camelid.runs.scatter import Axis, Curve, Dot, named_axis, number_axis, scatter
from camelid.runs.search import Search, Tried, shown
from camelid.runs.space import Dimension, Range, written

_HEADS = {"trial": Words("trial", "试验"), "minutes": Words("minutes", "分钟")} | MEASURES
_NOTES = {
    "final": Words(
        "Share of each field in what set the best three in ten trials apart (PED-ANOVA), by their final figure.",
        "各字段对“进入最好的三成”的贡献（PED-ANOVA），按最终结果计算。",
    ),
    "early": Words(
        "Share of each field in what set the best three in ten trials apart (PED-ANOVA), by the held-out loss at their "
        "first evaluation, which those ended early have too: too few trials went to the end.",
        "各字段对“进入最好的三成”的贡献（PED-ANOVA）。跑到最后的试验太少，因此按第一次评估的验证集损失计算，"
        "提前停止的试验也算在内。",
    ),
    "none": Words(
        "Fewer than eight trials can be compared, or one field alone was searched: nothing can be said.",
        "可以比较的试验不足八次，或只搜索了一个字段：无从判断。",
    ),
}
_CAUTION = Words(
    "The best of many trials was chosen on these very held-out rows, so its figure is somewhat too good. Measure it "
    "once more on other rows before you rely on it.",
    "最好的试验正是用这批验证数据挑出来的，因此它的数字会偏乐观。正式采用之前，请再用另一批数据测一次。",
)


def render_search(search: Search) -> str:
    """The page as text, in both languages."""
    heads, body = shown(search)
    return render_page(
        "tune.html.jinja",
        title=Words("Hyper-parameter search", "超参数搜索"),
        name=search.title,
        tiles=_tiles(search),
        measure=MEASURES[search.measure],
        trials=_trials(search),
        legend=_legend(search),
        importance=sorted(search.importance.items(), key=lambda pair: -pair[1]),
        importance_note=_NOTES[search.important_for],
        fields=[(d.field, _against(search, d)) for d in search.space],
        heads=[_HEADS.get(head, Words(head, head)) for head in heads],
        body=[(row, t.run if t.state == "done" else None) for t, row in zip(search.ordered, body, strict=True)],
        failed=[(t.number, t.failed) for t in search.tried if t.failed],
        caution=_CAUTION,
    )


def _tiles(search: Search) -> list[tuple[str, Words, Words]]:
    """(figure, label, detail) of the page's head."""
    best, given = search.best, search.given
    counts = {state: sum(t.state == state for t in search.tried) for state in ("done", "pruned", "failed")}
    figure = "–" if best is None else f"{search.quality(best):.4f}"
    was = "–" if given is None else f"{search.quality(given):.4f}"
    measure = MEASURES[search.measure]
    return [
        (
            figure,
            Words("best: {m}", "最好：{m}").filled(m=measure),
            Words("", "") if best is None else Words("trial {n}", "第 {n} 次试验").filled(n=best.number),
        ),
        (was, Words("the recipe as given", "原配方"), Words("trial 0", "第 0 次试验")),
        (
            str(len(search.tried)),
            Words("trials", "试验次数"),
            Words("{done} to the end, {pruned} ended early, {failed} failed",
                  "{done} 次跑完，{pruned} 次提前停止，{failed} 次失败").filled(**counts),
        ),
    ]  # fmt: skip


def _legend(search: Search) -> list[tuple[str, Words]]:
    early = [("pruned", Words("ended early (its last held-out loss)", "提前停止（最后一次验证集损失）"))]
    return [
        ("held", Words("to the end", "跑完")),
        *(early if search.lower_is_better else []),
        ("best", Words("the best", "最好")),
    ]


def _figure(search: Search, tried: Tried) -> float | None:
    """What a trial is drawn at: its quality, or where it was ended early and losses are drawn, its last loss."""
    quality = search.quality(tried)
    if quality is None and search.lower_is_better and tried.losses:
        return tried.losses[-1][1]
    return quality


def _drawn(search: Search) -> list[tuple[Tried, float]]:
    """Trials with their figures; one that diverged would press all others into a line, so it is drawn at the edge."""
    known = [(t, figure) for t in search.tried if (figure := _figure(search, t)) is not None]
    if not known or not search.lower_is_better:
        return known
    low = min(figure for _, figure in known)
    given = [figure for t, figure in known if t.number == 0]
    edge = max(low + 3 * (sorted(figure for _, figure in known)[len(known) // 2] - low), *given, low * 1.02)
    return [(t, min(figure, edge)) for t, figure in known]


def _trials(search: Search) -> Markup:
    known = _drawn(search)
    if not known:
        return Markup("")
    best_yet, step = [], None
    for t, figure in known:
        if step is not None:
            best_yet.append((float(t.number), step))
        if t.badness is not None:
            step = figure if step is None else (min if search.lower_is_better else max)(step, figure)
        if step is not None:
            best_yet.append((float(t.number), step))
    dots = [_dot(search, t, float(t.number), figure) for t, figure in known]
    return Markup("").join(
        scatter(
            dots,
            number_axis([0.0, float(max(t.number for t, _ in known))], ticks=width // 90, whole=True),
            number_axis([figure for _, figure in known]),
            size=(width, 260),
            title=search.measure,
            style=f"chart {style}",
            curves=[Curve(best_yet, "dashed")],
        )
        for width, style in ((900, "wide"), (430, "narrow"))
    )


def _against(search: Search, dimension: Dimension) -> Markup:
    """One field against quality."""
    known = _drawn(search)
    if not known:
        return Markup("")
    x, places = _axis(dimension, [t for t, _ in known])
    dots = [_dot(search, t, places[i], figure) for i, (t, figure) in enumerate(known) if places[i] is not None]
    return scatter(dots, x, number_axis([f for _, f in known], ticks=4), size=(430, 200), title=dimension.field)


def _axis(dimension: Dimension, tried: Sequence[Tried]) -> tuple[Axis, list[float | None]]:
    """The axis of a field, and each trial's place on it (none where a logarithmic one has no place for it)."""
    values = [t.values[dimension.field] for t in tried]
    if isinstance(dimension, Range):
        usable = [v if isinstance(v, int | float) and (v > 0 or not dimension.log) else None for v in values]
        ends = [dimension.low, dimension.high, *(v for v in usable if v is not None)]
        return number_axis(ends, log=dimension.log, ticks=4), [None if v is None else float(v) for v in usable]
    names = [written(v) for v in dimension.values]
    return named_axis(names), [float(dimension.values.index(v)) for v in values]


def _dot(search: Search, tried: Tried, x: float | None, figure: float) -> Dot:
    style = "best" if tried is search.best else "held" if tried.badness is not None else "pruned"
    said = ", ".join(f"{name} {written(value)}" for name, value in tried.values.items())
    assert x is not None
    return Dot(x, figure, style, f"{tried.number}: {_figure(search, tried):.4f} ({said})")
