"""What a model has forgotten: general text and plain questions, before tuning and after, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from camelid.data.records import Conversation
from camelid.data.skills import FAMILIES, SkillRow, make_skill_rows
from camelid.evaluate.exam import TEXT_TOKENS, Exam
from camelid.evaluate.retention import MAX_NEW_TOKENS, Question, load_questions
from camelid.generate.base import Sampling
from camelid.generate.local import LiveGenerator, ids_of
from camelid.runs.interval import Passages, Share, paired_rise

SKILL_ROWS = 40  # half Chinese, half English
_SEED = 2
# who made the assistant is no general skill: the quickstart teaches that
_GENERAL = [family for family in FAMILIES if family.name != "identity"]
_ONE_LINE = Sampling(max_new_tokens=16, stop=("\n",))


@dataclass(frozen=True)
class General:
    """Of one model.

    text: by language, of every passage, or window of a long one (summed -log p in nats, tokens); asked, right: plain
    questions and those answered; skills: by language, (right, asked) of short tasks that have one right answer
    """

    text: dict[str, list[tuple[float, int]]]
    asked: int
    right: tuple[str, ...]
    skills: dict[str, tuple[int, int]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"text": self.text, "asked": self.asked, "right": list(self.right), "skills": self.skills}

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> General:
        """The inverse of `as_json`."""
        text = {language: [(float(n), int(t)) for n, t in pairs] for language, pairs in values["text"].items()}
        skills = {language: (int(right), int(asked)) for language, (right, asked) in values["skills"].items()}
        return cls(text, int(values["asked"]), tuple(values["right"]), skills)


@dataclass(frozen=True)
class Change:
    """Perplexity before and after, and its rise as a share, with the 95% interval over passages."""

    before: float
    after: float
    rise: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.before:.2f} -> {self.after:.2f} ({self.rise:+.1%} [{self.low:+.1%}, {self.high:+.1%}])"


def measure_general(generator: LiveGenerator, *, questions: bool, answers: bool = True) -> General:
    """Score the held-out general text of both languages; ask plain questions and short tasks where that is wanted.

    answers: the base was trained to answer (it has a chat template) and is asked so, in English, for SmolLM2 knows no
    Chinese. One that only continues text is asked in both languages, before and after, as text that holds the answer;
    it is given no tasks, for it does not know what a task is.
    """
    exam = Exam(generator, [])
    text = {
        language: [window for passage in exam.passages(language) for window in exam.windows(passage)]
        for language in TEXT_TOKENS
    }
    asked = asked_of(answers) if questions else []
    prompts, sampling = prompts_of(asked, answers)
    found = generator.generate(prompts, sampling) if asked else []
    right = tuple(q.text for q, answer in zip(asked, found, strict=True) if q.answered_by(answer.text))
    skills = {}
    if tasks := _tasks() if questions and answers else []:
        report = exam.skills(tasks)
        skills = {language: (share.right, share.total) for language, share in report.by_language.items()}
    return General({k: [(-p, n) for p, n in pairs] for k, pairs in text.items()}, len(asked), right, skills)


def what_is_read(generator: LiveGenerator, *, questions: bool, answers: bool = True) -> dict[str, Any]:
    """Every token that `measure_general` gives a model to read, and what it takes for right, as JSON values."""
    exam = Exam(generator, [])
    asked = asked_of(answers) if questions else []
    tasks = _tasks() if questions and answers else []
    prompts: list[Conversation | str] = [*prompts_of(asked, answers)[0], *(task.conversation for task in tasks)]
    return {
        "text": {k: [ids for passage in exam.passages(k) for ids in exam.window_ids(passage)] for k in TEXT_TOKENS},
        "prompts": [ids_of(generator.renderer, prompt).tolist() for prompt in prompts],
        "right": [*(question.accepted for question in asked), *(task.answer for task in tasks)],
        "ends": generator.renderer.stop_ids,
    }


def _tasks() -> list[SkillRow]:
    return make_skill_rows(_SEED, SKILL_ROWS, split="heldout", families=_GENERAL)


def asked_of(answers: bool) -> list[Question]:
    """The plain questions that a base is asked; answers: it was trained to."""
    return [q for q in load_questions() if q.language == "en" or not answers]


def prompts_of(asked: Sequence[Question], answers: bool) -> tuple[list[Conversation | str], Sampling]:
    """How they are asked."""
    if answers:
        return [q.conversation for q in asked], Sampling(max_new_tokens=MAX_NEW_TOKENS)
    return [q.as_text for q in asked], _ONE_LINE


def rise(before: Passages, after: Passages) -> Change:
    """How the perplexity of the same passages changed. ValueError: other passages."""
    old = math.exp(sum(nats for nats, _ in before) / sum(n for _, n in before))
    change, low, high = paired_rise(before, after)
    return Change(old, old * (1 + change), change, low, high)


def kept(before: General, after: General) -> Share:
    """Of the plain questions that were right before, those that are still right."""
    known = set(before.right)
    return Share(len(known & set(after.right)), len(known))
