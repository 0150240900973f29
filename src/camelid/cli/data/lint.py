"""`camelid data lint`: what is wrong with a data set, where, and what mends it; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from camelid.cli.console import print_json, print_table, quiet, say
from camelid.config import Recipe
from camelid.data.factory.lint.linter import Linter, chosen_kinds
from camelid.data.factory.lint.linter import lint as look
from camelid.data.factory.lint.page import render_lint
from camelid.data.factory.lint.report import HEADS, JUSTIFY, as_values, lines, summary, table
from camelid.errors import UserError
from camelid.runs.durable import write_durably
from camelid.runs.meter import Meter

ERRORS_FOUND = 1
_USUAL_BASE = "smollm2"  # for the command that cuts rows, where the user names none


@dataclass(frozen=True, slots=True)
class LintOptions:
    """What is looked for.

    base: whose tokenizer counts, None for a rough rate; max_length: in tokens, None for a recipe's default; against:
    evaluation sets; only, ignored: names of rules
    """

    base: str | None = None
    max_length: int | None = None
    against: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    examples: int = 3


def lint(sources: Sequence[str], options: LintOptions, *, html: Path | None, as_json: bool) -> int:
    """Look through the data; 1 where there are errors. Raises UserError for what cannot be read or written."""
    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise UserError("a page is written as HTML", where=str(html), mend=f"--html {html.stem}.html")
    max_length = options.max_length or Recipe.model_fields["max_length"].default
    linter = Linter(
        chosen_kinds(options.only, options.ignored),
        max_length=max_length,
        examples=options.examples,
        count_tokens=None if options.base is None else _counter(options.base),
        against=options.against,
    )
    linter.findings.measure = (options.base or _USUAL_BASE, max_length)
    done = 0.0
    with Meter("rows", lambda: done) as meter:

        def step(share: float) -> None:
            nonlocal done
            done = share
            meter.step()

        findings = look(sources, linter, announce=quiet if as_json else say, step=step)
    if html is not None:
        write_durably(html, render_lint(findings, sources).encode("utf-8", errors="replace"))
    if as_json:
        print_json(as_values(findings, sources))
    else:
        print_table(HEADS, table(findings), justify=JUSTIFY)
        for line in lines(findings, sources):
            print(line)
        say(summary(findings))
        if html is not None:
            say(f"written: {html}")
    return ERRORS_FOUND if findings.count("error") else 0


def _counter(base: str) -> Callable[[str], int]:
    """How many tokens a text has for a base."""
    from camelid.model.load import resolve, source_vocabulary

    backend = source_vocabulary(resolve(base, announce=say)).backend
    return lambda text: len(backend.encode(text, add_special_tokens=False).ids)
