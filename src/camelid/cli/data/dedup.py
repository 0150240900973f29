"""`camelid data dedup`: rows without those that are like an earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from camelid.cli.console import quiet, say
from camelid.cli.data.results import files_of, tell
from camelid.data.factory.dedup import Method, Tokens, duplicates
from camelid.data.factory.output import Output
from camelid.data.factory.rows import Aspect, read_rows, text_of
from camelid.data.ledger import Ledger
from camelid.data.records import Origin
from camelid.runs.meter import Meter


def dedup(
    sources: Sequence[str],
    output: Path,
    *,
    method: Method,
    threshold: float,
    on: Aspect,
    tokens: Tokens,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Write the rows that are like none before them. Raises UserError for what cannot be read or written."""
    options = {"method": method, "threshold": threshold, "on": on, "tokens": tokens}
    if method == "exact":
        options = {"method": method, "on": on}
    with Output(output, overwrite=overwrite) as out:
        ledger = Ledger()

        def texts() -> Iterator[str]:
            """All of them once more: of those that exceed memory only signatures are kept."""
            look = Ledger()
            with Meter("rows looked at", lambda: look.share) as meter:
                for row in read_rows(sources, ledger=look, on_reject=lambda rejection: None):
                    meter.step()
                    yield text_of(row, on)

        rows = read_rows(sources, ledger=ledger, on_reject=out.unreadable, announce=quiet if as_json else say)
        verdicts = duplicates(texts(), method, threshold=threshold, tokens=tokens)
        seen: list[Origin] = []
        for row, near in zip(rows, verdicts, strict=True):
            seen.append(row.origin)
            if near is None:
                out.keep(row.value)
            else:
                other = seen[near.number]
                nearest = {"file": other.file, "line": other.line, "score": round(near.score, 4)}
                out.drop(row.origin, f"like an earlier row ({on})", row.value, nearest=nearest)
        manifest = out.finish("dedup", options, files_of(ledger))
    tell(manifest, out, as_json=as_json)
    return 0
