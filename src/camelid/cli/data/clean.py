"""`camelid data clean`: conversations from the web made fit for training; every turn goes out or has a reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid.cli.console import quiet, say
from camelid.cli.data.results import files_of, tell
from camelid.data.factory.clean.conversation import Turns
from camelid.data.factory.clean.language import LANGUAGES
from camelid.data.factory.clean.markup import tags_left
from camelid.data.factory.clean.rows import CleanRow, clean_rows, held_out
from camelid.data.factory.clean.split import Lengths, characters
from camelid.data.factory.clean.text import Rules
from camelid.data.factory.clean.vendor import Identity, Treatment
from camelid.data.factory.output import Output
from camelid.data.ledger import Ledger
from camelid.data.records import Conversation, Message, Origin
from camelid.errors import UserError
from camelid.runs.meter import Meter

_SHORTEST = 16  # a limit below it leaves one exchange a part


@dataclass(frozen=True, slots=True)
class CleanOptions:
    """max_length: of a conversation, in tokens of `base` with its template, else in characters; validation: a share"""

    languages: tuple[str, ...] = ()
    vendor: Treatment = "drop"
    name: str = ""
    maker: str = ""
    max_length: int | None = None
    base: str | None = None
    accept_license: str | None = None
    validation: float = 0.0
    seed: int = 42


def clean(sources: Sequence[str], output: Path, options: CleanOptions, *, overwrite: bool, as_json: bool) -> int:
    """Write the rows as cleaned. Raises UserError for what cannot be read or written, or does not go together."""
    rules = _rules(options, quiet if as_json else say)
    turns, changes = Turns(), Counter[str]()
    asked: list[tuple[str, Origin]] = []
    over_limit = tags = 0
    with Output(output, overwrite=overwrite, apart="validation" if options.validation else "") as out:
        ledger = Ledger()
        rows = clean_rows(
            sources, rules, ledger=ledger, on_reject=out.unreadable, unread=turns, announce=quiet if as_json else say
        )
        with Meter("rows cleaned", lambda: ledger.share) as meter:
            for row in rows:
                _file(row, out)
                turns.count(row.cleaned.turns)
                changes += row.cleaned.changes
                over_limit += row.cleaned.over_limit
                tags += _with_tags(row)
                if options.validation:
                    asked += [(row.asked, row.origin)] * len(row.rows)
                meter.step()
        turns.check()
        if not out.written:
            raise UserError(
                f"no row is left: {out.commonest()}", where=", ".join(sources), mend="see what was asked for"
            )
        more: dict[str, Any] = {"turns": turns.described(), "changes": dict(changes.most_common())}
        more["turns_that_name_tags"] = tags
        if options.max_length is not None:
            more["longer_than_limit"] = over_limit
        if options.validation:
            apart = held_out(asked, options.validation, options.seed)
            if not apart:
                raise UserError("all rows belong to one conversation: none can be set apart", where="--validation")
            out.set_apart(apart)
        manifest = out.finish("clean", _described(options), files_of(ledger), **more)
    tell(manifest, out, as_json=as_json)
    if not as_json:
        _say_turns(manifest, out)
    return 0


def _file(row: CleanRow, out: Output) -> None:
    if row.rows:
        out.keep(*row.rows)
    else:
        why = {"why": row.cleaned.why} if row.cleaned.why else {}
        out.drop(row.origin, row.cleaned.reason, row.value, **why)


def _with_tags(row: CleanRow) -> int:
    """Turns that still name a tag outside their code: they talk of HTML."""
    return sum(1 for part in row.cleaned.parts for message in part if tags_left(message.content))


def _rules(options: CleanOptions, announce: Callable[[str], None]) -> Rules:
    """Raises UserError for options that do not go together."""
    for language in options.languages:
        if language not in LANGUAGES:
            raise UserError(f"{language!r} cannot be told", where="--language", mend=f"one of {', '.join(LANGUAGES)}")
    if (options.name or options.maker) and options.vendor != "rewrite":
        raise UserError("names are for answers that are rewritten", where="--name", mend="add --vendor rewrite")
    if options.base is not None and options.max_length is None:
        raise UserError("a base measures a length", where="--base", mend="add --max-length 2048, or leave it out")
    if options.max_length is not None and options.max_length < _SHORTEST:
        raise UserError("is too short", where=f"--max-length {options.max_length}", mend=f"at least {_SHORTEST}")
    if not (math.isfinite(options.validation) and 0 <= options.validation < 1):
        raise UserError("is no share", where=f"--validation {options.validation}", mend="0.05 for a twentieth")
    identity = Identity(options.name.strip(), options.maker.strip())
    lengths = characters if options.base is None else _tokens(options.base, options.accept_license, announce)
    return Rules(options.languages, options.vendor, identity, options.max_length, lengths)


def _tokens(base: str, accept_license: str | None, announce: Callable[[str], None]) -> Lengths:
    """Lengths in tokens of a base, as its template renders a conversation."""
    import numpy as np

    from camelid.data.render import Renderer
    from camelid.data.templates import template_for
    from camelid.model.load import resolve, source_vocabulary

    vocabulary = source_vocabulary(resolve(base, accept_license=accept_license, announce=announce))
    template = template_for("auto", vocabulary, announce=announce)
    renderer = Renderer(
        vocabulary, template, max_length=1 << 30, train_on="everything", on_reject=lambda rejection: None
    )
    origin = Origin("", 0)

    def lengths(messages: Sequence[Message]) -> Sequence[int]:
        rendered = renderer.render(Conversation(tuple(messages), origin))
        if not rendered:  # this template refuses it; training will say so
            return [len(vocabulary.backend.encode(message.content).ids) for message in messages]
        turns = np.maximum(rendered[0].turns, 0)  # what stands before the first turn is the first's
        return np.bincount(turns, minlength=len(messages)).tolist()

    return lengths


def _described(options: CleanOptions) -> dict[str, Any]:
    described: dict[str, Any] = {"languages": list(options.languages), "vendor": options.vendor}
    if options.vendor == "rewrite":
        described |= {"name": options.name, "maker": options.maker}
    described |= {"max_length": options.max_length, "base": options.base}
    if options.validation:
        described |= {"validation": options.validation, "seed": options.seed}
    return described


def _say_turns(manifest: Mapping[str, Any], out: Output) -> None:
    turns = manifest["turns"]
    added, removed = sum(turns["added"].values()), sum(turns["removed"].values())
    also = f" + {added:,} added" if added else ""
    say(f"{turns['in']:,} turns{also} = {turns['out']:,} out + {removed:,} removed")
    for name, sign in (("added", "+"), ("removed", "-")):
        for reason, count in turns[name].items():
            say(f"  {sign} {count:,} x {reason}")
    for rule, count in manifest["changes"].items():
        say(f"  {count:,} turns: {rule}")
    if manifest.get("longer_than_limit"):
        say(f"  {manifest['longer_than_limit']:,} parts are one exchange that is longer than the limit")
    if "validation" in manifest:
        say(f"for validation: {manifest['validation']['rows']:,} of these rows, in {out.apart_file}")
