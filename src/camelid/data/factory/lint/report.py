"""What lint found as one JSON object and as lines for a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from camelid.data.factory.lint.kinds import SEVERITIES, Kind
from camelid.data.factory.lint.linter import Findings, Tally
from camelid.data.records import Origin

HEADS, JUSTIFY = ("rows", "share", "severity", "rule", "what"), "rrlll"


def as_values(findings: Findings, sources: Sequence[str]) -> dict[str, Any]:
    """All of it, for JSON."""
    rows = {"read": findings.rows, "unreadable": findings.unreadable}
    rows |= {f"with_{severity}s": findings.rows_with(severity) for severity in SEVERITIES}
    rows["clean"] = findings.rows - findings.rows_with("note")
    return {
        "rows": rows,
        "findings": {severity: findings.count(severity) for severity in SEVERITIES},
        "files": findings.files,
        "rules": [_values(tally, findings, sources) for tally in findings.found],
    }


def _values(tally: Tally, findings: Findings, sources: Sequence[str]) -> dict[str, Any]:
    kind = tally.kind
    examples = []
    for one in tally.examples:
        values: dict[str, Any] = {"file": one.origin.file, "line": one.origin.line, "shown": one.shown}
        if one.other is not None:
            values["other"] = {"file": one.other.file, "line": one.other.line}
        examples.append(values)
    return {
        "rule": kind.name,
        "severity": kind.severity,
        "title": kind.title.en,
        "title_zh": kind.title.zh,
        "count": tally.count,
        "share": round(tally.count / findings.rows, 6),
        "mend": kind.mend.en,
        "mend_zh": kind.mend.zh,
        "command": command_of(kind, findings, sources),
        "examples": examples,
    }


def table(findings: Findings) -> list[tuple[str, ...]]:
    """A line for each kind, under HEADS."""
    return [
        (f"{one.count:,}", share(one.count, findings.rows), one.kind.severity, one.kind.name, one.kind.title.en)
        for one in findings.found
    ]


def lines(findings: Findings, sources: Sequence[str]) -> Iterator[str]:
    """Of each kind its examples, and what mends it."""
    for tally in findings.found:
        kind = tally.kind
        yield ""
        yield f"{kind.name} ({tally.count:,}): {kind.title.en}"
        for one in tally.examples:
            other = f"  → {place(one.other)}" if one.other else ""
            yield f"  {place(one.origin)}  {one.shown}{other}"
        command = command_of(kind, findings, sources)
        yield f"  mend: {kind.mend.en}" + (f"\n    {command}" if command else "")


def summary(findings: Findings) -> str:
    """The last line."""
    clean = findings.rows - findings.rows_with("note")
    counts = ", ".join(f"{findings.count(one):,} {one}s" for one in SEVERITIES)
    return f"{findings.rows:,} rows: {counts}; {clean:,} rows without a finding"


def place(origin: Origin) -> str:
    """Where a row begins."""
    return f"{origin.file}:{origin.line}"


def share(count: int, rows: int) -> str:
    """3.1%; what is not nothing is never 0%."""
    if not count or not rows:
        return "0%"
    return f"{count / rows:.1%}" if count >= rows / 1000 else f"{count / rows:.3%}"


def command_of(kind: Kind, findings: Findings, sources: Sequence[str]) -> str:
    """The command that mends it, for the data at hand; "" where there is none."""
    base, max_length = findings.measure
    values = {"data": shlex.join(sources), "base": shlex.quote(base), "max_length": str(max_length)}
    return kind.command.format_map(values)
