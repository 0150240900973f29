"""What computes the next token's logits for several answers at once: the part of an engine that knows the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from camelid.data.pack import Example

# Enough for a full-speed product; beside answers, few enough that these do not wait long (a fifth of a second on two
# cores for SmolLM2).
_READ_IDLE, _READ_BUSY = 512, 128


def tokens_to_read(answering: int, reading: int) -> int:
    """Tokens of prompts that one pass reads, while so many slots answer and so many wait for their prompt."""
    return _READ_BUSY if answering > reading else _READ_IDLE


class Decoder(ABC):
    """Slots that each hold a prompt and its answer so far. Used by one thread at a time.

    slots: how many can be open; context: most tokens of a prompt and its answer; rows: of its logits
    """

    slots: int
    context: int
    rows: int

    @abstractmethod
    def open(self, prompt: np.ndarray, adapter: str, tokens: int) -> int:
        """A slot for a prompt (T,) int32 with T >= 1, answered by `adapter` ("" is the base). Computes nothing yet.

        tokens: of the prompt and the longest answer, as `has_room` was asked
        """

    @abstractmethod
    def advance(self, tokens: Mapping[int, int]) -> tuple[list[int], Tensor]:
        """Feed each slot its newest token, go on reading prompts, and give the logits that are now known.

        tokens: slot -> the token that was chosen for it. Returns (slots, logits (n, V) float32 on the CPU): those of
        `tokens`, and every slot whose prompt has now been read.
        """

    @abstractmethod
    def close(self, slot: int) -> None:
        """Free a slot, whatever its state."""

    @abstractmethod
    def score(self, example: Example, adapter: str) -> float:
        """Log-probability in nats of an example's weighted edges: sum of weight * log p."""

    @abstractmethod
    def embed(self, ids: np.ndarray, adapter: str) -> np.ndarray:
        """(D,) float32: the mean of the last hidden states of some tokens."""

    def has_room(self, tokens: int) -> bool:
        """Whether a prompt and its longest answer, so many tokens, can be taken in beside what is open."""
        return True

    @abstractmethod
    def release(self) -> None:
        """Free what the decoder holds outside of Python."""
