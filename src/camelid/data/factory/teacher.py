"""Asking a teacher so that no answer that came is lost or paid for twice: each is in the journal before it is used.

A teacher is a callable: it is given what to ask and says each answer as it comes, in any order, from any thread. A
question's name in the journal is the hash of everything that it asks, so a run that goes on finds its answers there.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from camelid.errors import UserError
from camelid.runs.jsonlines import JsonLines, read_lines

Ended = Literal["stop", "length", "refused"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to a teacher.

    messages: (role, words) of each turn, or one ("text", words): running text to go on with; number: tells apart two
    answers that are wanted to the same question
    """

    messages: tuple[tuple[str, str], ...]
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    number: int = 0

    def name(self, teacher: str) -> str:
        """The same for the same question to the same teacher, on every machine."""
        values = json.dumps([teacher, asdict(self)], sort_keys=True)
        return hashlib.blake2b(values.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a teacher said. ended: by itself, at the limit, or refused: it never will be answered, and why."""

    text: str
    ended: Ended
    prompt_tokens: int
    completion_tokens: int
    why: str = ""


class NoAnswer(UserError):
    """The teacher does not answer for now; what it has answered is in the journal."""


class LimitReached(NoAnswer):
    """No fault: what the user allowed, in money or time, is used up."""


Hear = Callable[[int, Answer], None]
Teacher = Callable[[Sequence[Ask], Hear], None]  # raises NoAnswer where one of the questions got none
AskAll = Callable[[Sequence[Ask]], Sequence[Answer | None]]  # None: the run was ended before it was answered


class Deadline:
    """A moment after which no teacher is asked further. seconds: from now; None: never"""

    def __init__(self, seconds: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = math.inf if seconds is None else clock() + seconds

    def check(self) -> None:
        """Raises LimitReached after it."""
        if self._clock() >= self._end:
            raise LimitReached("the time is over", mend="the same command with more --minutes goes on from here")


class Journal:
    """The answers of one teacher, in a file that only grows.

    name: the teacher's, a model or an address with a model. Raises UserError where the file is damaged: an answer may
    have been paid for.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name, self._lock = name, threading.Lock()
        self.asked = 0  # answers that came in this life of the program
        try:
            known = list(read_lines(path))
            self._known = {row["ask"]: Answer(**row["answer"]) for row in known}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"a line of the journal cannot be read: {error}", where=str(path), mend="take that line out of the file"
            ) from None
        self._file = JsonLines(path)

    def answers(self, asks: Sequence[Ask], teacher: Teacher) -> list[Answer]:
        """In order. Those in the journal are not asked again; each new one is on the disk before this returns it."""
        names = [ask.name(self.name) for ask in asks]
        missing = {name: ask for name, ask in zip(names, asks, strict=True) if name not in self._known}
        if missing:
            open_names = list(missing)
            teacher(list(missing.values()), lambda place, answer: self._heard(open_names[place], answer))
        unanswered = [name for name in missing if name not in self._known]
        if unanswered:
            raise NoAnswer(f"{len(unanswered)} of {len(missing)} questions were left without an answer")
        return [self._known[name] for name in names]

    def known(self, asks: Sequence[Ask]) -> list[Answer | None]:
        """What is in the journal, None for the others; nobody is asked."""
        with self._lock:
            return [self._known.get(ask.name(self.name)) for ask in asks]

    def _heard(self, name: str, answer: Answer) -> None:
        with self._lock:
            if name in self._known:
                raise ValueError("a teacher answered one question twice")
            self._file.write({"ask": name, "answer": asdict(answer)})
            self._file.sync()
            self._known[name] = answer
            self.asked += 1

    def __len__(self) -> int:
        """Answers that are in it."""
        with self._lock:
            return len(self._known)

    @property
    def spent(self) -> tuple[int, int]:
        """(tokens of prompts, tokens of answers) of all answers in the journal."""
        with self._lock:
            known = list(self._known.values())
        return sum(one.prompt_tokens for one in known), sum(one.completion_tokens for one in known)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()


class Asking:
    """A teacher with its journal, until what the user allowed is used up; from then on only the journal answers.

    ended: "" or why
    """

    def __init__(self, journal: Journal, teacher: Teacher) -> None:
        self._journal, self._teacher = journal, teacher
        self.ended = ""

    def __call__(self, asks: Sequence[Ask]) -> list[Answer | None]:
        """In order; None for a question that was not asked. Raises NoAnswer where the teacher cannot go on."""
        if not self.ended:
            try:
                return list(self._journal.answers(asks, self._teacher))
            except LimitReached as reached:
                self.ended = str(reached)
        return self._journal.known(asks)
