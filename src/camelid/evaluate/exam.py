"""One examination of a model, before tuning and after: skills, plain questions, general text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camelid.data.pack import Example
from camelid.data.records import Conversation
from camelid.data.skills import SkillRow
from camelid.evaluate.perplexity import TextScore, heldout_texts, perplexity
from camelid.evaluate.retention import Question, RetentionReport, plain_questions
from camelid.evaluate.skills import SkillReport, skill_accuracy
from camelid.generate.base import Sampling
from camelid.generate.local import LiveGenerator

PASSAGE_TOKENS = 512  # longer passages of held-out text are scored in windows of so many tokens
TEXT_TOKENS = {"en": 1450, "zh": 1300}  # of held-out text at least, in whole passages: seven, two of SmolLM2's Chinese


@dataclass(frozen=True)
class ExamResult:
    """What a model can do."""

    skills: SkillReport
    plain: RetentionReport
    text: dict[str, TextScore]


class Exam:
    """The questions, and a generator that is asked. Greedy, so the result repeats exactly."""

    def __init__(self, generator: LiveGenerator, questions: Sequence[Question]) -> None:
        self.generator, self.questions = generator, questions

    def take(self, rows: Sequence[SkillRow]) -> ExamResult:
        """Ask the skill rows and every plain question, and score the held-out text."""
        return ExamResult(
            skills=self.skills(rows),
            plain=plain_questions(self.answer, questions=self.questions),
            text={language: perplexity(self.log_probability, self.passages(language)) for language in TEXT_TOKENS},
        )

    def skills(self, rows: Sequence[SkillRow]) -> SkillReport:
        """Accuracy on skill rows. An answer that is longer than the right one by half is wrong already: cut there."""
        limits = [len(self._ids(row.answer)) * 3 // 2 + 4 for row in rows]

        def answer(conversations: Sequence[Conversation], limit: int) -> list[str]:
            samplings = [Sampling(max_new_tokens=min(limit, own)) for own in limits]
            return [c.text for c in self.generator.generate_each(conversations, samplings)]

        return skill_accuracy(answer, rows)

    def answer(self, conversations: Sequence[Conversation], max_new_tokens: int) -> list[str]:
        """Greedy answers."""
        sampling = Sampling(max_new_tokens=max_new_tokens)
        return [completion.text for completion in self.generator.generate(conversations, sampling)]

    def passages(self, language: str) -> list[str]:
        """The first of the held-out passages that have `TEXT_TOKENS` together: fewer, the more tokens a model takes."""
        chosen, tokens = [], 0
        for text in heldout_texts(language):
            if tokens >= TEXT_TOKENS[language]:
                break
            chosen.append(text)
            tokens += len(self._ids(text))
        return chosen

    def log_probability(self, text: str) -> tuple[float, int]:
        """(summed log-probability, predicted tokens) of running text."""
        windows = self.windows(text)
        return sum(score for score, _ in windows), sum(tokens for _, tokens in windows)

    def windows(self, text: str) -> list[tuple[float, int]]:
        """The same of each of its windows, which know nothing of one another."""
        windows = [window for window in self.window_ids(text) if len(window) > 1]
        examples = []
        for window in windows:
            weight = np.ones(len(window), np.float32)
            weight[0] = 0
            examples.append(Example(np.array(window, np.int32), weight, 0))
        scores = self.generator.score(examples)
        return [(score, len(window) - 1) for score, window in zip(scores, windows, strict=True)]

    def window_ids(self, text: str) -> list[list[int]]:
        """The tokens of each window.

        Each begins with bos where the tokenizer's convention says so (Gemma without it makes nonsense); else its first
        token is given, not predicted.
        """
        ids, vocabulary = self._ids(text), self.generator.renderer.vocabulary
        head = [vocabulary.id_of(vocabulary.leading_bos)] if vocabulary.leading_bos else []
        return [head + ids[start : start + PASSAGE_TOKENS] for start in range(0, len(ids), PASSAGE_TOKENS)]

    def _ids(self, text: str) -> list[int]:
        return self.generator.renderer.vocabulary.backend.encode(text, add_special_tokens=False).ids
