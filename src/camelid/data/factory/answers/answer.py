"""A teacher's answers to questions, each judged by the rules of made tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from camelid.data.factory.answers.questions import Question
from camelid.data.factory.faults import Fault, answer_fault
from camelid.data.factory.make.rules import Task, task_fault
from camelid.data.factory.teacher import Answer, Ask, AskAll
from camelid.data.skills.replay import whole_sentences

_BATCH = 64
Judge = Callable[[str, Answer | None], tuple[str, Fault | None]]


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


def judged(words: str, answer: Answer | None) -> tuple[str, Fault | None]:
    """(the answer, why it is not kept), by the rules of made tasks."""
    text = "" if answer is None else answer.text.strip()
    return text, answer_fault(answer) or task_fault(Task(words, "", text))


def answer_all(
    questions: Iterable[Question], ask: AskAll, settings: Settings, judge: Judge = judged
) -> Iterator[Answered]:
    """Every question, in order."""
    rest = iter(questions)
    while batch := list(islice(rest, _BATCH)):
        for question, answer in zip(batch, ask([_ask(one, settings) for one in batch]), strict=True):
            yield Answered(question, *judge(question.words, answer))


def own_words(words: str, answer: Answer | None) -> tuple[str, Fault | None]:
    """(what a base says, why it is not kept), where the base is to stay as it is: its refusals and its name are its
    own, and of what is cut off the whole sentences are kept.
    """
    text = "" if answer is None else answer.text.strip()
    if answer is None or answer.ended == "refused":
        return text, answer_fault(answer)
    whole = whole_sentences(text, ended=answer.ended == "stop")
    return whole or text, None if whole else Fault("no whole sentence, or goes in circles")


def _ask(question: Question, settings: Settings) -> Ask:
    turns = [(message.role, message.content) for message in question.messages]
    if settings.system and turns[0][0] != "system":
        turns.insert(0, ("system", settings.system))
    return Ask(tuple(turns), settings.max_new_tokens, settings.temperature, number=question.number)
