"""The most memory that a run takes: the stretches of its life in order, and what is there in each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from camelid.train.plan.ledger import Moment
from camelid.train.plan.phases import Phases

NOTHING = Moment(0, 0, 0)


@dataclass(frozen=True)
class Stretch:
    """A part of a run and the most bytes of tensors (or of a file that is mapped, a large one) in it.

    compiled: bytes of the products that oneDNN has compiled until its end and keeps
    """

    name: str
    most: Moment
    compiled: float = 0.0


@dataclass(frozen=True)
class Weights:
    """How the base's weights come into memory. file: bytes that are read by mapping; cast: into another type."""

    file: int
    cast: bool


@dataclass(frozen=True)
class Compiled:
    """Bytes of compiled products after each part of a run: they only become more."""

    before: float = 0.0
    steps: float = 0.0
    after: float = 0.0


@dataclass(frozen=True)
class Memory:
    """Bytes. peak: what `peak_memory_bytes` of the run will say; when: in which stretch; parts: at that time."""

    peak: float
    when: str
    parts: dict[str, float]
    stretches: dict[str, float]


def stretches_of(
    phases: Phases,
    weights: Weights,
    *,
    adapter: bool,
    exam: Moment | None,
    scoring: Moment | None,
    saved: int,
    compiled: Compiled,
) -> list[Stretch]:
    """A run's life. exam: beside the model while it answers; scoring: with the model while it reads; None: not asked.

    saved: bytes of `final/`, which is read back
    """
    base = phases.weights
    new = phases.gradients if adapter else NOTHING  # an adapter is as large as its gradients
    frozen = base.less(new)
    mapped = NOTHING if weights.cast else Moment(0, frozen.small, -frozen.small)  # a part of the file, not of the heap

    def kept(moment: Moment) -> Moment:
        return moment.plus(mapped)

    file = Moment(weights.file, weights.file, 0)
    life = [Stretch("loading", frozen.plus(file) if weights.cast else kept(frozen))]
    if exam is not None and scoring is not None:
        life.append(Stretch("retention before", kept(scoring.or_more(base.plus(exam))), compiled.before))
    life += [
        Stretch("forward", kept(phases.forward), compiled.steps),
        Stretch("backward", kept(phases.backward_early), compiled.steps),
        Stretch("backward", kept(phases.backward_late), compiled.steps),
        Stretch("update", kept(phases.update), compiled.steps),
    ]
    trained = base.plus(phases.optimizer)
    life.append(Stretch("reading final/ back", kept(trained).plus(Moment(saved, saved, 0)), compiled.steps))
    if exam is not None and scoring is not None:
        again = scoring.or_more(base.plus(exam)).plus(phases.optimizer)
        life.append(Stretch("retention after", kept(again), compiled.after))
    return life


def memory_of(phases: Phases, life: list[Stretch], floor: float, *, pooled: bool) -> Memory:
    """The peak and its parts.

    floor: bytes of the process without tensors
    pooled: torch's own allocator holds the memory (on a GPU); else glibc's, which gives large blocks back and keeps
    the others
    """
    peak, when, heap, compiled = 0.0, "", 0.0, 0.0
    by_name: dict[str, float] = {}
    at = NOTHING
    for stretch in life:
        heap = max(heap, stretch.most.small)
        here = stretch.most.live if pooled else floor + stretch.most.large + heap + stretch.compiled
        by_name[stretch.name] = max(here, by_name.get(stretch.name, 0.0))
        if here > peak:
            peak, when, at, compiled = here, stretch.name, stretch.most, stretch.compiled
    parts = {"the program itself": 0.0 if pooled else floor, "weights": phases.weights.live}
    if when in ("forward", "backward", "update"):
        parts["gradients"] = phases.gradients.live
        parts["optimiser"] = phases.optimizer.live
        parts["logits"] = phases.logits.live if when == "forward" else 0.0
        parts["activations"] = max(0.0, at.live - sum(parts.values()) + parts["the program itself"])
    elif when in ("reading final/ back", "retention after"):
        parts["optimiser"] = phases.optimizer.live
    if compiled and not pooled:
        parts["compiled products"] = compiled
    rest = peak - sum(parts.values())
    parts[_REST.get(when, "kept by the allocator")] = max(0.0, rest)
    return Memory(peak, when, parts, by_name)


_REST = {
    "loading": "the weights' file, mapped",
    "retention before": "answering questions",
    "reading final/ back": "final/, mapped",
    "retention after": "answering questions",
}


def file_of(directory: Path) -> tuple[int, set[str]]:
    """(bytes of a directory's safetensors, their types as safetensors calls them), from the headers alone."""
    size, kinds = 0, set()
    for path in sorted(directory.glob("*.safetensors")):
        size += path.stat().st_size
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        kinds |= {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    return size, kinds
