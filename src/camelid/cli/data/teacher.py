"""Opening the teacher that a verb asks: an endpoint or a local model, its journal, its limits of money and time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from camelid.cli.console import say
from camelid.cli.data.teacher_options import TeacherOptions
from camelid.data.factory.teacher import Answer, Ask, Asking, Deadline, Hear, Journal, NoAnswer, Teacher
from camelid.errors import UserError
from camelid.runs.lock import Lock

KEY = "OPENAI_API_KEY"


@dataclass
class Watch:
    """What is heard while a teacher answers. pieces: of answers on their way, a token each; then: called at each of
    them, and behind each whole answer, from any thread
    """

    pieces: int = 0
    then: Callable[[], None] = lambda: None

    def piece(self) -> None:
        self.pieces += 1
        self.then()


@dataclass
class Desk:
    """A teacher, ready to be asked."""

    ask: Asking
    journal: Journal
    name: str
    prices: tuple[float, float] | None  # of a million tokens; None: not known
    watch: Watch

    def summary(self) -> dict[str, Any]:
        """For the manifest: who was asked, how much, for what money."""
        prompt, completion = self.journal.spent
        told: dict[str, Any] = {"name": self.name, "answers": len(self.journal), "prompt_tokens": prompt}
        told["completion_tokens"] = completion
        if self.prices is not None:
            told["cost"] = dollars(prompt, completion, self.prices)
        return told


@contextmanager
def open_desk(options: TeacherOptions, journal_file: Path, *, seed: int) -> Iterator[Desk]:
    """The teacher with its journal; closed at the end. Raises UserError.

    A second program with the same journal is refused, for both would ask, and pay for, the same questions.
    """
    journal_file.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(journal_file.with_name(f".{journal_file.name}.lock"), announce=say)
    try:
        with Journal(journal_file, _name(options)) as journal:
            if len(journal):
                say(f"going on: {len(journal):,} answers are in {journal_file}")
            deadline = Deadline(None if options.minutes is None else 60 * options.minutes)
            watch = Watch()
            if options.remote:
                opening = _endpoint(options, journal, deadline)
            else:
                opening = _local(options, seed, deadline, watch)
            with opening as (teacher, prices):
                yield Desk(Asking(journal, _watched(teacher, watch)), journal, journal.name, prices, watch)
    finally:
        lock.release()


@contextmanager
def going_on(journal_file: Path) -> Iterator[None]:
    """Where the asking breaks off, say that nothing is lost."""
    try:
        yield
    except (NoAnswer, KeyboardInterrupt):
        say(f"what was answered is in {journal_file}: the same command goes on from there")
        raise


def unfinished(output: Path, verb: str) -> bool:
    """Whether what is there was left by this verb before it was through."""
    try:
        manifest = json.loads(output.with_suffix(".manifest.json").read_text("utf-8"))
        return manifest["verb"] == verb and manifest["ended"] != "complete"
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def _endpoint(
    options: TeacherOptions, journal: Journal, deadline: Deadline
) -> Iterator[tuple[Teacher, tuple[float, float] | None]]:
    from camelid.generate.teachers import Budget, EndpointTeacher

    url, _, model = options.teacher.partition("#")
    if not model:
        raise UserError("which of the endpoint's models?", where=options.teacher, mend=f"write {url}#NAME")
    prices = prices_of(model, options)
    if prices is None and options.max_cost is not None:
        raise UserError(
            f"what {model} costs is not known, so no limit can be kept",
            mend="--price 0.15,0.60: of a million tokens of prompts and of answers",
        )
    teacher = EndpointTeacher(
        url,
        model,
        _key(options),
        Budget(prices or (0.0, 0.0), options.max_cost, journal.spent),
        slots=options.slots or 8,
        per_minute=options.per_minute,
        timeout=options.timeout,
        proven=len(journal) > 0,
        deadline=deadline,
        announce=say,
    )
    try:
        yield teacher, prices
    finally:
        teacher.close()


def _watched(teacher: Teacher, watch: Watch) -> Teacher:
    def ask(asks: Sequence[Ask], hear: Hear) -> None:
        def heard(place: int, answer: Answer) -> None:
            hear(place, answer)
            watch.then()

        teacher(asks, heard)

    return ask


@contextmanager
def _local(
    options: TeacherOptions, seed: int, deadline: Deadline, watch: Watch
) -> Iterator[tuple[Teacher, tuple[float, float] | None]]:
    from camelid.generate.opening import Wanted, open_generator
    from camelid.generate.teachers import GeneratorTeacher

    for name in ("key_file", "per_minute", "max_cost", "price", "prices"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} is for an endpoint", where=options.teacher, mend="URL#MODEL")
    wanted = Wanted(options.teacher, slots=options.slots, accept_license=options.accept_license)
    opened = open_generator(wanted, say)
    try:
        yield GeneratorTeacher(opened.generator, seed, deadline, watch.piece), None
    finally:
        opened.generator.close()


def dollars(prompt: float, completion: float, prices: tuple[float, float]) -> float:
    """What so many tokens of prompts and of answers cost. prices: of a million of each"""
    return round((prompt * prices[0] + completion * prices[1]) / 1e6, 6)


def known_prices(options: TeacherOptions | None) -> tuple[float, float] | None:
    """Those of the endpoint that is named; None for a local model, for nobody, and where nothing is said."""
    return prices_of(options.teacher.partition("#")[2], options) if options is not None and options.remote else None


def prices_of(model: str, options: TeacherOptions) -> tuple[float, float] | None:
    """Of a million tokens of prompts and of answers, None where nothing is said. Raises UserError."""
    if options.price is not None:
        try:
            return _pair(options.price.split(","))
        except ValueError:
            raise UserError(
                "two prices are needed", where=f"--price {options.price}", mend="--price 0.15,0.60"
            ) from None
    shipped = resources.files("camelid") / "assets" / "teachers" / "prices.yaml"
    where = str(options.prices or "prices.yaml")
    try:
        text = (options.prices or shipped).read_text("utf-8")
        table = {str(name): _pair(values) for name, values in dict(yaml.safe_load(text) or {}).items()}
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"the prices cannot be read: {error}", where=where, mend="MODEL: [0.15, 0.60]") from None
    name = model.rpartition("/")[2].lower()
    known = [one for one in table if name.startswith(one.lower())]
    return table[max(known, key=len)] if known else None


def _pair(values: Any) -> tuple[float, float]:
    first, second = (float(one) for one in values)
    if min(first, second) < 0:
        raise ValueError("a price below 0")
    return first, second


def _name(options: TeacherOptions) -> str:
    """What the journal calls the teacher: the same wherever it is called from."""
    path = Path(options.teacher)
    return str(path.resolve()) if not options.remote and path.exists() else options.teacher


def _key(options: TeacherOptions) -> str | None:
    if options.key_file is None:
        return os.environ.get(KEY)
    try:
        key = options.key_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the key cannot be read: {error}", where=str(options.key_file)) from None
    if len(key.split()) != 1:
        raise UserError("a file with the key alone is needed", where=str(options.key_file))
    return key
