"""`camelid data translate`: a data set in the other language, or in the other Chinese script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from camelid.cli.console import quiet, say
from camelid.cli.data.results import files_of, say_asked, tell
from camelid.cli.data.teacher import going_on, open_desk, unfinished
from camelid.cli.data.teacher_options import TeacherOptions
from camelid.data.factory.output import Output
from camelid.data.factory.rows import Row, read_rows
from camelid.data.factory.translate.job import Done, translate_rows
from camelid.data.factory.translate.script import Script, converter
from camelid.data.ledger import Ledger
from camelid.data.skills.draw import Language
from camelid.errors import UserError
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
    journal_file = output.with_suffix(".journal.jsonl")
    with Output(output, overwrite=overwrite or unfinished(output, "translate")) as out:
        ledger = Ledger()
        rows = read_rows(sources, ledger=ledger, on_reject=out.unreadable, announce=quiet if as_json else say)
        scores: list[float] = []
        tries = 0
        with going_on(journal_file), open_desk(teacher, journal_file, seed=0) as desk:
            with Meter("rows", lambda: ledger.share) as meter:
                for done in translate_rows(rows, desk.ask, target, least_score=least_score):
                    _file(done, out)
                    tries += done.tries
                    scores += [] if done.score is None else [done.score]
                    meter.step()
            ended, summary = desk.ask.ended, desk.summary()
        if not out.written:
            raise UserError(
                f"no row came through, of {out.read:,}: {out.commonest()}",
                where=teacher.teacher,
                mend=f"see what it said in {journal_file}",
            )
        more: dict[str, Any] = {"ended": ended or "complete", "asked_again": tries, "teacher": summary}
        if scores:
            more["mean_score"] = round(sum(scores) / len(scores), 4)
        settings = {"to": target, "back_translate": least_score}
        manifest = out.finish("translate", settings, files_of(ledger), **more)
    tell(manifest, out, as_json=as_json)
    if not as_json:
        say_asked(ended, summary)
    return 0


def convert_script(sources: Sequence[str], output: Path, script: Script, *, overwrite: bool, as_json: bool) -> int:
    """Every row in the other Chinese script. Raises UserError for what cannot be read or written."""
    with Output(output, overwrite=overwrite) as out:
        ledger = Ledger()
        convert = converter(script)
        for row in _metered(
            read_rows(sources, ledger=ledger, on_reject=out.unreadable, announce=quiet if as_json else say),
            lambda: ledger.share,
        ):
            out.keep(convert(row.value))
        manifest = out.finish("translate", {"script": script}, files_of(ledger))
    tell(manifest, out, as_json=as_json)
    return 0


def _metered(rows: Iterator[Row], share: Callable[[], float]) -> Iterator[Row]:
    with Meter("rows", share) as meter:
        for row in rows:
            meter.step()
            yield row


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
