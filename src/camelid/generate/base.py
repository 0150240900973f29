"""The generator port: everything that answers prompts looks like this, whatever computes it.

Prompts are conversations that end where the answer begins; rendering belongs to the engine, so that training and
answering use the same renderer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from camelid.data.records import Conversation


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. temperature 0 is greedy."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0  # 0: no limit
    repetition_penalty: float = 1.0  # Keskar et al. 2019; 1: none
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ValueError("max_new_tokens >= 1, temperature >= 0, 0 < top_p <= 1 and top_k >= 0 are needed")
        if self.repetition_penalty <= 0:
            raise ValueError("repetition_penalty must be positive")


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `finish` is 'stop' (the model ended its turn) or 'length'."""

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


class Generator(Protocol):
    """What answers prompts."""

    def generate(self, prompts: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order."""
        ...

    def stream(self, prompt: Conversation, sampling: Sampling) -> Iterator[str]:
        """The answer in pieces, whole characters only; joined they equal `generate`'s text."""
        ...


class EchoGenerator:
    """Answers each prompt with its last message: the shipped fake, for tests and dry runs."""

    def generate(self, prompts: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        """The last message of each prompt."""
        return [
            Completion(c.messages[-1].content, "stop", len(c.messages), len(c.messages[-1].content)) for c in prompts
        ]

    def stream(self, prompt: Conversation, sampling: Sampling) -> Iterator[str]:
        """The last message, a character at a time."""
        yield from prompt.messages[-1].content
