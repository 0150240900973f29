"""`camelid data translate`: a data set in the other language, or in the other Chinese script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camelid.cli.console import quiet, say
from camelid.cli.data.estimate import Estimate
from camelid.cli.data.lesson import lesson
from camelid.cli.data.results import files_of, tell
from camelid.cli.data.teacher_options import TeacherOptions
from camelid.data.factory.output import Output
from camelid.data.factory.rows import read_rows
from camelid.data.factory.scripted import rough_tokens
from camelid.data.factory.translate.job import Done, frame, translate_rows
from camelid.data.factory.translate.script import Script, converter
from camelid.data.ledger import Ledger
from camelid.data.skills.draw import Language
from camelid.runs.meter import Meter


def translate(
    sources: Sequence[str],
    output: Path,
    target: Language,
    teacher: TeacherOptions,
    *,
    least_score: float | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Every row in translation, or set aside with the reason. Raises UserError; the answers are then in the journal."""
    ledger = Ledger()
    scores: list[float] = []
    tries = 0
    with lesson("translate", output, teacher, seed=0, overwrite=overwrite) as given:
        out = given.out
        rows = read_rows(sources, ledger=ledger, on_reject=out.unreadable, announce=quiet if as_json else say)
        with given.meter("rows", lambda: ledger.share) as meter:
            for done in translate_rows(rows, given.desk.ask, target, least_score=least_score):
                _file(done, out)
                tries += done.tries
                scores += [] if done.score is None else [done.score]
                meter.step()
        more: dict[str, Any] = {"asked_again": tries}
        if scores:
            more["mean_score"] = round(sum(scores) / len(scores), 4)
        settings = {"to": target, "back_translate": least_score}
        return given.end(settings, files_of(ledger), as_json=as_json, **more)


def rehearse(
    sources: Sequence[str],
    target: Language,
    teacher: TeacherOptions | None,
    *,
    least_score: float | None,
    as_json: bool,
) -> int:
    """What would be asked, and how much of it; a translation is taken to be as long as its source."""
    ledger, around = Ledger(), rough_tokens(frame(target))
    estimate = Estimate(lambda ask: max(1, rough_tokens(ask.messages[0][1]) - around))
    rows = read_rows(sources, ledger=ledger, announce=quiet if as_json else say)
    with Meter("rows", lambda: ledger.share) as meter:
        for _ in translate_rows(rows, estimate, target):
            meter.step()
    return estimate.tell(teacher, times=1 if least_score is None else 2, as_json=as_json)


def convert_script(sources: Sequence[str], output: Path, script: Script, *, overwrite: bool, as_json: bool) -> int:
    """Every row in the other Chinese script. Raises UserError for what cannot be read or written."""
    with Output(output, overwrite=overwrite) as out:
        ledger = Ledger()
        convert = converter(script)
        rows = read_rows(sources, ledger=ledger, on_reject=out.unreadable, announce=quiet if as_json else say)
        with Meter("rows", lambda: ledger.share) as meter:
            for row in rows:
                out.keep(convert(row.value))
                meter.step()
        manifest = out.finish("translate", {"script": script}, files_of(ledger))
    tell(manifest, out, as_json=as_json)
    return 0


def _file(done: Done, out: Output) -> None:
    if done.wrong is None:
        out.keep(done.value)
        return
    more: dict[str, Any] = {"where": list(done.where), "said": done.said}
    if done.wrong.found:
        more["found"] = done.wrong.found
    if done.score is not None:
        more["score"] = round(done.score, 4)
    out.drop(done.row.origin, done.wrong.rule, done.row.value, **more)
