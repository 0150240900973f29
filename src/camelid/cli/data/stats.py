"""`camelid data stats`: what a data set is made of, as tables, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from camelid.cli.console import print_json, print_table, quiet, say
from camelid.cli.data.results import files_of
from camelid.data.factory.rows import read_rows
from camelid.data.factory.stats.collect import SIDES, Statistics
from camelid.data.factory.stats.fertility import shown_scripts
from camelid.data.ledger import Ledger
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.load import resolve, source_vocabulary
from camelid.runs.durable import write_durably
from camelid.runs.manifest import describe_files
from camelid.runs.meter import Meter

_OBJECTS = 4


def stats(
    sources: Sequence[str], bases: Sequence[str], html: Path | None, *, accept_license: str | None, as_json: bool
) -> int:
    """Count everything in one pass. Raises UserError for what cannot be read or written."""
    tokenizers = {base: _tokenizer(base, accept_license) for base in bases}
    found = _found(sources, tokenizers, quiet_files=as_json)
    if html is not None:
        from camelid.data.factory.stats.page import render_statistics

        page = render_statistics(found, [Path(source).name for source in sources])
        write_durably(html, page.encode("utf-8", errors="replace"))
        say(f"written: {html}")
    if as_json:
        print_json(found)
    else:
        _print(found)
    return 0


def _tokenizer(base: str, accept_license: str | None) -> Vocabulary:
    return source_vocabulary(resolve(base, accept_license=accept_license, announce=say))


def _found(sources: Sequence[str], tokenizers: Mapping[str, Vocabulary], *, quiet_files: bool) -> dict[str, Any]:
    ledger = Ledger()
    statistics = Statistics(tokenizers)
    announce = quiet if quiet_files else say
    with Meter("rows", lambda: ledger.share) as meter:
        for row in read_rows(sources, ledger=ledger, on_reject=lambda rejection: None, announce=announce):
            statistics.add(row)
            meter.step()
    files = files_of(ledger)
    formats: dict[str, int] = {}
    for report in ledger.files:
        for form, count in report.formats.items():
            formats[form] = formats.get(form, 0) + count
    try:
        inputs = describe_files(files)
    except OSError as error:
        raise UserError(f"cannot be read again: {error.strerror}", where=str(error.filename)) from error
    return {
        "counts": {"read": ledger.read, "kept": ledger.kept, "rejected": ledger.rejected},
        "formats": formats,
        "reasons": dict(ledger.reasons.most_common()),
        **statistics.summary(),
        "inputs": inputs,
    }


def _print(found: Mapping[str, Any]) -> None:
    counts = found["counts"]
    print(f"{counts['read']:,} rows = {counts['kept']:,} read + {counts['rejected']:,} rejected")
    for reason, count in list(found["reasons"].items())[:5]:
        print(f"  {count:,} x {reason}")
    for side in SIDES[:2]:
        languages = found["languages"][side]
        total = max(1, sum(languages.values()))
        shown = [f"{one} {count / total:.1%}" for one, count in languages.items() if count / total >= 0.0005]
        print(f"{side}s: {', '.join(shown) or 'none'}")
    for measure, lengths in (("characters", found["characters"]), *found["tokens"].items()):
        _print_lengths(measure, lengths)
    repeats = found["repeats"]
    print(
        f"\nlike an earlier row: {repeats['whole']['exact_share']:.2%} the same, "
        f"{repeats['prompt']['exact_share']:.2%} with the same prompt, "
        f"{repeats['prompt']['near_share']:.2%} with one much alike ({repeats['near_is']:g})"
    )
    turns = ", ".join(f"{turns}: {count:,}" for turns, count in list(found["turns"].items())[:10])
    print(f"turns: {turns}; system prompts: {found['system']['rows']:,}")
    for side, words in found["words"].items():
        print(
            f"words of {side}s: {words['words']:,}, {words['different']:,} different; "
            f"distinct-1 {words['distinct_1']:.3f}, distinct-2 {words['distinct_2']:.3f}"
        )
    for language, verbs in found["verbs"].items():
        _print_verbs(language, verbs)
    if found["tokenizers"]:
        _print_tokenizers(found["tokenizers"])


def _print_lengths(measure: str, lengths: Mapping[str, Any]) -> None:
    body = []
    for side, one in lengths.items():
        if one["count"]:
            ranks = [f"{one[rank]:,}" for rank in ("p5", "p25", "p50", "p75", "p95", "p99", "max")]
            body.append([side, *ranks, *(f"{share:.1%}" for share in one["above"].values())])
    print(f"\n{measure}")
    heads = ["", "5%", "25%", "50%", "75%", "95%", "99%", "max", ">512", ">1024", ">2048", ">4096"]
    print_table(heads, body, justify="l")


def _print_verbs(language: str, found: Mapping[str, Any]) -> None:
    print(
        f"\n{found['instructions']:,} instructions ({language}): {found['with_verb']:.1%} with a verb, "
        f"{found['with_object']:.1%} with an object; {found['verbs']:,} verbs, {found['pairs']:,} pairs, entropy "
        f"{found['pair_entropy']:.2f} bits"
    )
    body = []
    for one in found["top"][:10]:
        things = ", ".join(f"{thing['object']} {thing['count']:,}" for thing in one["objects"][:_OBJECTS])
        body.append([one["verb"], f"{one['count']:,}", things])
    print_table(["verb", "times", "commonest objects"], body, justify="lrl")


def _print_tokenizers(found: Mapping[str, Any]) -> None:
    each = list(found.values())
    body = [
        ["vocabulary", *(f"{one['vocabulary']:,}" for one in each)],
        ["bytes for a token", *(f"{one['bytes_per_token']:.2f}" for one in each)],
        ["tokens that are a piece of a character", *(f"{one['parts']:.1%}" for one in each)],
        ["unknown tokens", *(f"{one['unknown']:.1%}" for one in each)],
    ]
    for script, key in shown_scripts(each[0]["scripts"]):
        label = f"tokens {key.replace('_', ' ')}: {script}"
        body.append([label, *(f"{one['scripts'][script][key]:.2f}" for one in each)])
    print()
    print_table(["tokenizer", *found], body, justify="l")
