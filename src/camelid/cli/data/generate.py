"""`camelid data generate`: tasks made by a teacher from seed tasks, each candidate kept or dropped with its rule."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from camelid.cli.console import print_json, say
from camelid.cli.data.lesson import lesson
from camelid.cli.data.teacher import dollars, known_prices
from camelid.cli.data.teacher_options import TeacherOptions
from camelid.data.factory.make.rehearsal import Rehearsal, kept_back
from camelid.data.factory.make.rules import in_language
from camelid.data.factory.make.strategies import Alpaca, SelfInstruct
from camelid.data.factory.make.waves import Candidate, make_tasks
from camelid.data.factory.output import Output
from camelid.data.factory.scripted import ScriptedTeacher
from camelid.data.factory.seeds import SeedTask, load_seeds, read_seeds
from camelid.data.factory.teacher import Asking, Journal
from camelid.data.skills.draw import Language
from camelid.errors import UserError
from camelid.runs.meter import Meter

_FEWEST_SEEDS = 8  # what a prompt of Self-Instruct shows
_REHEARSED = 40  # tasks
_AT_ONCE = 8  # of a local model


@dataclass(frozen=True, slots=True)
class MakeOptions:
    """What is made.

    strategy: auto is alpaca where the teacher is asked as a chat model, else self-instruct, which a small model follows
    better; languages: they take turns; per_call, temperature: None for the strategy's published ones; form: auto asks
    endpoints as chat models are asked and lets local models go on with text
    """

    strategy: Literal["auto", "alpaca", "self-instruct"]
    languages: tuple[Language, ...]
    count: int
    seed: int
    seeds_file: Path | None = None
    per_call: int | None = None
    temperature: float | None = None
    form: Literal["auto", "chat", "text"] = "auto"


def generate(options: MakeOptions, teacher: TeacherOptions, output: Path, *, overwrite: bool, as_json: bool) -> int:
    """Make tasks until there are enough. Raises UserError; what the teacher has said is then in the journal."""
    seeds, strategy = _seeds(options), _strategy(options, remote=teacher.remote)
    settings = {**asdict(strategy), "languages": list(options.languages), "count": options.count}
    settings |= {"seed": options.seed, "seeds": str(options.seeds_file or "shipped")}
    inputs = [options.seeds_file] if options.seeds_file else []
    with lesson("generate", output, teacher, seed=options.seed, overwrite=overwrite) as given:
        with given.meter("tasks kept", lambda: given.out.written / options.count) as meter:
            ended = _run(strategy, given.desk.ask, seeds, options, given.out, meter)
        return given.end(settings, inputs, as_json=as_json, what="candidates", ended=ended)


def rehearse(options: MakeOptions, teacher: TeacherOptions | None, *, as_json: bool) -> int:
    """The whole way with the shipped fake, which costs nothing and leaves nothing: what would be asked, and how much.

    The fake answers with half of the seed tasks, the other half is shown to it.
    """
    shown: dict[Language, Sequence[SeedTask]] = {}
    back: dict[Language, Sequence[SeedTask]] = {}
    for language, seeds in _seeds(options).items():
        shown[language], back[language] = kept_back(seeds)
    strategy = _strategy(options, remote=teacher is None or teacher.remote)
    fake = ScriptedTeacher(Rehearsal(back, strategy.tasks_per_call))
    few = replace(options, count=min(options.count, _REHEARSED))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rehearsal.jsonl"
        with Output(path) as out, Journal(path.with_suffix(".journal.jsonl"), "fake") as journal:
            with Meter("tasks kept", lambda: out.written / few.count) as meter:
                _run(strategy, Asking(journal, fake), shown, few, out, meter)
            prompt, completion = journal.spent
            told: dict[str, Any] = {
                "strategy": asdict(strategy),
                "calls": len(journal),
                "candidates": out.read,
                "kept": out.written,
                "reasons": dict(out.dropped.most_common()),
                "prompt_tokens": prompt,
                "completion_tokens": completion,
            }
    scale = options.count / max(1, out.written)
    told["for_all"] = {name: round(told[name] * scale) for name in ("calls", "prompt_tokens", "completion_tokens")}
    if (prices := known_prices(teacher)) is not None:
        told["for_all"]["cost"] = dollars(scale * prompt, scale * completion, prices)
    if as_json:
        print_json({**told, "first_question": fake.asked[0].messages[-1][1]})
        return 0
    say(fake.asked[0].messages[-1][1])
    say(f"--- the first question, asked at temperature {fake.asked[0].temperature:g}")
    say(f"rehearsed with the shipped fake: {out.read:,} candidates, {out.written:,} kept; nothing was written")
    whole = told["for_all"]
    cost = f", ${whole['cost']:.2f}" if "cost" in whole else ""
    say(
        f"{options.count:,} tasks from a teacher of such answers: about {whole['calls']:,} calls, "
        f"{whole['prompt_tokens']:,} + {whole['completion_tokens']:,} tokens{cost}"
    )
    return 0


def _run(
    strategy: Alpaca | SelfInstruct,
    ask: Asking,
    seeds: Mapping[Language, Sequence[SeedTask]],
    options: MakeOptions,
    out: Output,
    meter: Meter,
) -> str:
    """Into `out`; "" where there are enough, else why it ended before."""
    # what is free is asked as many questions at once as are answered together
    first = _AT_ONCE if strategy.form == "text" else 1
    candidates = make_tasks(
        strategy, ask, seeds, seed=options.seed, count=options.count, ended=lambda: bool(ask.ended), first=first
    )
    for candidate in candidates:
        _file(candidate, strategy.name, out)
        if candidate.verdict.fault is None:
            meter.step()
    if ask.ended or out.written >= options.count:
        return ask.ended
    return "the teacher makes nothing new"


def _file(candidate: Candidate, strategy: str, out: Output) -> None:
    verdict, task = candidate.verdict, candidate.verdict.task
    row: dict[str, Any] = {"id": f"{strategy}-{candidate.wave}-{candidate.place}", "language": candidate.language}
    if task is not None:
        row |= {"instruction": task.instruction, "input": task.input, "output": task.output}
    if verdict.is_classification is not None:
        row["is_classification"] = verdict.is_classification
    if verdict.fault is None:
        out.keep(row)
        return
    more: dict[str, Any] = {}
    if verdict.fault.found:
        more["found"] = verdict.fault.found
    if verdict.nearest is not None:
        more["nearest"] = {"instruction": verdict.nearest.instruction, "score": round(verdict.nearest.score, 4)}
    if task is None:
        row["text"] = verdict.text
    out.drop(None, verdict.fault.rule, row, **more)


def _seeds(options: MakeOptions) -> dict[Language, Sequence[SeedTask]]:
    if options.seeds_file is None:
        return {language: load_seeds(language) for language in options.languages}
    given = read_seeds(options.seeds_file)
    found: dict[Language, Sequence[SeedTask]]
    found = {one: [seed for seed in given if in_language(seed.instruction, one)] for one in options.languages}
    for language, seeds in found.items():
        if len(seeds) < _FEWEST_SEEDS:
            raise UserError(
                f"{len(seeds)} seed tasks in {language!r}, at least {_FEWEST_SEEDS} are needed",
                where=str(options.seeds_file),
                mend="add some, or another --language",
            )
    return found


def _strategy(options: MakeOptions, *, remote: bool) -> Alpaca | SelfInstruct:
    changed: dict[str, Any] = {"form": options.form}
    if options.form == "auto":
        changed["form"] = "chat" if remote else "text"
    if options.per_call is not None:
        changed["tasks_per_call"] = options.per_call
    if options.temperature is not None:
        changed["temperature"] = options.temperature
    if options.strategy == "alpaca" or (options.strategy == "auto" and changed["form"] == "chat"):
        return Alpaca(**changed)
    return SelfInstruct(**changed)
