"""`camelid data augment`: the rows, and behind each those that were made from it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from camelid.cli.console import quiet, say
from camelid.cli.data.results import files_of, say_asked, tell
from camelid.cli.data.teacher import going_on, open_desk, unfinished
from camelid.cli.data.teacher_options import TeacherOptions
from camelid.data.factory.augment import BACK, WAYS, Way, augmented, translated_back
from camelid.data.factory.output import Output
from camelid.data.factory.rows import read_rows
from camelid.data.ledger import Ledger
from camelid.errors import UserError
from camelid.runs.meter import Meter

_BATCH = 64


def augment(
    sources: Sequence[str],
    output: Path,
    ways: Sequence[str],
    teacher: TeacherOptions | None,
    *,
    copies: int,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Write every row, then its variants. Raises UserError for what cannot be read or written."""
    free, back = _checked(ways), BACK in ways
    if back and teacher is None:
        raise UserError("who translates there and back?", where=f"--way {BACK}", mend="--teacher URL#MODEL")
    journal_file = output.with_suffix(".journal.jsonl")
    with Output(output, overwrite=overwrite or unfinished(output, "augment")) as out, ExitStack() as stack:
        desk = None
        if back and teacher is not None:
            stack.enter_context(going_on(journal_file))
            desk = stack.enter_context(open_desk(teacher, journal_file, seed=seed))
        ledger = Ledger()
        made: Counter[str] = Counter()
        rows = read_rows(sources, ledger=ledger, on_reject=out.unreadable, announce=quiet if as_json else say)
        number = 0
        with Meter("rows", lambda: ledger.share) as meter:
            while batch := list(islice(rows, _BATCH)):
                values = [row.value for row in batch]
                rounds = [None] * len(batch) if desk is None else translated_back(values, desk.ask)
                for value, round_trip in zip(values, rounds, strict=True):
                    new = list(augmented(value, free, copies, random.Random(f"{seed} {number}")))
                    new += [] if round_trip is None else [round_trip]
                    made.update(one["augmented"] for one in new)
                    out.keep(value, *new)
                    number += 1
                meter.step(len(batch))
        options = {"ways": list(ways), "copies": copies, "seed": seed}
        more: dict[str, Any] = {"made": dict(made), "ended": "complete"}
        if desk is not None:
            more |= {"ended": desk.ask.ended or "complete", "teacher": desk.summary()}
        manifest = out.finish("augment", options, files_of(ledger), **more)
    tell(manifest, out, as_json=as_json)
    if not as_json:
        say("made: " + (", ".join(f"{count:,} by {way}" for way, count in made.items()) or "nothing"))
        if desk is not None:
            say_asked(desk.ask.ended, more["teacher"])
    return 0


def _checked(ways: Sequence[str]) -> list[Way]:
    """Those that need no teacher. Raises UserError for one that is none."""
    for way in ways:
        if way not in (*WAYS, BACK):
            raise UserError(f"{way!r} is no way", where="--way", mend=f"one of {', '.join((*WAYS, BACK))}")
    return [way for way in WAYS if way in ways]
