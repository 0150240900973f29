"""report.html: what a run learned, forgot, cost and shared, on one page that needs nothing beside itself.

Both languages are in the page and a switch without script shows one. The page may hold anything that a data set or a
model says, so every text is escaped by the template engine, and a content security policy allows one style sheet (by
its hash) and nothing else: no script, no image, no request.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from markupsafe import Markup

from camelid.runs.directory import RunDirectory
from camelid.runs.durable import write_durably
from camelid.runs.report_data import Cost, Retention, Sample, Sharing, TaskScore
from camelid.runs.report_page import render_page
from camelid.runs.report_parts import (
    cost_part,
    curve_parts,
    kept_part,
    loss_part,
    manifest_part,
    perplexity_part,
    score_part,
    sharing_part,
    skill_parts,
    tile_parts,
)
from camelid.runs.report_run import RunFacts, read_facts
from camelid.runs.report_words import WORDS, Words


def write_report(
    run: RunDirectory,
    *,
    language: Literal["en", "zh"] = "en",
    samples: Sequence[Sample] = (),
    retention: Retention | None = None,
    cost: Cost | None = None,
    sharing: Sharing | None = None,
    score: TaskScore | None = None,
) -> Path:
    """Write report.html into the run directory and return its path. `language` is the one shown first.

    What is not given is said to be not measured. Curves, recipe and manifest are read from the run directory. Raises
    NotSaved if the disk refuses.
    """
    facts = read_facts(run)
    measured: dict[str, Any] = {"retention": retention, "cost": cost, "sharing": sharing, "score": score}
    page = render_report(facts, language=language, samples=samples, **measured)
    # A text of the user's may hold a lone surrogate, which no encoding has: it is shown as a question mark.
    write_durably(run.report_file, page.encode("utf-8", errors="replace"))
    return run.report_file


def render_report(
    facts: RunFacts,
    *,
    language: Literal["en", "zh"],
    samples: Sequence[Sample],
    retention: Retention | None,
    cost: Cost | None,
    sharing: Sharing | None,
    score: TaskScore | None,
) -> str:
    """The page as text."""
    return render_page(
        "page.html.jinja",
        w=WORDS,
        language=language,
        name=facts.name,
        subtitle=_subtitle(facts),
        tiles=tile_parts(facts, retention, cost, score),
        score=score_part(score),
        samples=samples,
        skills=skill_parts(retention.skills if retention else ()),
        general=skill_parts(retention.general if retention else ()),
        kept=kept_part(retention),
        perplexity=perplexity_part(retention),
        loss=loss_part(facts),
        warnings=facts.warnings,
        curves=curve_parts(facts),
        cost=cost_part(cost),
        sharing=sharing_part(sharing),
        made=manifest_part(facts),
        recipe=_recipe_lines(facts.recipe),
        call=WORDS["score_it" if _has_head(facts.recipe) else "chat"],
        chat=f"camelid {'eval' if _has_head(facts.recipe) else 'chat'} {shlex.quote(str(facts.path))}"
        f"{' FILE' if _has_head(facts.recipe) else ''}",
        made_by=WORDS["made_by"].filled(version=facts.version),
    )


def _subtitle(facts: RunFacts) -> Words:
    text = WORDS["made_from" if facts.recipe.get("from_scratch") else "tuned_from"].filled(base=facts.base)
    method = str(facts.recipe.get("method", ""))
    parts = [text, Words(method, method), Words(facts.date, facts.date), facts.hardware]
    return Words(" · ".join(part.en for part in parts if part.en), " · ".join(part.zh for part in parts if part.zh))


def _has_head(recipe: dict[str, Any]) -> bool:
    """Whether the run's model tells classes by a head and writes no text."""
    return recipe.get("task", "chat") != "chat" and recipe.get("task_form", "head") == "head"


def _recipe_lines(recipe: dict[str, Any]) -> list[Markup]:
    """The recipe as YAML, its keys marked."""
    lines = []
    for line in yaml.safe_dump(recipe, allow_unicode=True, sort_keys=False, width=88).splitlines():
        key, colon, value = line.partition(":")
        marked = Markup('<span class="key">{}</span>{}{}').format(key, colon, value)
        lines.append(marked if colon and key.strip().replace("_", "").isalnum() else Markup("{}").format(line))
    return lines
