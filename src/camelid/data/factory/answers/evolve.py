"""Harder and other tasks from those that are there, as Evol-Instruct makes them (Xu et al. 2023, WizardLM).

In depth: one thing more is asked, a general thing becomes a particular one, or more steps are needed. In breadth: a
new task of the same field. A task that says nothing new, or what the old one said, is dropped.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from camelid.data.factory.answers.answer import Settings, answer_all
from camelid.data.factory.answers.questions import Question
from camelid.data.factory.faults import Fault, answer_fault
from camelid.data.factory.make.pool import Nearest, TaskPool
from camelid.data.factory.make.rules import in_language, instruction_fault
from camelid.data.factory.teacher import Answer, Ask, AskAll
from camelid.data.records import Message
from camelid.data.skills.draw import Language

Direction = Literal["harder", "broader"]

_BATCH = 64
_ALIKE = 0.9  # ROUGE-L: a harder task may repeat most of the one it is made from
_TOKENS = 512
_TEMPERATURE = 0.7

HOW: dict[Language, dict[Direction, tuple[str, ...]]] = {
    "en": {
        "harder": (
            "Add one more condition or requirement to it.",
            "Replace a general idea in it by a particular one.",
            "Rewrite it so that several steps of reasoning are needed.",
            "Ask for more depth and breadth in what it already asks.",
        ),
        "broader": ("Write a new task of the same field that is rarer and asks for something else, about as long.",),
    },
    "zh": {
        "harder": (
            "给它再加上一个条件或要求。",
            "把其中一个笼统的概念换成具体的概念。",
            "改写它，使得需要多步推理才能完成。",
            "在它原来所问的事情上，要求更深、更广的回答。",
        ),
        "broader": ("写一个同一领域、更少见、要求也不同的新任务，长度相近。",),
    },
}
_ASK: dict[Language, str] = {
    "en": "Here is a task for an assistant that answers in text:\n\n<task>\n{task}\n</task>\n\n{how} Keep it"
    " answerable by text alone, in English, and add at most 20 words. Write only the new task, without answering it.",
    "zh": "下面是交给一个只用文字作答的助手的任务：\n\n<task>\n{task}\n</task>\n\n{how}新任务仍须"
    "只靠文字就能完成，用中文，最多增加 40 个字。只写出新任务，不要作答。",
}
_TAGS = re.compile(r"^\s*(?:<task>\s*|(?:new task|新任务)\s*[:：]\s*)|\s*</task>\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Evolved:
    """What became of a question. instruction: the new task; text: its answer; fault: None where both may be kept"""

    question: Question
    direction: Direction
    instruction: str
    text: str
    fault: Fault | None
    nearest: Nearest | None = None


def evolve(
    questions: Iterable[Question],
    ask: AskAll,
    directions: Sequence[Direction],
    settings: Settings,
    *,
    seed: int,
) -> Iterator[Evolved]:
    """A new task from each question, in order, and its answer."""
    rest, pool, number = iter(questions), TaskPool((), _ALIKE), 0
    while batch := list(islice(rest, _BATCH)):
        ways = []
        for question in batch:
            chance = random.Random(f"{seed} {number}")
            direction = chance.choice(directions)
            language: Language = "zh" if in_language(question.words, "zh") else "en"
            ways.append((direction, language, chance.choice(HOW[language][direction])))
            number += 1
        asks = [
            Ask((("user", _ASK[language].format(task=one.words, how=how)),), _TOKENS, _TEMPERATURE)
            for one, (_, language, how) in zip(batch, ways, strict=True)
        ]
        answers = ask(asks)
        pool.add([one.words for one in batch])
        made = [
            _judged(one, direction, language, answer, pool)
            for one, (direction, language, _), answer in zip(batch, ways, answers, strict=True)
        ]
        good = [Question((Message("user", one.instruction),), one.question.origin) for one in made if one.fault is None]
        answered = answer_all(good, ask, settings)
        for one in made:
            if one.fault is not None:
                yield one
            else:
                found = next(answered)
                yield Evolved(one.question, one.direction, one.instruction, found.text, found.fault)


def _judged(
    question: Question, direction: Direction, language: Language, answer: Answer | None, pool: TaskPool
) -> Evolved:
    said = "" if answer is None else _TAGS.sub("", answer.text).strip()
    near = None
    fault = answer_fault(answer) or instruction_fault(said, language)
    if fault is None:
        (near,) = pool.admit([said])
        fault = None if near is None else Fault("like an earlier task")
    return Evolved(question, direction, said, "", fault, near)
