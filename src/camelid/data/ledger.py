"""The ledger of rows: every row that comes in is kept or rejected with file, line and reason, and the counts add up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from camelid.data.records import Rejection
from camelid.errors import UserError

REMEMBERED = 10_000  # rejections kept in memory; all of them go to `on_reject`
DISTINCT_REASONS = 1_000


@dataclass
class FileReport:
    """What one file (or one id) gave."""

    file: str
    formats: Counter[str] = field(default_factory=Counter)  # rows kept, by the name of their format
    rows: int = 0  # rows that the file holds, drawn or not
    read: int = 0
    kept: int = 0
    rejected: int = 0
    encoding: str = ""  # "" for binary formats
    notes: Counter[str] = field(default_factory=Counter)  # repairs of rows that were kept
    recognised: bool = False  # whether some format recognised at least one row, kept or not
    unknown: int = 0  # rows that no format recognised
    fields: list[str] = field(default_factory=list)  # those of the first such row


@dataclass
class Ledger:
    """Counts over all sources; `read == kept + rejected` holds at every moment.

    A row that is drawn twice (a source of weight 2) counts twice; a row that sampling leaves out is not read at all.
    """

    read: int = 0
    kept: int = 0
    rejected: int = 0
    rejections: list[Rejection] = field(default_factory=list)  # the first REMEMBERED
    reasons: Counter[str] = field(default_factory=Counter)  # all rejections by reason, numbers written as N
    notes: Counter[str] = field(default_factory=Counter)  # repairs of rows that were kept
    files: list[FileReport] = field(default_factory=list)
    parts: int = 0  # files (or ids) that will be read
    # how much of the last of `files` has been read, 0 to 1
    share_of_file: Callable[[], float] = field(default=lambda: 0.0, compare=False)
    on_reject: Callable[[Rejection], None] | None = None

    @property
    def share(self) -> float:
        """How much of all files has been read, 0 to 1, every file counting alike."""
        return (max(0, len(self.files) - 1) + self.share_of_file()) / max(1, self.parts)

    def keep(self) -> None:
        """Count one more row as read and kept."""
        self.read += 1
        self.kept += 1

    def refuse(self, rejection: Rejection) -> None:
        """Count one more row as read and rejected."""
        self.read += 1
        self._record(rejection)

    def reject(self, rejection: Rejection) -> None:
        """A later stage turns down a row that was kept: move it from kept to rejected."""
        if self.kept == 0:
            raise ValueError("a row is rejected that was never kept")
        self.kept -= 1
        self._record(rejection)

    def _record(self, rejection: Rejection) -> None:
        self.rejected += 1
        if len(self.rejections) < REMEMBERED:
            self.rejections.append(rejection)
        reason = re.sub(r"\d+", "N", rejection.reason)
        # Reasons quote what the row held, so their number has no bound of its own.
        self.reasons[reason if reason in self.reasons or len(self.reasons) < DISTINCT_REASONS else "other"] += 1
        if self.on_reject is not None:
            self.on_reject(rejection)

    def check(self, max_rejected: float) -> None:
        """Raise `UserError` when more than the share `max_rejected` (0 to 1) of the rows read was rejected."""
        if self.read == 0 or self.rejected <= max_rejected * self.read:
            return
        raise UserError(
            f"{self.rejected:,} of {self.read:,} rows rejected ({self.rejected / self.read:.1%}, "
            f"allowed {max_rejected:.1%}): {self.top_reasons()}",
            mend=f"mend those rows, or allow it with max_rejected={self._allowance()}",
        )

    def top_reasons(self, count: int = 3) -> str:
        """The most frequent reasons on one line, each with its count and the first place where it occurred."""
        first: dict[str, Rejection] = {}
        for rejection in self.rejections:
            first.setdefault(re.sub(r"\d+", "N", rejection.reason), rejection)
        parts = []
        for reason, number in self.reasons.most_common(count):
            example = first.get(reason)
            parts.append(
                f"{number:,} x {example.reason} ({example.file}:{example.line})"
                if example
                else f"{number:,} x {reason}"
            )
        return "; ".join(parts)

    def _allowance(self) -> str:
        # Rounded up to a whole percent, so that the offered value really lets this run through.
        return f"{min(1.0, (self.rejected * 100 // self.read + 1) / 100):g}"
