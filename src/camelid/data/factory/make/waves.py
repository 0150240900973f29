"""Wave after wave until there are enough tasks: the same from the same answers, whenever and however often it is begun.

Prompts depend on the seed, the number of the wave and what was kept before, on nothing else. So a run that was killed
makes the same prompts again, finds their answers in the journal and goes on where it was.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from camelid.data.factory.faults import Fault
from camelid.data.factory.make.pool import TaskPool
from camelid.data.factory.make.strategies import Strategy, Verdict, Wave
from camelid.data.factory.seeds import SeedTask
from camelid.data.factory.teacher import AskAll
from camelid.data.skills.draw import Language

ENOUGH = "more than were wanted"
_LARGEST = 32  # prompts of a wave; the first ones are smaller, so that a few rows cost a few calls
_BARREN = 8  # waves on end that make nothing


@dataclass(frozen=True, slots=True)
class Candidate:
    """A verdict with its place: which wave, which candidate of it, from 1."""

    wave: int
    place: int
    language: Language
    verdict: Verdict


def make_tasks(
    strategy: Strategy,
    ask: AskAll,
    seeds: Mapping[Language, Sequence[SeedTask]],
    *,
    seed: int,
    count: int,
    ended: Callable[[], bool],
    first: int = 1,
) -> Iterator[Candidate]:
    """Every candidate, in order, until `count` were kept, `ended` says so, or the teacher makes nothing new.

    seeds: of each language wanted, which take turns; first: prompts of the first wave. Those kept beyond `count` are
    dropped as ENOUGH.
    """
    languages = list(seeds)
    pool = TaskPool(one.instruction for language in languages for one in seeds[language])
    made: dict[Language, list[str]] = {language: [] for language in languages}
    kept = barren = asked = 0
    for number in itertools.count(1):
        language = languages[(number - 1) % len(languages)]
        wave = Wave(
            prompts=min(_LARGEST, first * 2 ** ((number - 1) // len(languages))),
            first=asked,
            chance=random.Random(f"{seed} {number}"),
            language=language,
            seeds=seeds[language],
            made=made[language],
            pool=pool,
            ask=ask,
        )
        before = kept
        asked += wave.prompts
        for place, verdict in enumerate(list(strategy.wave(wave)), 1):
            if verdict.fault is None and kept == count:
                verdict = replace(verdict, fault=Fault(ENOUGH))
            elif verdict.fault is None and verdict.task is not None:
                kept += 1
                if made[language][-1:] != [verdict.task.instruction]:  # a task may have several instances
                    made[language].append(verdict.task.instruction)
            yield Candidate(number, place, language, verdict)
        barren = 0 if kept > before else barren + 1
        if kept >= count or ended() or barren == _BARREN * len(languages):
            return
