"""What a search came to: its trials, the best of them, and what it says about the recipe as it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from camelid.runs.space import Dimension, shown_space, written


@dataclass(frozen=True)
class Tried:
    """One trial that has ended. values: by field; trial 0 has the recipe's own.

    badness: what the search makes smaller, None where the trial was ended early or failed
    losses: (share of its steps done, held-out loss) of the evaluations before its end
    """

    number: int
    values: Mapping[str, Any]
    badness: float | None
    losses: Sequence[tuple[float, float]] = ()
    failed: str | None = None

    @property
    def run(self) -> str:
        """The name of its run directory."""
        return f"trial-{self.number:03d}"

    @property
    def state(self) -> str:
        """'done', 'pruned' or 'failed'."""
        return "failed" if self.failed else "done" if self.badness is not None else "pruned"


@dataclass(frozen=True)
class Search:
    """A whole search. measure: 'held-out loss', or a share that is better the higher, such as 'accuracy'.

    minutes: of training, by the number of a trial. importance: share of each field; `important_for` is 'final', 'early'
    (the loss at the first evaluation) or 'none'
    """

    title: str
    measure: str
    space: Sequence[Dimension]
    tried: Sequence[Tried]
    minutes: Mapping[int, float] = field(default_factory=dict)
    importance: Mapping[str, float] = field(default_factory=dict)
    important_for: str = "none"

    @property
    def lower_is_better(self) -> bool:
        return self.measure == "held-out loss"

    @property
    def best(self) -> Tried | None:
        """The best trial that ended; of equals the first."""
        done = [t for t in self.tried if t.badness is not None]
        return min(done, key=lambda t: (t.badness, t.number)) if done else None

    @property
    def given(self) -> Tried | None:
        """The recipe as it was given, if it ended well."""
        return next((t for t in self.tried if t.number == 0 and t.badness is not None), None)

    def quality(self, tried: Tried) -> float | None:
        """The measure of a trial that ended well."""
        if tried.badness is None:
            return None
        return tried.badness if self.lower_is_better else 1 - tried.badness

    @property
    def ordered(self) -> list[Tried]:
        """The best first, then those ended early, the furthest first, then those that failed."""
        rank = {"done": 0, "pruned": 1, "failed": 2}
        return sorted(self.tried, key=lambda t: (rank[t.state], t.badness or 0.0, -_progress(t), t.number))


def as_object(search: Search) -> dict[str, Any]:
    """For programs, as JSON values."""
    best, given = search.best, search.given
    return {
        "measure": search.measure,
        "space": shown_space(search.space),
        "best": None if best is None else {"trial": best.number, "quality": search.quality(best), **dict(best.values)},
        "given": None if given is None else search.quality(given),
        "importance": dict(search.importance),
        "important_for": search.important_for,
        "trials": [
            {
                "trial": t.number,
                "run": t.run,
                "state": t.state,
                "quality": search.quality(t),
                "values": dict(t.values),
                "losses": [list(pair) for pair in t.losses],
                "minutes": search.minutes.get(t.number),
                "failed": t.failed,
            }
            for t in search.tried
        ],
    }


def shown(search: Search) -> tuple[list[str], list[list[str]]]:
    """Heads and cells as people read them, the best first."""
    fields = [dimension.field for dimension in search.space]
    body = []
    for t in search.ordered:
        quality = search.quality(t)
        said = f"{quality:.4f}" if quality is not None else "failed" if t.failed else f"stopped at {_progress(t):.0%}"
        body.append([_name(t), said, *[written(t.values[name]) for name in fields], _minutes(search, t)])
    return ["trial", search.measure, *fields, "minutes"], body


def verdict(search: Search) -> str:
    """One line: what was found, beside the recipe as it was given."""
    best, given = search.best, search.given
    if best is None:
        return "no trial has ended well"
    found = f"best: trial {best.number}, {search.measure} {search.quality(best):.4f}"
    if given is None:
        return f"{found} (the recipe as given did not end well)"
    if best is given:
        return f"{found}: the recipe as given; nothing better was found"
    return f"{found} (the recipe as given: {search.quality(given):.4f})"


def _name(tried: Tried) -> str:
    return f"{tried.number} (as given)" if tried.number == 0 else str(tried.number)


def _progress(tried: Tried) -> float:
    return tried.losses[-1][0] if tried.losses else 0.0


def _minutes(search: Search, tried: Tried) -> str:
    return f"{search.minutes[tried.number]:.1f}" if tried.number in search.minutes else ""
