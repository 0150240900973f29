"""`camelid inspect`: the tokens that training really sees, after packing, decoded and coloured.

Shown per example of a step: trained tokens, context, tokens that several examples share (computed once), and how many
were cut. The counts are taken from the trees that the loop would train on, not from the data.
"""

from __future__ import annotations

import html as markup
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from camelid.cli.console import print_json, say
from camelid.config import Recipe, load_recipe
from camelid.data.pack import Example, Row, learnt_tokens, pack_step
from camelid.data.tasks.schemes import OUTSIDE
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.load import resolve, source_vocabulary
from camelid.train.data import TrainingData, prepare_data

Kind = Literal["trained", "shared", "context"]
_STYLES = {"trained": "bold green", "shared": "blue", "context": "dim"}
_LEGEND = {
    "trained": "the model learns to write this",
    "shared": "context that several examples have in common: computed once",
    "context": "read, not learnt",
}


@dataclass(frozen=True)
class Span:
    """A stretch of one example's tokens of one kind."""

    kind: Kind
    text: str
    tokens: int


def inspect(path: Path, overrides: Sequence[str], *, steps: int, html: Path | None, as_json: bool) -> int:
    """Show the first `steps` optimiser steps of a recipe."""
    recipe = load_recipe(path, overrides)
    source = resolve(recipe.base, accept_license=recipe.accept_license, announce=say)
    vocabulary = source_vocabulary(source)
    data = prepare_data(recipe, vocabulary, say=say)
    try:
        examined = [_step(recipe, vocabulary, data, step) for step in range(min(steps, data.schedule.total_steps))]
        if not as_json:
            _print(examined)
        if html is not None:
            _write_page(html, examined)
            say(f"written: {html}")
        if as_json:
            print_json({"template": data.renderer.template.name, "steps": [step["counts"] for step in examined]})
    finally:
        data.close()
    return 0


def _step(recipe: Recipe, vocabulary: Vocabulary, data: TrainingData, step: int) -> dict[str, Any]:
    examples = data.of_step(step)
    rows = pack_step(examples, recipe.row_tokens, share=recipe.layout == "tree")
    cut = {example.source: example.cut for example in examples}
    classes = {example.source: _classes_of(data, example) for example in examples}
    shown = []
    for row in rows:
        for leaf, source in zip(row.tree.leaves, row.sources, strict=True):
            origin = data.origin(source)
            name = f"{Path(origin.file).name}:{origin.line}" if origin else f"example {source}"
            shown.append((name + classes[source], cut[source], spans(row, int(leaf), vocabulary)))
    return {"step": step + 1, "counts": {"step": step + 1, **counts(rows, examples)}, "examples": shown}


def _classes_of(data: TrainingData, example: Example) -> str:
    """What is learnt of an example, where that is no token: its class, or its tags without those outside."""
    if data.task is None or example.labels is None:
        return ""
    names = [data.task.labels[i] for i in example.labels[example.labels >= 0]]
    return f" -> {' '.join(name for name in names if name != OUTSIDE) or OUTSIDE}"


def counts(rows: Sequence[Row], examples: Sequence[Example]) -> dict[str, Any]:
    """What a step computes, from its trees."""
    trained = learnt_tokens(rows)
    computed = sum(len(row.tree) for row in rows)
    useful = sum(row.useful for row in rows)
    return {
        "examples": len(examples),
        "rows": len(rows),
        "useful_tokens": useful,
        "computed_tokens": computed,
        "shared": round(1 - computed / useful, 4) if useful else 0.0,
        "trained_tokens": trained,
        "context_tokens": computed - trained,
        "cut_tokens": sum(example.cut for example in examples),
    }


def spans(row: Row, leaf: int, vocabulary: Vocabulary) -> list[Span]:
    """One example's tokens as stretches of one kind, decoded with their control tokens visible."""
    tree = row.tree
    path = tree.path(leaf)
    # paths through each node: +1 at every leaf, summed over the subtree [k, end[k])
    ends_here = np.bincount(tree.leaves, minlength=len(tree)).cumsum()
    through = ends_here[tree.end[path] - 1] - np.where(path > 0, ends_here[np.maximum(path - 1, 0)], 0)
    kinds = np.where(row.learnt()[path], "trained", np.where(through > 1, "shared", "context"))
    borders = [0, *(np.flatnonzero(kinds[1:] != kinds[:-1]) + 1).tolist(), len(path)]
    made = []
    for start, stop in itertools.pairwise(borders):
        ids = tree.token[path[start:stop]].tolist()
        text = vocabulary.backend.decode(ids, skip_special_tokens=False)
        made.append(Span(str(kinds[start]), text, stop - start))  # type: ignore[arg-type]
    return made


def _print(steps: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for kind, meaning in _LEGEND.items():
        console.print(Text(kind, style=_STYLES[kind]) + Text(f"  {meaning}", style="default"))
    for step in steps:
        console.rule(f"step {step['step']}")
        for name, cut, example in step["examples"]:
            console.print(Text(f"{name}{f'  ({cut} tokens cut)' if cut else ''}", style="bold"))
            line = Text()
            for span in example:
                line.append(span.text, style=_STYLES[span.kind])
            console.print(line)
            console.print()
        for key, value in step["counts"].items():
            console.print(f"{key.replace('_', ' ')}: {f'{value:.1%}' if key == 'shared' else f'{value:,}'}")


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Camelid: inspect</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root{color-scheme:light dark}body{font:15px/1.6 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid #8884;border-radius:8px;padding:.8rem}
pre{margin:.3rem 0 1.2rem}
.trained{background:#1a7f3733;border-bottom:2px solid #1a7f37}.shared{background:#0969da22}.context{opacity:.65}
td{padding:.1rem 1rem .1rem 0}</style></head><body>"""


def _write_page(path: Path, steps: Sequence[dict[str, Any]]) -> None:
    """The same as a page; every text from the data is escaped."""
    parts = [_PAGE, "<h1>Camelid: what training sees</h1><p>"]
    parts += [f'<span class="{kind}">{kind}</span> {meaning}<br>' for kind, meaning in _LEGEND.items()]
    for step in steps:
        parts.append(f"</p><h2>Step {step['step']}</h2><table>")
        parts += [f"<tr><td>{key.replace('_', ' ')}</td><td>{value}</td></tr>" for key, value in step["counts"].items()]
        parts.append("</table>")
        for name, cut, example in step["examples"]:
            note = f" ({cut} tokens cut)" if cut else ""
            parts.append(f"<b>{markup.escape(name)}{note}</b><pre>")
            parts += [f'<span class="{span.kind}">{markup.escape(span.text)}</span>' for span in example]
            parts.append("</pre>")
    try:
        path.write_text("".join(parts) + "</body></html>", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"the page cannot be written ({error.strerror})", where=str(path)) from error
