"""`camelid data answer`, `replay` and `evolve`: a teacher's answers to questions of the user's, general or new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from camelid.cli.console import quiet, say
from camelid.cli.data.estimate import Estimate
from camelid.cli.data.lesson import lesson
from camelid.cli.data.results import files_of
from camelid.cli.data.teacher_options import TeacherOptions
from camelid.data.factory.answers.answer import Answered, Settings, answer_all, judged, own_words
from camelid.data.factory.answers.evolve import Direction, Evolved, evolve
from camelid.data.factory.answers.questions import Question, general_questions, read_questions
from camelid.data.factory.faults import Fault
from camelid.data.factory.output import Output
from camelid.data.factory.teacher import AskAll
from camelid.data.ledger import Ledger
from camelid.runs.meter import Meter

Made = Callable[[Iterable[Question], AskAll, Output], Iterator[Fault | None]]


def answer(
    sources: Sequence[str], output: Path, teacher: TeacherOptions, settings: Settings, *, overwrite: bool, as_json: bool
) -> int:
    """The teacher's answers to questions of the user's, or to general ones where no source is given."""

    def made(questions: Iterable[Question], ask: AskAll, out: Output) -> Iterator[Fault | None]:
        for one in answer_all(questions, ask, settings, judged if sources else own_words):
            _file_answer(one, out)
            yield one.fault

    verb = "answer" if sources else "replay"
    return _run(verb, sources, output, teacher, asdict(settings), made, overwrite=overwrite, as_json=as_json)


def rehearse(sources: Sequence[str], teacher: TeacherOptions | None, settings: Settings, *, as_json: bool) -> int:
    """What would be asked, and how much at most: every answer as long as it may be."""
    ledger, estimate = Ledger(), Estimate(lambda ask: ask.max_new_tokens)
    announce = quiet if as_json else say
    questions = read_questions(sources, ledger=ledger, announce=announce)
    with Meter("questions", lambda: ledger.share) as meter:
        for _ in answer_all(questions, estimate, settings):
            meter.step()
    return estimate.tell(teacher, bound="at most", as_json=as_json)


def evolved(
    sources: Sequence[str],
    output: Path,
    teacher: TeacherOptions,
    settings: Settings,
    directions: Sequence[Direction],
    *,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Harder or other tasks from the user's, with answers."""

    def made(questions: Iterable[Question], ask: AskAll, out: Output) -> Iterator[Fault | None]:
        for one in evolve(questions, ask, directions, settings, seed=seed):
            _file_evolved(one, out)
            yield one.fault

    options = {**asdict(settings), "directions": list(directions), "seed": seed}
    return _run("evolve", sources, output, teacher, options, made, overwrite=overwrite, as_json=as_json)


def _run(
    verb: str,
    sources: Sequence[str],
    output: Path,
    teacher: TeacherOptions,
    options: Mapping[str, Any],
    made: Made,
    *,
    overwrite: bool,
    as_json: bool,
) -> int:
    ledger = Ledger()
    with lesson(verb, output, teacher, seed=0, overwrite=overwrite) as given:
        questions = general = general_questions()
        if sources:
            announce = quiet if as_json else say
            questions = read_questions(sources, ledger=ledger, on_reject=given.out.unreadable, announce=announce)
        with given.meter("questions", lambda: ledger.share if sources else given.out.read / len(general)) as meter:
            for _ in made(questions, given.desk.ask, given.out):
                meter.step()
        return given.end(options, files_of(ledger), as_json=as_json, what="questions")


def _file_answer(one: Answered, out: Output) -> None:
    turns = [{"role": message.role, "content": message.content} for message in one.question.messages]
    row: dict[str, Any] = {} if one.question.id is None else {"id": one.question.id}
    row["messages"] = [*turns, {"role": "assistant", "content": one.text}]
    if one.fault is None:
        out.keep(row)
    else:
        out.drop(one.question.origin, one.fault.rule, row, **_found(one.fault))


def _file_evolved(one: Evolved, out: Output) -> None:
    origin = one.question.origin
    row: dict[str, Any] = {"instruction": one.instruction, "input": "", "output": one.text}
    row |= {"evolved": one.direction, "from": one.question.words}
    if one.fault is None:
        out.keep(row)
        return
    more = _found(one.fault)
    if one.nearest is not None:
        more["nearest"] = {"instruction": one.nearest.instruction, "score": round(one.nearest.score, 4)}
    out.drop(origin, one.fault.rule, row, **more)


def _found(fault: Fault) -> dict[str, Any]:
    return {"found": fault.found} if fault.found else {}
