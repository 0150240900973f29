"""A teacher's answers to questions, each judged by the rules of made tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from camelid.data.factory.answers.questions import Question
from camelid.data.factory.faults import Fault, answer_fault
from camelid.data.factory.make.rules import Task, task_fault
from camelid.data.factory.teacher import Answer, Ask, AskAll

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """How a teacher answers. system: put before questions that have no system turn of their own"""

    max_new_tokens: int = 1024
    temperature: float = 0.0
    system: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A question and what became of it. text: the answer; fault: None where it may be kept"""

    question: Question
    text: str
    fault: Fault | None


def answer_all(questions: Iterable[Question], ask: AskAll, settings: Settings) -> Iterator[Answered]:
    """Every question, in order."""
    rest = iter(questions)
    while batch := list(islice(rest, _BATCH)):
        for question, answer in zip(batch, ask([_ask(one, settings) for one in batch]), strict=True):
            text = "" if answer is None else answer.text.strip()
            yield Answered(question, text, judge(question.words, answer))


def judge(words: str, answer: Answer | None) -> Fault | None:
    """Why an answer is not kept."""
    text = "" if answer is None else answer.text.strip()
    return answer_fault(answer) or task_fault(Task(words, "", text))


def _ask(question: Question, settings: Settings) -> Ask:
    turns = [(message.role, message.content) for message in question.messages]
    if settings.system and turns[0][0] != "system":
        turns.insert(0, ("system", settings.system))
    return Ask(tuple(turns), settings.max_new_tokens, settings.temperature)
