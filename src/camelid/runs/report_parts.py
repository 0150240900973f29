"""The parts of the report, each from plain values to what the template shows: words, figures, small pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from camelid.runs.chart import Line, line_chart, smoothed
from camelid.runs.interval import Share
from camelid.runs.report_data import Cost, Retention, Sharing, Skill, TaskScore
from camelid.runs.report_run import RunFacts
from camelid.runs.report_words import WORDS, Words, percent, size, spoken_count, spoken_duration

# What the project holds for "taught without destroying"; only colours depend on them.
KEPT_ENOUGH, WORSE_AT_MOST = 0.9, 0.1

MOST_CLASSES = 50  # rows of the table of classes

Part = dict[str, Any]


def tile_parts(
    facts: RunFacts, retention: Retention | None, cost: Cost | None, score: TaskScore | None = None
) -> list[Part]:
    """The figures at the top: score, skill, questions kept, perplexity, time; where all is missing, the last loss."""
    tiles: list[Part] = []
    if score:
        detail = WORDS["tile_texts"].filled(texts=f"{score.texts:,}")
        tiles.append(_tile(percent(score.value), f"tile_{score.measure}", detail, "learnt"))
    if retention and retention.skills:
        before, after = _pooled([s.before for s in retention.skills]), _pooled([s.after for s in retention.skills])
        was = WORDS["tile_was"].filled(before=percent(before.value))
        tiles.append(_tile(percent(after.value), "tile_skill", was, "learnt"))
    if retention and retention.kept:
        kept = retention.kept
        detail = WORDS["tile_of"].filled(right=kept.right, total=kept.total)
        tiles.append(_tile(percent(kept.value), "tile_kept", detail, _mood(kept.value >= KEPT_ENOUGH)))
    if retention and retention.perplexity:
        worst = max(retention.perplexity, key=lambda p: p.change)
        name = Words(worst.name, worst.name_zh or worst.name)
        detail = WORDS["tile_from_to"].filled(name=name, before=_short(worst.before), after=_short(worst.after))
        figure = percent(worst.change, signed=True)
        tiles.append(_tile(figure, "tile_perplexity", detail, _mood(worst.change <= WORSE_AT_MOST)))
    if cost:
        tiles.append(_tile(spoken_duration(cost.seconds), "tile_time", size(cost.peak_memory_bytes), ""))
    losses = [y for _, y in facts.curves.get("loss", ())]
    if losses and len(tiles) < 3:
        detail = WORDS["tile_was"].filled(before=_short(losses[0]))
        tiles.append(_tile(_short(losses[-1]), "tile_loss", detail, ""))
    return tiles


def skill_parts(skills: Sequence[Skill]) -> list[Part]:
    return [
        {
            "name": Words(skill.name, skill.name_zh or skill.name),
            "total": WORDS["prompts"].filled(total=f"{skill.after.total:,}"),
            "before": percent(skill.before.value),
            "after": percent(skill.after.value),
            "picture": _dumbbell(skill.before, skill.after),
        }
        for skill in skills
    ]


def score_part(score: TaskScore | None) -> Part | None:
    """A task's score with its interval, and the figures of each class."""
    if score is None:
        return None
    low, high = score.interval
    return {
        "name": WORDS[f"tile_{score.measure}"],
        "value": percent(score.value),
        "picture": _bar(score.value, "tree"),
        "interval": WORDS["interval"].filled(low=percent(low), high=percent(high)),
        "classes": [
            {
                "name": name,
                "figures": [percent(figures[key]) for key in ("precision", "recall", "f1")],
                "support": f"{figures['support']:,.0f}",
            }
            for name, figures in list(score.by_class.items())[:MOST_CLASSES]
        ],
    }


def kept_part(retention: Retention | None) -> Part | None:
    if retention is None or retention.kept is None:
        return None
    kept = retention.kept
    low, high = kept.interval
    return {
        "text": WORDS["kept_text"].filled(right=kept.right, total=kept.total),
        "picture": _bar(kept.value, "tree"),
        "interval": WORDS["interval"].filled(low=percent(low), high=percent(high)),
    }


def perplexity_part(retention: Retention | None) -> list[Part]:
    if retention is None:
        return []
    return [
        {
            "name": Words(row.name, row.name_zh or row.name),
            "before": _short(row.before),
            "after": _short(row.after),
            "change": percent(row.change, signed=True),
            "mood": _mood(row.change <= WORSE_AT_MOST),
        }
        for row in retention.perplexity
    ]


def loss_part(facts: RunFacts) -> Part:
    train, held = facts.curves.get("loss", []), facts.curves.get("eval_loss", [])
    lines = [
        Line(train, "raw", hints=True),
        Line(smoothed(train), "smooth"),
        Line(held, "held", dots=True),
    ]
    title = f"{WORDS['loss'].en} / {WORDS['loss'].zh}"
    return {
        "wide": line_chart(lines, width=860, height=300, style="chart wide", title=title),
        "narrow": line_chart(lines, width=380, height=250, style="chart narrow", title=title),
        "held": bool(held),
    }


def curve_parts(facts: RunFacts) -> list[Part]:
    """Small charts of whatever else was recorded at two steps or more."""
    parts = []
    for key in ("learning_rate", "grad_norm", "tokens_per_second"):
        points = facts.curves.get(key, [])
        picture = line_chart(
            [Line(points, "smooth", hints=True)], width=280, height=150, style="chart", title=WORDS[key].en, y_ticks=3
        )
        if len(points) > 1 and picture:
            parts.append({"name": WORDS[key], "picture": picture})
    return parts


def cost_part(cost: Cost | None) -> Part | None:
    if cost is None:
        return None
    seconds = max(cost.seconds, 1e-9)
    hours = cost.seconds / 3600
    return {
        "time": spoken_duration(cost.seconds),
        "useful": spoken_count(cost.useful_tokens),
        "computed": spoken_count(cost.computed_tokens),
        "memory": size(cost.peak_memory_bytes),
        "speed": WORDS["per_second"].filled(
            useful=f"{cost.useful_tokens / seconds:,.0f}", computed=f"{cost.computed_tokens / seconds:,.0f}"
        ),
        "prices": [
            {
                "label": Words(price.label, price.label_zh or price.label),
                "hour": _money(price.per_hour, price.currency),
                "run": _money(price.per_hour * hours, price.currency),
            }
            for price in cost.prices
        ],
    }


def sharing_part(sharing: Sharing | None) -> Part | None:
    if sharing is None:
        return None
    rows = [("padded", sharing.padded, ""), ("separate", sharing.separate, ""), ("tree", sharing.tree, "tree")]
    rows.append(("trained", sharing.trained, "trained"))
    most = max(count for _, count, _ in rows if count is not None) or 1
    saved = 1 - sharing.tree / sharing.separate if sharing.separate else 0.0
    return {
        "bars": [
            {"name": WORDS[key], "count": spoken_count(count), "picture": _bar(count / most, style)}
            for key, count, style in rows
            if count is not None
        ],
        "saved": WORDS["saved"].filled(share=percent(saved)),
    }


def manifest_part(facts: RunFacts) -> list[tuple[Words, list[Part]]]:
    manifest, start = facts.manifest, facts.last_start
    rows: list[tuple[str, list[Part]]] = [
        ("base", [_hashed(manifest.get("base"), "label")]),
        ("template", [_hashed(manifest.get("template"), "name")]),
        ("data", [_file(file) for file in manifest.get("data", [])]),
        ("eval_data", [_file(file) for file in manifest.get("eval_data", [])]),
        ("rejected", [_entry(_rejected(facts.rejected))]),
        ("seed", [_entry(manifest.get("seed", facts.recipe.get("seed")))]),
        ("dtype", [_entry(_pairs(start.get("dtype")))]),
        ("hardware", [_entry(facts.hardware if facts.hardware.en else "")]),
        ("code", [_code(start.get("code"))]),
        ("packages", [_entry(_pairs(start.get("packages"), " "))]),
        ("starts", [_start(each) for each in facts.starts]),
    ]
    shown = [(WORDS[key], [entry for entry in entries if entry["text"]]) for key, entries in rows]
    return [(name, entries) for name, entries in shown if entries]


def _tile(figure: str | Words, label: str, detail: str | Words, mood: str) -> Part:
    return {"figure": figure, "label": WORDS[label], "detail": detail, "mood": mood}


def _mood(good: bool) -> str:
    return "good" if good else "warn"


def _pooled(shares: Sequence[Share]) -> Share:
    return Share(sum(share.right for share in shares), sum(share.total for share in shares))


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 10 else f"{value:,.1f}"


def _money(value: float, currency: str) -> str:
    digits = 2 if value >= 0.1 or value == 0 else 1 - math.floor(math.log10(value))
    return f"{currency}{value:,.{digits}f}"


def _at(value: float) -> str:
    return f"{100 * value:.2f}%"


def _dumbbell(before: Share, after: Share) -> Markup:
    """Before and after on a track from 0 to 100%, each with its interval."""
    parts = [Markup('<line class="track" x1="0" x2="100%" y1="19" y2="19"/>')]
    low, high = sorted((before.value, after.value))
    parts.append(Markup('<line class="gain" x1="{}" x2="{}" y1="19" y2="19"/>').format(_at(low), _at(high)))
    for share, style in ((before, "was"), (after, "now")):
        left, right = (_at(end) for end in share.interval)
        parts.append(
            Markup('<line class="whisker {}" x1="{}" x2="{}" y1="19" y2="19"/>').format(style, left, right)
            + _cap(style, left)
            + _cap(style, right)
        )
    for share, style in ((before, "was"), (after, "now")):
        low, high = share.interval
        parts.append(
            Markup('<circle class="point {}" cx="{}" cy="19" r="7"><title>{} / {} ({} – {})</title></circle>').format(
                style, _at(share.value), share.right, share.total, percent(low), percent(high)
            )
        )
    return Markup('<svg class="dumbbell" aria-hidden="true">{}</svg>').format(Markup("").join(parts))


def _cap(style: str, at: str) -> Markup:
    return Markup('<line class="whisker {}" x1="{}" x2="{}" y1="13" y2="25"/>').format(style, at, at)


def _bar(share: float, style: str) -> Markup:
    return Markup(
        '<svg class="bar" aria-hidden="true"><rect class="whole" width="100%" height="14" rx="5"/>'
        '<rect class="part {}" width="{}" height="14" rx="5"/></svg>'
    ).format(style, _at(min(1.0, max(0.0, share))))


def _entry(text: Any, small: Any = "") -> Part:
    return {"text": "" if text is None else text, "small": small}


def _hashed(value: Any, key: str) -> Part:
    if not isinstance(value, Mapping):
        return _entry("")
    digest = str(value.get("sha256", ""))
    return _entry(str(value.get(key, "")), f"sha256 {digest[:16]}…" if digest else "")


def _file(file: Any) -> Part:
    if not isinstance(file, Mapping):
        return _entry("")
    parts = [WORDS["rows"].filled(rows=f"{file['rows']:,}")] if isinstance(file.get("rows"), int) else []
    count = file.get("bytes")
    tail = f"{size(count) if isinstance(count, int) else '?'}, sha256 {str(file.get('sha256', ''))[:16]}…"
    small = Words(*(", ".join([*texts, tail]) for texts in ([p.en for p in parts], [p.zh for p in parts])))
    return _entry(str(file.get("file", "")), small)


def _code(code: Any) -> Part:
    if not isinstance(code, Mapping):
        return _entry("")
    commit = str(code.get("commit") or "")[:12]
    small = WORDS["modified"] if code.get("modified") else ""
    return _entry(f"camelid {code.get('camelid', '')} {commit}".strip(), small)


def _start(start: Mapping[str, Any]) -> Part:
    time = str(start.get("time", "")).replace("T", " ").removesuffix("+00:00")
    return _entry(WORDS["start_text"].filled(time=f"{time} UTC", step=start.get("step", 0)) if time else "")


def _rejected(count: int) -> Words:
    return WORDS["rejected_text"].filled(count=f"{count:,}") if count else WORDS["none"]


def _pairs(values: Any, separator: str = ": ") -> str:
    if not isinstance(values, Mapping):
        return ""
    shown = (
        f"{key}{separator}{value:.4g}" if isinstance(value, float) else f"{key}{separator}{value}"
        for key, value in values.items()
    )
    return ", ".join(shown)
