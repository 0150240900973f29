"""The most memory that a run takes: the stretches of its life in order, and what is there in each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from camelid.model.load import safetensors_header
from camelid.train.plan.ledger import Moment
from camelid.train.plan.phases import Phases

NOTHING = Moment(0, 0, 0)
_HOLES = {torch.float32: 0.8, torch.bfloat16: 1.0}
_LENGTHS = 4
_HOLES_ANSWERING = 0.3


@dataclass(frozen=True)
class Stretch:
    """A part of a run and the most bytes of tensors (or of a file that is mapped, a large one) in it.

    compiled: bytes of the products that oneDNN has compiled until its end and keeps
    temporary: of the small tensors, the bytes of those beside weights, gradients and optimiser state
    """

    name: str
    most: Moment
    compiled: float = 0.0
    temporary: float = 0.0


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

    @property
    def stepping(self) -> float:
        """What the steps have at most beside the program and the weights, which are there before."""
        most = max(self.stretches.get(name, 0.0) for name in _OF_A_STEP)
        return max(0.0, most - self.parts[PROGRAM] - self.parts.get("weights", 0.0))


@dataclass(frozen=True)
class Heap:
    """A process whose memory glibc hands out, which gives large blocks back and keeps the others.

    floor: bytes of the process without tensors; holes: what the temporary tensors of a step, at their most, leave
    unused between them, as a share of these
    """

    floor: float
    holes: float


def holes_of(lengths: int, dtype: torch.dtype) -> float:
    """The share of holes after rows of so many different lengths computed in a type, as measured (dev/LOG.md).

    Small blocks that outlive a row stay among the free large ones, which the next length finds too small: holes grow,
    ever slower. In bfloat16 more, where every new product is compiled and kept.
    """
    return _HOLES[dtype] * (1 - math.exp(-lengths / _LENGTHS))


def stretches_of(
    phases: Phases,
    weights: Weights,
    *,
    adapter: bool,
    exam: Moment | None,
    scoring: Moment | None,
    compiled: Compiled,
) -> list[Stretch]:
    """A run's life. exam: beside the model while it answers; scoring: with it while it reads; None: not asked."""
    base = phases.weights
    new = phases.gradients if adapter else NOTHING  # an adapter is as large as its gradients
    frozen = base.less(new)
    mapped = NOTHING if weights.cast else Moment(0, frozen.small, -frozen.small)  # a part of the file, not of the heap

    def kept(name: str, moment: Moment, compiled: float = 0.0) -> Stretch:
        gradients = phases.gradients.small if name in _OF_A_STEP else 0.0
        beside = max(0.0, moment.small - base.small - phases.optimizer.small - gradients)
        return Stretch(name, moment.plus(mapped), compiled, beside)

    file = Moment(weights.file, weights.file, 0)
    life = [Stretch("loading", frozen.plus(file)) if weights.cast else kept("loading", frozen)]
    if exam is not None and scoring is not None:
        life.append(kept("retention before", scoring.or_more(base.plus(exam)), compiled.before))
    life += [
        kept("forward", phases.forward, compiled.steps),
        kept("backward", phases.backward_early, compiled.steps),
        kept("backward", phases.backward_late, compiled.steps),
        kept("update", phases.update, compiled.steps),
    ]
    if exam is not None and scoring is not None:
        again = scoring.or_more(base.plus(exam)).plus(phases.optimizer)
        life.append(kept("retention after", again, compiled.after))
    return life


def memory_of(phases: Phases, life: list[Stretch], process: Heap | None) -> Memory:
    """The peak and its parts. process: None where torch's own allocator holds the memory (on a GPU)."""
    floor, holes = (process.floor, process.holes) if process is not None else (0.0, 0.0)
    unused_share = dict.fromkeys(_OF_A_STEP, holes) | dict.fromkeys(_ANSWERING, min(holes, _HOLES_ANSWERING))
    peak, when, heap, compiled = 0.0, "", 0.0, 0.0
    by_name: dict[str, float] = {}
    at = NOTHING
    for stretch in life:
        heap = max(heap, stretch.most.small + unused_share.get(stretch.name, 0.0) * stretch.temporary)
        here = stretch.most.live if process is None else floor + stretch.most.large + heap + stretch.compiled
        by_name[stretch.name] = max(here, by_name.get(stretch.name, 0.0))
        if here > peak:
            peak, when, at, compiled = here, stretch.name, stretch.most, stretch.compiled
    parts = {PROGRAM: floor, "weights": phases.weights.live}
    if when in _OF_A_STEP:
        parts["gradients"] = phases.gradients.live
        parts["optimiser"] = phases.optimizer.live
        parts["logits"] = phases.logits.live if when == "forward" else 0.0
        parts["activations"] = max(0.0, at.live - sum(parts.values()) + parts[PROGRAM])
    elif when == "retention after":
        parts["optimiser"] = phases.optimizer.live
    if compiled and process is not None:
        parts["compiled products"] = compiled
    rest = peak - sum(parts.values())
    parts[_REST.get(when, "kept by the allocator")] = max(0.0, rest)
    return Memory(peak, when, parts, by_name)


PROGRAM = "the program itself"  # a part of the memory; Python, the libraries and the rows
_ANSWERING: tuple[str, ...] = ("retention before", "retention after")
_OF_A_STEP: tuple[str, ...] = ("forward", "backward", "update")
_REST = {
    "loading": "the weights' file, mapped",
    "retention before": "answering questions",
    "retention after": "answering questions",
}


def file_of(directory: Path) -> tuple[int, set[str]]:
    """(bytes of a directory's safetensors, their types as safetensors calls them), from the headers alone."""
    size, kinds = 0, set()
    for path in sorted(directory.glob("*.safetensors")):
        size += path.stat().st_size
        kinds |= {entry["dtype"] for entry in safetensors_header(path)[1].values()}
    return size, kinds
