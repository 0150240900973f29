"""`--dry-run` of verbs whose questions are known before anybody is asked: all are counted, none is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from camelid.cli.console import print_json, say
from camelid.cli.data.teacher import dollars, known_prices
from camelid.cli.data.teacher_options import TeacherOptions
from camelid.data.factory.scripted import rough_tokens
from camelid.data.factory.teacher import Ask


@dataclass
class Estimate:
    """Takes questions in a teacher's place and answers none. answer_tokens: how long a question's answer will be"""

    answer_tokens: Callable[[Ask], int]
    prompt: int = 0
    completion: int = 0
    first: Ask | None = None
    _asked: set[str] = field(default_factory=set)

    def __call__(self, asks: Sequence[Ask]) -> list[None]:
        """As `AskAll`: no answer to any."""
        for ask in asks:
            if (name := ask.name("")) in self._asked:
                continue  # the journal knows its answer
            self._asked.add(name)
            self.first = self.first or ask
            self.prompt += sum(rough_tokens(words) for _, words in ask.messages)
            self.completion += self.answer_tokens(ask)
        return [None] * len(asks)

    def tell(self, teacher: TeacherOptions | None, *, times: int = 1, bound: str = "about", as_json: bool) -> int:
        """Say what it would be. times: that each question is asked; bound: of the tokens of the answers."""
        asked, prompt, completion = (times * n for n in (len(self._asked), self.prompt, self.completion))
        told: dict[str, object] = {"questions": asked, "prompt_tokens": prompt, "completion_tokens": completion}
        cost = ""
        if (prices := known_prices(teacher)) is not None:
            told["cost"] = dollars(prompt, completion, prices)
            cost = f", {bound} ${told['cost']:.2f}"
        first = self.first.messages[-1][1] if self.first else ""
        if as_json:
            print_json({**told, "first_question": first})
            return 0
        if first:
            say(f"{first}\n--- the first question")
        say(
            f"{asked:,} questions: about {prompt:,} tokens of theirs, {bound} {completion:,} of answers{cost}; "
            "nobody was asked"
        )
        return 0
