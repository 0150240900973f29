"""What a template is: it lays a conversation out as pieces, and says of each who wrote it.

The one distinction that everything rests on: a piece is `template` (the format's own text, in which control tokens
are control tokens) or `content` (text from the data, which never becomes a control token however it is spelled).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from camelid.data.records import Conversation

TrainOn = Literal["last", "all", "everything"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a rendering."""

    text: str
    kind: Literal["template", "content"]
    trained: bool
    turn: int = -1  # index of the message it belongs to; -1 = the template's preamble
    answer: bool = False  # part of what the model must write: an assistant turn's text and its end token


class RowFault(Exception):
    """This conversation cannot be laid out by this template; str() is the reason, for the ledger."""


class Template(Protocol):
    name: str
    now: str | None  # the ISO time that it writes where it writes one

    @property
    def source(self) -> str:
        """The same layout as a Jinja chat template, for those who render elsewhere."""
        ...

    @property
    def end_tokens(self) -> tuple[str, ...]:
        """The control tokens with which an answer ends."""
        ...

    @property
    def literals(self) -> str:
        """The template's own text: an added token that it spells is a control token too."""
        ...

    def pieces(
        self, conversation: Conversation, *, add_generation_prompt: bool = False, train_on: TrainOn = "all"
    ) -> list[Piece]:
        """Raises RowFault."""
        ...

    def pieces_batch(
        self, conversations: Sequence[Conversation], *, add_generation_prompt: bool = False, train_on: TrainOn = "all"
    ) -> list[list[Piece] | RowFault]: ...


def trains(turn: int, role: str, override: bool | None, last_answer: int, train_on: TrainOn) -> bool:
    """Is message `turn` a training target? `override` is the message's own word."""
    if override is not None:
        return override
    if train_on == "everything":
        return True
    return role == "assistant" and (train_on == "all" or turn == last_answer)
