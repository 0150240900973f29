"""The shipped fake: a teacher that says what a function tells it to. For tests and dry runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

from camelid.data.factory.teacher import Answer, Ask, Hear

_BYTES_A_TOKEN = 4


@final
class ScriptedTeacher:
    """script: the answer to a question, or its words alone, which then ended by themselves. asked: what was asked."""

    def __init__(self, script: Callable[[Ask], Answer | str]) -> None:
        self._script = script
        self.asked: list[Ask] = []

    def __call__(self, asks: Sequence[Ask], hear: Hear) -> None:
        """Answer in order. Tokens are counted as so many bytes."""
        for place, ask in enumerate(asks):
            self.asked.append(ask)
            said = self._script(ask)
            if isinstance(said, str):
                prompt = "".join(words for _, words in ask.messages)
                said = Answer(said, "stop", rough_tokens(prompt), rough_tokens(said))
            hear(place, said)


def rough_tokens(text: str) -> int:
    """How many tokens a text may be, for whom no tokenizer is known."""
    return len(text.encode("utf-8", "surrogatepass")) // _BYTES_A_TOKEN + 1
