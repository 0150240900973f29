"""The figures of a data set as one page: both languages, no script, nothing beside itself; every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from camelid.data.factory.stats.collect import SIDES
from camelid.data.factory.stats.drawing import histogram, ring
from camelid.data.factory.stats.fertility import shown_scripts
from camelid.data.factory.stats.lengths import LIMITS, PERCENTILES
from camelid.data.factory.stats.scripts import LANGUAGES
from camelid.data.factory.stats.wording import LANGUAGE, SCRIPT, SIDE, WORDS
from camelid.runs.report_page import render_page
from camelid.runs.report_words import Words, percent, size

_MOST_TURNS = 12  # rows of turns; what is longer is one
_EXCERPT = 200  # characters of a system prompt
_REASONS = 8


def render_statistics(found: Mapping[str, Any], names: Sequence[str]) -> str:
    """The page as text. found: what `camelid data stats --json` prints; names: of what was read"""
    return render_page(
        "stats.html.jinja",
        w=WORDS,
        name=names[0] if len(names) == 1 else WORDS["and_more"].filled(name=names[0], more=len(names) - 1),
        formats=", ".join(f"{form} ({count:,})" for form, count in found["formats"].items()),
        tiles=_tiles(found),
        languages=[(SIDE[side], _languages(found["languages"][side])) for side in SIDES[:2]],
        lengths=[_lengths(WORDS["characters"], found["characters"])]
        + [_lengths(WORDS["tokens_of"].filled(base=base), one) for base, one in found["tokens"].items()],
        asked=[_asked(language, one) for language, one in found["verbs"].items()],
        repeats=_repeats(found),
        tokenizers=_tokenizers(found["tokenizers"]),
        turns=_turns(found["turns"]),
        system=WORDS["system"].filled(
            rows=f"{found['system']['rows']:,}", different=f"{found['system']['different']:,}",
            tools=f"{found['with_tools']:,}",
        ),
        systems=[(_excerpt(one["text"]), f"{one['rows']:,}") for one in found["system"]["commonest"]],
        read=_read(found),
    )  # fmt: skip


def _tiles(found: Mapping[str, Any]) -> list[tuple[str | Words, Words, str | Words]]:
    """(figure, label, detail) of the page's head."""
    counts = found["counts"]
    side = "answer" if found["characters"]["answer"]["count"] else "prompt"
    measure, lengths = "characters", found["characters"][side]
    if found["tokens"]:
        measure, lengths = "tokens", next(iter(found["tokens"].values()))[side]
    repeats = found["repeats"]["prompt"]
    tiles: list[tuple[str | Words, Words, str | Words]] = [
        (f"{counts['kept']:,}", WORDS["rows"], WORDS["rejected"].filled(rows=f"{counts['rejected']:,}")),
        (
            f"{lengths.get('p50', 0):,}",
            WORDS["median"].filled(side=SIDE[side], measure=WORDS[f"in_{measure}"]),
            WORDS["up_to"].filled(p95=f"{lengths.get('p95', 0):,}"),
        ),
        (
            _share(repeats["near_share"]),
            WORDS["near_prompts"],
            WORDS["exactly"].filled(share=_share(repeats["exact_share"])),
        ),
    ]
    if found["verbs"]:
        one = max(found["verbs"].values(), key=lambda verbs: verbs["instructions"])
        tiles.append((f"{one['pairs']:,}", WORDS["pairs"], WORDS["entropy"].filled(bits=f"{one['pair_entropy']:.2f}")))
    return tiles


def _languages(counts: Mapping[str, int]) -> list[tuple[Words, str, Markup]]:
    total = max(1, sum(counts.values()))
    shown = sorted((one for one in LANGUAGES if counts[one]), key=lambda one: -counts[one])
    return [
        (LANGUAGE[one], f"{counts[one]:,} · {_share(counts[one] / total)}", _bar(counts[one] / total)) for one in shown
    ]


def _lengths(title: Words, found: Mapping[str, Any]) -> tuple[Words, list[Any], list[Any], list[Any]]:
    """(title, histograms, heads and cells of the table)."""
    sides = [side for side in SIDES if found[side]["count"]]
    charts = [
        (SIDE[side], histogram(found[side]["histogram"], width=280, height=150, title=SIDE[side].en)) for side in sides
    ]
    heads = ["", *(SIDE[side] for side in sides)]
    body: list[list[Any]] = [[WORDS["mean"], *(f"{found[side]['mean']:,.1f}" for side in sides)]]
    for rank in (*(f"p{one}" for one in PERCENTILES), "max"):
        label = WORDS["longest"] if rank == "max" else WORDS["percentile"].filled(rank=rank[1:])
        body.append([label, *(f"{found[side][rank]:,}" for side in sides)])
    for limit in LIMITS:
        cells = (_share(found[side]["above"][str(limit)]) for side in sides)
        body.append([WORDS["above"].filled(limit=f"{limit:,}"), *cells])
    return title, charts, heads, body


def _asked(language: str, found: Mapping[str, Any]) -> dict[str, Any]:
    title = WORDS["asked"].filled(language=LANGUAGE[language])
    return {
        "title": title,
        "lead": WORDS[f"asked_lead_{language}"],
        "facts": [
            (
                WORDS["with_verb"],
                percent(found["with_verb"]),
                WORDS["of_instructions"].filled(count=f"{found['instructions']:,}"),
            ),
            (WORDS["with_object"], percent(found["with_object"]), ""),
            (WORDS["verbs"], f"{found['verbs']:,}", WORDS["entropy"].filled(bits=f"{found['verb_entropy']:.2f}")),
            (
                WORDS["different_pairs"],
                f"{found['pairs']:,}",
                WORDS["entropy"].filled(bits=f"{found['pair_entropy']:.2f}"),
            ),
        ],
        "picture": ring(found["top"], size=700, title=title.en),
        "body": [
            (
                one["verb"],
                f"{one['count']:,}",
                ", ".join(f"{thing['object']} {thing['count']:,}" for thing in one["objects"]) or "–",
            )
            for one in found["top"]
        ],
    }


def _repeats(found: Mapping[str, Any]) -> list[tuple[Words, str, str | Words]]:
    prompt, whole = found["repeats"]["prompt"], found["repeats"]["whole"]
    facts: list[tuple[Words, str, str | Words]] = [
        (WORDS["same_row"], _share(whole["exact_share"]), WORDS["rows_of"].filled(rows=f"{whole['exact']:,}")),
        (WORDS["same_prompt"], _share(prompt["exact_share"]), WORDS["rows_of"].filled(rows=f"{prompt['exact']:,}")),
        (WORDS["like_prompt"], _share(prompt["near_share"]), WORDS["rows_of"].filled(rows=f"{prompt['near']:,}")),
    ]
    for side in SIDES[:2]:
        words = found["words"][side]
        if words["words"]:
            distinct = f"distinct-1 {words['distinct_1']:.3f}, distinct-2 {words['distinct_2']:.3f}"
            facts.append((WORDS["different"].filled(side=SIDE[side]), f"{words['different']:,}", distinct))
    return facts


def _tokenizers(found: Mapping[str, Any]) -> dict[str, Any]:
    """Side by side; {} where there is none."""
    if not found:
        return {}
    each = list(found.values())
    body: list[list[Any]] = [
        [WORDS["vocabulary"], *(f"{one['vocabulary']:,}" for one in each)],
        [WORDS["tokens"], *(f"{one['tokens']:,}" for one in each)],
        [WORDS["bytes_per_token"], *(f"{one['bytes_per_token']:.2f}" for one in each)],
        [WORDS["parts"], *(_share(one["parts"]) for one in each)],
        [WORDS["unknown"], *(_share(one["unknown"]) for one in each)],
        [WORDS["used"], *(_share(one["used"]) for one in each)],
    ]
    for script, key in shown_scripts(each[0]["scripts"]):
        cells = (f"{one['scripts'][script][key]:.2f}" for one in each)
        body.append([WORDS[key].filled(script=SCRIPT[script]), *cells])
    return {"heads": list(found), "body": body}


def _turns(found: Mapping[str, int]) -> list[tuple[Words, str, Markup]]:
    total = max(1, sum(found.values()))
    shown = list(found.items())
    bars = [(WORDS["turns_of"].filled(turns=turns), count) for turns, count in shown[:_MOST_TURNS]]
    rest = sum(count for _, count in shown[_MOST_TURNS:])
    if rest:
        bars.append((WORDS["more_turns"].filled(turns=shown[_MOST_TURNS][0]), rest))
    return [(label, f"{count:,} · {_share(count / total)}", _bar(count / total)) for label, count in bars]


def _read(found: Mapping[str, Any]) -> list[tuple[Words, Sequence[tuple[Any, Any]]]]:
    files = [(one["file"], f"{size(one['bytes'])}, sha256 {one['sha256'][:16]}…") for one in found["inputs"]]
    reasons = [(f"{count:,} × {reason}", "") for reason, count in list(found["reasons"].items())[:_REASONS]]
    kinds = [(f"{kind} {count:,}", "") for kind, count in found["kinds"].items()]
    parts = [(WORDS["files"], files), (WORDS["records"], kinds), (WORDS["reasons"], reasons)]
    return [(label, entries) for label, entries in parts if entries]


def _share(value: float) -> str:
    """12.3%, and never 0% for what there is."""
    return percent(value) if value == 0 or value >= 0.0005 else "< 0.1%"


def _bar(share: float) -> Markup:
    return Markup(
        '<svg class="bar" aria-hidden="true"><rect class="whole" width="100%" height="14" rx="5"/>'
        '<rect class="part tree" width="{:.2f}%" height="14" rx="5"/></svg>'
    ).format(100 * share)


def _excerpt(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _EXCERPT else f"{flat[: _EXCERPT - 1]}…"
