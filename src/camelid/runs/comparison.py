"""Methods side by side: what several runs on the same data came to, as a table for people and for programs.

A cell is one method; it has a run for each seed. Its quality is the mean over the seeds, with Student's interval at 95%
where there are several, and the interval of the one measurement where there is one.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from camelid.runs.interval import Passages, Share, paired_difference, paired_rise, student_t
from camelid.runs.report_words import size

COLUMNS: tuple[str, ...] = (
    "method", "quality", "low", "high", "trained", "share", "memory_bytes", "seconds", "tokens_per_second", "bytes",
    "retention_en", "retention_en_low", "retention_en_high", "retention_zh", "retention_zh_low", "retention_zh_high",
    "beside_en", "beside_en_low", "beside_en_high", "beside_zh", "beside_zh_low", "beside_zh_high",
    "kept", "kept_low", "kept_high", "known", "gain", "gain_low", "gain_high", "seeds", "run",
)  # fmt: skip


@dataclass(frozen=True)
class Rise:
    """Of the perplexity of general text, as a share (0.02 is 2%), with its 95% interval over passages."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """One run. interval: of its quality, where one measurement says how sure it is.

    retention: how general text fared by language; empty where not measured
    passages: that text after training, passage by passage; empty where only its perplexity is known
    kept: (still right, right before) of the plain questions; None where none were asked or known
    lost: those that are no longer right; None where only their number is known
    """

    seed: int
    quality: float
    interval: tuple[float, float] | None
    trained: int
    parameters: int
    memory_bytes: int
    seconds: float
    tokens_per_second: float
    bytes: int
    retention: dict[str, Rise]
    run: str
    passages: Mapping[str, Passages] = field(default_factory=dict)
    kept: tuple[int, int] | None = None
    lost: frozenset[str] | None = None


@dataclass(frozen=True)
class Cell:
    """One method with its runs, those that failed as (seed, reason)."""

    name: str
    runs: Sequence[Measured]
    failed: Sequence[tuple[int, str]] = ()

    @property
    def quality(self) -> float:
        """Mean over the seeds."""
        return _mean([run.quality for run in self.runs])

    @property
    def interval(self) -> tuple[float, float] | None:
        """At 95%; None where nothing says how sure the figure is."""
        values = [run.quality for run in self.runs]
        if len(values) < 2:
            return self.runs[0].interval if self.runs else None
        return _students(values)


@dataclass(frozen=True)
class Comparison:
    """All cells. measure: what the quality is, such as 'accuracy' or 'held-out loss'."""

    title: str
    measure: str
    lower_is_better: bool
    cells: Sequence[Cell]

    @property
    def first(self) -> Cell | None:
        """The first method as given, which what the others forget is compared with; None where it has no runs."""
        return self.cells[0] if self.cells and self.cells[0].runs else None

    @property
    def ordered(self) -> list[Cell]:
        """The best first; what failed last."""
        sign = 1 if self.lower_is_better else -1
        return sorted(self.cells, key=lambda cell: (not cell.runs, sign * cell.quality if cell.runs else 0.0))


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One mapping of COLUMNS a method; seconds and memory are medians over its runs."""
    made = []
    first = comparison.first
    for cell in comparison.ordered:
        row: dict[str, Any] = dict.fromkeys(COLUMNS, None) | {"method": cell.name, "seeds": len(cell.runs)}
        if cell.runs:
            low, high = cell.interval or (None, None)
            if low is not None and high is not None and not comparison.lower_is_better:
                low, high = max(low, 0.0), min(high, 1.0)  # a share; Student's interval does not know
            one = cell.runs[0]
            row |= {
                "quality": cell.quality,
                "low": low,
                "high": high,
                "trained": one.trained,
                "share": one.trained / one.parameters,
                "memory_bytes": _median([run.memory_bytes for run in cell.runs]),
                "seconds": _median([run.seconds for run in cell.runs]),
                "tokens_per_second": _median([run.tokens_per_second for run in cell.runs]),
                "bytes": one.bytes,
                "run": one.run,
            }
            for language in ("en", "zh"):
                rises = [run.retention[language] for run in cell.runs if language in run.retention]
                if rises:
                    row |= _with_ends(f"retention_{language}", _middle(rises))
                if first is not None and cell is not first:
                    row |= _with_ends(f"beside_{language}", _beside(first, cell, language))
            asked = [run.kept for run in cell.runs if run.kept is not None]
            if asked:
                right, known = sum(r for r, _ in asked), sum(k for _, k in asked)
                row |= {"kept": right / known, "known": known}
                row["kept_low"], row["kept_high"] = Share(right, known).interval
                if first is not None and cell is not first:
                    row |= _with_ends("gain", _gain(first, cell))
        made.append(row)
    return made


def _with_ends(column: str, values: tuple[float | None, float | None, float | None]) -> dict[str, float | None]:
    """A figure and the ends of its interval under the names of their columns."""
    return dict(zip((column, f"{column}_low", f"{column}_high"), values, strict=True))


def _beside(first: Cell, cell: Cell, language: str) -> tuple[float, float, float] | tuple[None, None, None]:
    """(rise of general text's perplexity from the first method to this, low, high): the same passages, seed by seed.

    The interval is over passages, each with all seeds together: two seeds alone could say nothing about their spread.
    None where no seed has both.
    """
    theirs = {run.seed: run.passages[language] for run in first.runs if language in run.passages}
    mine = {run.seed: run.passages[language] for run in cell.runs if language in run.passages}
    both = [
        (theirs[seed], passages)
        for seed, passages in mine.items()
        if [n for _, n in passages] == [n for _, n in theirs.get(seed, ())]  # else another base, with other tokens
    ]
    if not both:
        return None, None, None
    old, new = zip(*both, strict=True)
    return paired_rise(_together(old), _together(new))


def _together(runs: Sequence[Passages]) -> list[tuple[float, int]]:
    """The same passages of several runs, summed."""
    return [(sum(nats for nats, _ in one), sum(n for _, n in one)) for one in zip(*runs, strict=True)]


def _gain(first: Cell, cell: Cell) -> tuple[float, float, float] | tuple[None, None, None]:
    """(more plain questions kept than by the first method, low, high) as shares: the same questions, seed by seed.

    Paired, a difference is seen that two intervals side by side would hide. None where no seed has both.
    """
    theirs = {run.seed: run for run in first.runs}
    gained = lost = total = 0
    for run in cell.runs:
        other = theirs.get(run.seed)
        if other is None or other.kept is None or run.kept is None or other.lost is None or run.lost is None:
            continue
        if other.kept[1] != run.kept[1]:
            continue  # another base, which knew others
        gained, lost = gained + len(other.lost - run.lost), lost + len(run.lost - other.lost)
        total += run.kept[1]
    return paired_difference(gained, lost, total) if total else (None, None, None)


def as_csv(comparison: Comparison) -> str:
    """The table for programs."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(comparison))
    return text.getvalue()


def shown(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Heads and cells as people read them; retention only where it was measured."""
    table = rows(comparison)
    measured = any(row["retention_en"] is not None for row in table)
    asked = any(row["kept"] is not None for row in table)
    heads = ["method", comparison.measure, "trained", "share", "peak memory", "minutes", "tokens/s", "saved"]
    heads += ["general en", "general zh"] if measured else []
    beside = [k for k in ("en", "zh") if any(row[f"beside_{k}"] is not None for row in table)]
    heads += [f"general {k} beside {comparison.cells[0].name}" for k in beside]
    heads += ["plain questions kept"] if asked else []
    paired = any(row["gain"] is not None for row in table)
    heads += [f"kept beside {comparison.cells[0].name}"] if paired else []
    body = []
    for cell, row in zip(comparison.ordered, table, strict=True):
        if not cell.runs:
            reason = cell.failed[0][1] if cell.failed else ""
            body.append([cell.name, f"failed: {reason}", *[""] * (len(heads) - 2)])
            continue
        cells = [
            row["method"],
            _figure(row["quality"], row["low"], row["high"]),
            f"{row['trained']:,}",
            f"{row['share']:.3%}",
            size(int(row["memory_bytes"])),
            f"{row['seconds'] / 60:.1f}",
            f"{row['tokens_per_second']:.0f}",
            size(row["bytes"]),
        ]
        for language in ("en", "zh") if measured else ():
            cells.append(_change(row, f"retention_{language}"))
        cells += [_change(row, f"beside_{language}") for language in beside]
        if asked:
            share, low, high = row["kept"], row["kept_low"], row["kept_high"]
            cells.append("" if share is None else f"{share:.0%} of {row['known']} [{low:.0%}, {high:.0%}]")
        if paired:
            cells.append(_change(row, "gain"))
        body.append(cells)
    return heads, body


def _change(row: Mapping[str, Any], column: str) -> str:
    value, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    return "" if value is None else f"{value:+.1%} [{low:+.1%}, {high:+.1%}]"


def as_markdown(comparison: Comparison) -> str:
    """The table for a page or a README."""
    heads, body = shown(comparison)
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in body]
    return "\n".join(lines) + "\n"


def _middle(rises: Sequence[Rise]) -> tuple[float, float, float]:
    """(mean, low, high) over the seeds: Student's interval where there are several, else that of the passages."""
    values = [one.value for one in rises]
    if len(values) == 1:
        return rises[0].value, rises[0].low, rises[0].high
    low, high = _students(values)
    return _mean(values), low, high


def _students(values: Sequence[float]) -> tuple[float, float]:
    """Student's interval at 95% of the mean of two values or more."""
    mean, n = _mean(values), len(values)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = student_t(n - 1) * spread / math.sqrt(n)
    return mean - half, mean + half


def _figure(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
