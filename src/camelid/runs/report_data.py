"""What a report is told beside the run directory: answers, scores, cost and sharing, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from camelid.runs.interval import Share


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt, answered by the base and by the tuned model. `language`: "en", "zh" or another BCP 47 tag."""

    prompt: str
    before: str
    after: str
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Skill:
    """Held-out accuracy of one skill or language, before and after. `name_zh`: its name on the Chinese page.

    The skills of one report share no prompt: their sum is shown as one figure.
    """

    name: str
    before: Share
    after: Share
    name_zh: str = ""


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Perplexity on held-out text that the training had nothing to do with."""

    name: str
    before: float
    after: float
    name_zh: str = ""

    @property
    def change(self) -> float:
        """0.05: 5% worse."""
        return self.after / self.before - 1 if self.before else 0.0


@dataclass(frozen=True, slots=True)
class Retention:
    """What was learnt and what was forgotten. `skills`: what was taught; `general`: short tasks that nothing was taught
    of; `kept`: of the plain questions that the base answered, still right.
    """

    skills: Sequence[Skill] = ()
    general: Sequence[Skill] = ()
    kept: Share | None = None
    perplexity: Sequence[Perplexity] = ()


@dataclass(frozen=True, slots=True)
class TaskScore:
    """How well a task was learnt, on `texts` held-out rows. measure: accuracy or f1 (of entities); interval: at 95%.

    by_class: class or type of entity -> precision, recall, f1, support
    """

    measure: str
    value: float
    interval: tuple[float, float]
    texts: int
    by_class: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Price:
    """What an hour of a machine costs, to estimate the run's money: `Price("RTX 4090, rented", 0.40, "$")`."""

    label: str
    per_hour: float
    currency: str
    label_zh: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of training, tokens of the examples (useful), tokens put through the model (computed), peak bytes."""

    seconds: float
    useful_tokens: int
    computed_tokens: int
    peak_memory_bytes: int
    prices: Sequence[Price] = ()


@dataclass(frozen=True, slots=True)
class Sharing:
    """Tokens of the same examples by layout.

    separate: each example alone, no padding; tree: common prefixes once; padded: one padded row an example, in batches
    as given (None: not known); trained: tokens whose prediction was trained, the only ones that get logits.
    """

    separate: int
    tree: int
    trained: int
    padded: int | None = None
