"""What a verb of the factory says at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camelid.cli.console import print_json, say
from camelid.data.factory.output import Output
from camelid.data.ledger import Ledger


def tell(manifest: Mapping[str, Any], out: Output, *, as_json: bool, what: str = "rows") -> None:
    """The counts, as lines or as the one JSON object. what: came in"""
    if as_json:
        print_json(manifest)
        return
    counts = manifest["counts"]
    say(f"{counts['read']:,} {what} = {counts['used']:,} used + {counts['dropped']:,} dropped")
    for reason, count in manifest["reasons"].items():
        say(f"  {count:,} x {reason}")
    say(f"written: {counts['written']:,} rows to {out.path}; dropped ones: {out.dropped_file}")


def files_of(ledger: Ledger) -> list[Path]:
    """The files that were read, each once; ids of the hub are none."""
    return [path for file in dict.fromkeys(report.file for report in ledger.files) if (path := Path(file)).is_file()]


def say_asked(ended: str, summary: Mapping[str, Any]) -> None:
    """Why it ended before it was through, and what the teacher was asked."""
    if ended:
        say(f"ended: {ended}")
    tokens = f"{summary['prompt_tokens']:,} + {summary['completion_tokens']:,} tokens"
    cost = f", ${summary['cost']:.4f}" if "cost" in summary else ""
    say(f"{summary['name']}: {summary['answers']:,} answers, {tokens}{cost}")
