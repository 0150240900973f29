"""What a model still knows: plain questions of ours with accepted answers, before tuning and after.

Asked in English and (few, for SmolLM2 cannot answer them) in Chinese. No model is known here: `answer` is as in
`camelid.evaluate.skills`. An answer is right when it holds an accepted answer as a whole word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from camelid.data.question_text import asked_after_examples
from camelid.data.records import Conversation, Message, Origin
from camelid.errors import UserError
from camelid.evaluate.skills import Answer
from camelid.runs.interval import Share

MAX_NEW_TOKENS = 32
FILE = "plain_questions.jsonl"


@dataclass(frozen=True, slots=True)
class Question:
    """`accepted`: any of these, as a whole word (Chinese: anywhere), in any case. `known_by`: the shipped bases that
    answered it rightly when the list was made, greedily and under their own default system prompt."""

    text: str
    accepted: tuple[str, ...]
    language: str
    kind: str
    known_by: tuple[str, ...]
    line: int

    @property
    def conversation(self) -> Conversation:
        return Conversation((Message("user", self.text),), Origin(FILE, self.line))

    @property
    def as_text(self) -> str:
        """For a base that was not trained to answer: text whose next line is the answer."""
        return asked_after_examples(self.text, self.language)

    def answered_by(self, text: str) -> bool:
        """Whether the text holds an accepted answer."""
        return any(_holds(text, accepted) for accepted in self.accepted)


def _holds(text: str, accepted: str) -> bool:
    if not accepted.isascii():
        return accepted in text  # Chinese puts no spaces between words
    return re.search(rf"(?<![A-Za-z0-9_]){re.escape(accepted)}(?![A-Za-z0-9_])", text, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Answered:
    """One question, what was said, and whether that was right."""

    question: Question
    text: str
    right: bool


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """`kept`: still right, of those that the base had right (all that were asked, where `only` was not given)."""

    kept: Share
    by_language: dict[str, Share]
    answers: tuple[Answered, ...]

    @property
    def right(self) -> tuple[str, ...]:
        """The texts of the questions answered rightly: the next call's `only`."""
        return tuple(answered.question.text for answered in self.answers if answered.right)

    @property
    def lost(self) -> tuple[Answered, ...]:
        """What was asked and answered wrongly."""
        return tuple(answered for answered in self.answers if not answered.right)


@cache
def load_questions() -> tuple[Question, ...]:
    """The shipped questions, in the order of the file."""
    folder = resources.files("camelid") / "assets" / "general"
    questions = []
    for line, row in enumerate((folder / FILE).read_text("utf-8").splitlines(), 1):
        fields = json.loads(row)
        questions.append(
            Question(
                text=fields["question"],
                accepted=tuple(fields["accepted"]),
                language=fields["language"],
                kind=fields["kind"],
                known_by=tuple(fields["known_by"]),
                line=line,
            )
        )
    return tuple(questions)


def choose_questions(count: int, known_by: str, language: str = "en") -> list[Question]:
    """`count` questions that a shipped base is known to answer, spread evenly over the file and so over the kinds."""
    known = [
        question for question in load_questions() if question.language == language and known_by in question.known_by
    ]
    if not 0 < count <= len(known):
        raise UserError(
            f"{count} plain questions known by {known_by!r} were asked for", mend=f"choose between 1 and {len(known)}"
        )
    return [known[place * len(known) // count] for place in range(count)]


def plain_questions(
    answer: Answer,
    only: Collection[str] | None = None,
    questions: Sequence[Question] | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> RetentionReport:
    """Asks the questions (the shipped ones, unless given; of these only those whose text is in `only`).

    First ask the base; then ask the tuned model with `only=report.right`, so that `kept` is the share of what the
    base knew. UserError: nothing left to ask. ValueError: `answer` gave another number of texts.
    """
    asked = [q for q in (load_questions() if questions is None else questions) if only is None or q.text in only]
    if not asked:
        raise UserError("no plain question to ask", mend="the base answered none, so nothing can be retained")
    texts = answer([question.conversation for question in asked], max_new_tokens)
    if len(texts) != len(asked):
        raise ValueError(f"{len(asked)} questions were asked and {len(texts)} answers came back")
    answers = tuple(Answered(q, text, q.answered_by(text)) for q, text in zip(asked, texts, strict=True))
    by_language = {}
    for language in sorted({question.language for question in asked}):
        marks = [answered.right for answered in answers if answered.question.language == language]
        by_language[language] = Share(sum(marks), len(marks))
    return RetentionReport(Share(sum(a.right for a in answers), len(answers)), by_language, answers)
