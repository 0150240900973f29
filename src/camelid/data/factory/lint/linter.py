"""One pass over the rows: every rule on each, every check over all, and what they found, counted and shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from camelid.data.factory.lint.contradictions import Contradictions
from camelid.data.factory.lint.duplicates import Duplicates
from camelid.data.factory.lint.evaluation import Leakage
from camelid.data.factory.lint.kinds import BY_NAME, KINDS, SEVERITIES, Kind, Severity
from camelid.data.factory.lint.labels import LabelBalance
from camelid.data.factory.lint.rules import ROW_RULES
from camelid.data.factory.lint.sample import Find, Sample, around, sample_of
from camelid.data.factory.lint.script import ScriptBalance
from camelid.data.factory.lint.sets import Late, SetCheck
from camelid.data.factory.lint.shape import rough_tokens
from camelid.data.formats import convert_row
from camelid.data.ledger import Ledger
from camelid.data.records import Origin, Rejection
from camelid.data.sources import Reading, read_with
from camelid.errors import UserError

_SET_KINDS: dict[Callable[[], SetCheck], tuple[str, ...]] = {
    Duplicates: ("exact-duplicate", "near-duplicate"),
    Contradictions: ("contradicting-answers", "several-answers"),
    LabelBalance: ("label-imbalance",),
    ScriptBalance: ("script-minority",),
}
# What the reader refuses, by its reason: an empty answer is one wherever it stands.
_NO_ANSWER = re.compile(
    r"(?:output|response|completion|answer(?: \d+)?|summary|chosen|rejected) is empty|turn \d+ \(assistant\) is empty"
    r"|there is no answer in it|does not end with an answer|(?:output|response|completion|answer|summary) is null"
)
_ROLES = re.compile(
    r"both the \w+'s|out of order|unknown role|has no role|no user turn|two system prompts|end with a user"
)


@dataclass(frozen=True, slots=True)
class Example:
    """One fault as it is shown. other: the row or the evaluation question that it is held against"""

    origin: Origin
    shown: str
    other: Origin | None = None


@dataclass(slots=True)
class Tally:
    """How many rows have a kind of fault, and the first of them."""

    kind: Kind
    count: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True)
class Findings:
    """rows: read, unreadable ones too; worst: of each row its gravest fault, 0 for none, 3 for an error

    measure: (the base by which rows would be cut, tokens)
    """

    rows: int = 0
    unreadable: int = 0
    worst: bytearray = field(default_factory=bytearray)
    tallies: dict[str, Tally] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    measure: tuple[str, int] = ("", 0)

    def rows_with(self, severity: Severity) -> int:
        """Rows that have a fault of that severity or a graver one."""
        least = _GRAVITY[severity]
        return sum(worst >= least for worst in self.worst)

    @property
    def found(self) -> list[Tally]:
        """What was found, the gravest and most frequent first."""
        some = [tally for tally in self.tallies.values() if tally.count]
        return sorted(some, key=lambda tally: (-_GRAVITY[tally.kind.severity], -tally.count, tally.kind.name))

    def count(self, severity: Severity) -> int:
        """Faults of that severity, a row counting once for each of its kinds."""
        return sum(tally.count for tally in self.tallies.values() if tally.kind.severity == severity)


_GRAVITY = {severity: grade for grade, severity in enumerate(reversed(SEVERITIES), 1)}


def chosen_kinds(only: Collection[str], ignored: Collection[str]) -> frozenset[str]:
    """The names of the kinds to look for. Raises UserError for a name that there is not."""
    import difflib

    for name in (*only, *ignored):
        if name not in BY_NAME:
            near = difflib.get_close_matches(name, BY_NAME, n=2)
            mend = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(BY_NAME)}"
            raise UserError("no rule of this name", where=name, mend=mend)
    kinds = frozenset(only or BY_NAME) - frozenset(ignored)
    if not kinds:
        raise UserError("no rule is left", where="--ignore")
    return kinds


class Linter:
    """Takes rows one by one.

    kinds: names; count_tokens: None for a rough rate; max_length: in tokens; examples: kept of each kind; against:
    evaluation sets
    """

    def __init__(
        self,
        kinds: Collection[str],
        *,
        max_length: int,
        examples: int,
        count_tokens: Callable[[str], int] | None = None,
        against: Sequence[str] = (),
    ) -> None:
        self.findings = Findings(tallies={kind.name: Tally(kind) for kind in KINDS if kind.name in kinds})
        self._examples = examples
        self._rules: list[tuple[Tally, Find]] = [
            (self.findings.tallies[name], find) for name, find in ROW_RULES.items() if name in kinds
        ]
        if "over-long" in kinds:
            long = _over_long(max_length, count_tokens)
            self._rules.append((self.findings.tallies["over-long"], long))
        self._checks = [make() for make, names in _SET_KINDS.items() if not kinds.isdisjoint(names)]  # type: ignore[union-attr]
        if against and "evaluation-leak" in kinds:
            self._checks.append(Leakage(against))
        self._origins: list[Origin] = []

    def see(self, sample: Sample) -> None:
        """A row that was read."""
        place = self._next(sample.origin)
        for tally, find in self._rules:
            if shown := find(sample):
                self._note(tally, place, shown)
        for check in self._checks:
            check.see(place, sample)

    def refuse(self, rejection: Rejection) -> None:
        """A row that was not."""
        place = self._next(Origin(rejection.file, rejection.line))
        self.findings.unreadable += 1
        name = "unreadable-row"
        if _NO_ANSWER.search(rejection.reason):
            name = "answer-empty"
        elif _ROLES.search(rejection.reason):
            name = "role-order"
        if name in self.findings.tallies:
            self._note(self.findings.tallies[name], place, f"{rejection.reason}: {rejection.excerpt}")

    def finish(self) -> Findings:
        """What was found; what can be known only now, too."""
        for check in self._checks:
            for late in check.finish():
                tally = self.findings.tallies.get(late.kind)
                if tally is not None:
                    self._note(tally, late.place, late.shown, late)
        return self.findings

    def _next(self, origin: Origin) -> int:
        self._origins.append(origin)
        self.findings.rows += 1
        self.findings.worst.append(0)
        return len(self._origins) - 1

    def _note(self, tally: Tally, place: int, shown: str, late: Late | None = None) -> None:
        tally.count += 1
        grade = _GRAVITY[tally.kind.severity]
        self.findings.worst[place] = max(self.findings.worst[place], grade)
        if len(tally.examples) < self._examples:
            other = late.other if late else None
            against = self._origins[other] if isinstance(other, int) else other
            tally.examples.append(Example(self._origins[place], shown, against))


def _over_long(max_length: int, count_tokens: Callable[[str], int] | None) -> Find:
    count = count_tokens or rough_tokens

    def find(sample: Sample) -> str | None:
        if not sample.exchanges:
            return None  # running text is cut into windows, and nothing of it is lost
        text = "\n".join(turn.text for turn in sample.turns)
        if len(text) * (1 if sample.ascii else 4) <= max_length:  # at most a token a byte, and four bytes a character
            return None
        tokens = count(text)
        return f"{tokens:,} tokens: {around(text, 0)}" if tokens > max_length else None

    return find


def lint(
    sources: Sequence[str],
    linter: Linter,
    *,
    announce: Callable[[str], None],
    step: Callable[[float], None] = lambda share: None,
) -> Findings:
    """Look at all rows of all sources. step: called after each with the share of the work that is done.

    Raises UserError for a source that is not there, or in which no row is of a known format.
    """
    ledgers = [Ledger() for _ in sources]
    streams = [
        read_with(_READING, source, seed=0, ledger=ledger, on_reject=linter.refuse, announce=announce)
        for source, ledger in zip(sources, ledgers, strict=True)
    ]
    for done, (ledger, stream) in enumerate(zip(ledgers, streams, strict=True)):
        for sample in _usable(ledger, stream):
            linter.see(sample)
            step((done + ledger.share) / len(sources))
        linter.findings.files += dict.fromkeys(report.file for report in ledger.files)
    return linter.finish()


def _usable(ledger: Ledger, stream: Iterator[Sample]) -> Iterator[Sample]:
    """The rows of a source; where all of them are faulty, that is what was found, and no reason to stop."""
    try:
        yield from stream
    except UserError:
        if not ledger.files or not all(report.recognised for report in ledger.files) or ledger.kept:
            raise


def _convert(value: Any, origin: Origin, notes: list[str]) -> tuple[str, Sequence[Sample]]:
    name, records = convert_row(value, origin, notes)
    return name, [sample_of(value, origin, records, notes)]


_READING: Reading[Sample] = Reading(lambda part: part.open(), _convert)
