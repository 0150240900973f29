"""A row as the rules see it: its turns, which of them are to be learnt, and what each answer answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from camelid.data.factory.rows import tree_paths
from camelid.data.readers.rows import excerpt
from camelid.data.records import (
    Conversation,
    Labelled,
    Message,
    MessageTree,
    Origin,
    Preference,
    Ranked,
    Record,
    Text,
)

T = TypeVar("T")

_DIGITS = re.compile(r"\d{3}")
_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|(?:https?://|www\.)\S+", re.DOTALL)
_CODE_LINE = re.compile(
    r"^\s*(?:def \w|class \w+|import \w+|from [\w.]+ import |return\b.*|#include|#!/|public |private |static "
    r"|function\b"
    r"|(?:var|let|const|int|float|double|String) \w+ ?=|SELECT |INSERT |CREATE |UPDATE |DELETE |WHERE |FROM \w"
    r"|<\?php|</?[a-z]\w*(?: [^<>]*)?>|[{}\])];?,?$|.*[{;]$|(?:if|for|while|elif|else)\b.*:$|print ?\(|\w+\(.*\)$"
    r"|\w+ ?=[^=]+$|\$ ?\w+|>>> )",
    re.MULTILINE,
)
# How a text of one line begins that is a program.
_PROGRAM = re.compile(
    r"\s*(?:[\w.]+ ?= ?[\w.]+\(|(?:def|class|import|from|public|function|const|let|var) \w+ ?[(=.:{]|print ?\("
    r"|SELECT |INSERT INTO |UPDATE \w+ SET |DELETE FROM |CREATE TABLE )"
)
_CODE_SIGNS = re.compile(r"[(;=<{]|SELECT")
_BEFORE, _SHOWN = 30, 110  # characters of an excerpt before what was found, and in all


class Turn:
    """One stretch of text. learnt: an answer that training would teach; role "text" is running text."""

    __slots__ = ("_code", "_digits", "_lower", "_prose", "ascii", "learnt", "role", "text")

    def __init__(self, role: str, text: str, *, learnt: bool = False) -> None:
        self.role, self.text, self.learnt = role, text, learnt
        self.ascii = text.isascii()
        self._lower: str | None = None
        self._prose: str | None = None
        self._code: bool | None = None
        self._digits: bool | None = None

    @property
    def digits(self) -> bool:
        """Whether three digits stand together: a number that is worth a look."""
        if self._digits is None:
            self._digits = _DIGITS.search(self.text) is not None
        return self._digits

    @property
    def lower(self) -> str:
        if self._lower is None:
            self._lower = self.text.lower()
        return self._lower

    @property
    def prose(self) -> str:
        """The text without marked code and without addresses."""
        if self._prose is None:
            text = self.text
            marked = "`" in text or "http" in text or "www." in text
            self._prose = _NOT_PROSE.sub(" ", text) if marked else text
        return self._prose

    @property
    def code(self) -> bool:
        """Whether it is code, or holds some: a fence, or two lines that look like it."""
        if self._code is None:
            text = self.text
            self._code = (
                "```" in text
                or _PROGRAM.match(text) is not None
                or (_CODE_SIGNS.search(text) is not None and sum(1 for _ in _CODE_LINE.finditer(text)) >= 2)
            )
        return self._code


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer that is to be learnt, and what it answers.

    instruction, input: of an Alpaca row, else the whole question and ""; earlier: the turns before the question
    """

    question: Turn
    answer: Turn
    instruction: str
    input: str
    earlier: tuple[Turn, ...]

    def asks(self, pattern: re.Pattern[str]) -> bool:
        """Whether the question, or anything said to the assistant before it, holds the pattern."""
        return bool(pattern.search(self.question.text)) or any(
            turn.role != "assistant" and pattern.search(turn.text) for turn in self.earlier
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One row. value: as it stands in the file; notes: what the reader repaired."""

    value: Any
    origin: Origin
    turns: tuple[Turn, ...]
    exchanges: tuple[Exchange, ...]
    notes: tuple[str, ...]
    ascii: bool


Find = Callable[[Sample], str | None]  # what shows the fault, None where there is none


def of_turns(find: Callable[[Turn], str | None]) -> Find:
    """A rule for every text of a row: the first fault counts."""
    return lambda sample: _first(find, sample.turns)


def of_wide_turns(find: Callable[[Turn], str | None]) -> Find:
    """The same, for what plain ASCII cannot have."""
    return lambda sample: None if sample.ascii else _first(find, (turn for turn in sample.turns if not turn.ascii))


def of_answers(find: Callable[[Exchange], str | None]) -> Find:
    """A rule for every answer that is to be learnt."""
    return lambda sample: _first(find, sample.exchanges)


def _first(find: Callable[[T], str | None], places: Iterable[T]) -> str | None:
    for place in places:
        if found := find(place):
            return found
    return None


def around(text: str, start: int, end: int | None = None) -> str:
    """What is shown of a fault between two places of a text: it and a little before and after, on one line."""
    begin = max(0, start - _BEFORE)
    stop = max(begin + _SHOWN, min(end or 0, begin + 2 * _SHOWN))
    return excerpt(("…" if begin else "") + text[begin:stop] + ("…" if stop < len(text) else ""))


def ending(text: str) -> str:
    """What is shown of a fault at the end of a text."""
    return excerpt(("…" if len(text) > _SHOWN else "") + text[-_SHOWN:])


def sample_of(value: Any, origin: Origin, records: Sequence[Record], notes: Sequence[str]) -> Sample:
    """A row for the rules."""
    turns: list[Turn] = []
    exchanges: list[Exchange] = []
    for record in records:
        _add(record, turns, exchanges)
    ascii_only = all(turn.ascii for turn in turns)
    return Sample(value, origin, tuple(turns), tuple(exchanges), tuple(notes), ascii_only)


def _add(record: Record, turns: list[Turn], exchanges: list[Exchange]) -> None:
    match record:
        case Conversation(messages=messages):
            _talk(messages, turns, exchanges)
        case Labelled(messages=messages, label=label):
            _talk(messages, turns, exchanges, learnt=label)
        case Preference(prompt=prompt, chosen=chosen, rejected=rejected):
            _talk((*prompt, *chosen), turns, exchanges, begin=len(prompt))
            turns += [Turn(message.role, message.content) for message in rejected]
        case Ranked(prompt=prompt, answers=answers):
            best = Message("assistant", answers[0])
            _talk((*prompt, best), turns, exchanges, begin=len(prompt))
            turns += [Turn("assistant", answer) for answer in answers[1:]]
        case MessageTree(root=root):
            for path in tree_paths(root):
                # each reply once, below all that it answers
                said = [Turn(node.message.role, node.message.content) for node in path]
                if said[-1].role == "assistant":
                    said[-1].learnt = True
                    exchanges.append(_exchange(path[-2].message, said[-2], said[-1], said[:-2]))
                turns.append(said[-1])
        case Text(text=text):
            turns.append(Turn("text", text))


def _talk(
    messages: Sequence[Message],
    turns: list[Turn],
    exchanges: list[Exchange],
    *,
    learnt: bool = True,
    begin: int = 0,
) -> None:
    """begin: answers before that message are part of the prompt of a preference, and not judged"""
    said: list[Turn] = []
    asked: tuple[Message, Turn] | None = None
    for i, message in enumerate(messages):
        answers = message.role == "assistant" and bool(message.content) and i >= begin
        turn = Turn(message.role, message.content, learnt=learnt and answers and message.trained is not False)
        if turn.learnt and asked is not None:
            exchanges.append(_exchange(*asked, turn, [one for one in said if one is not asked[1]]))
        if message.role == "user":
            asked = message, turn
        said.append(turn)
    turns += said


def _exchange(message: Message, question: Turn, answer: Turn, earlier: Sequence[Turn]) -> Exchange:
    return Exchange(question, answer, message.instruction, message.input, tuple(earlier))
