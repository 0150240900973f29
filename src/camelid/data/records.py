"""The records that raw data is read into: what every later stage sees, whatever format the file had.

All are frozen: a stage that changes a record makes a new one. A record knows where it came from (`Origin`), so that
any stage can reject it with file and line (see `camelid.data.ledger`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]

EXCERPT_LENGTH = 120  # characters of a rejected row that are shown


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row begins."""

    file: str
    line: int  # from 1; in a JSON array the line on which the row begins; in Parquet and Arrow the number of the row
    conversation: str = field(default="", compare=False)  # what the row itself calls the conversation it is part of


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `trained` None means: as the recipe's `train_on` says; True and False overrule it."""

    role: Role
    content: str
    tool_calls: tuple[dict[str, Any], ...] = ()  # as the row holds them, OpenAI's {"type", "function"} included
    name: str | None = None  # the tool that a `tool` message answers for, where the row says so
    trained: bool | None = None
    # An Alpaca row's "input" follows the instruction and one line break: content[:input_start - 1] is the instruction
    # and content[input_start:] the input, for templates that show the two under headings of their own.
    input_start: int | None = None

    @property
    def instruction(self) -> str:
        """What it says, without an Alpaca row's input."""
        return self.content if self.input_start is None else self.content[: self.input_start - 1]

    @property
    def input(self) -> str:
        """An Alpaca row's input, "" where there is none."""
        return "" if self.input_start is None else self.content[self.input_start :]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order; `tools` are the descriptions of the tools that the assistant may call."""

    messages: tuple[Message, ...]
    origin: Origin
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Preference:
    """One prompt with a better and a worse continuation (DPO and kin)."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Ranked:
    """One prompt with two or more answers, the best first."""

    prompt: tuple[Message, ...]
    answers: tuple[str, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Labelled:
    """A conversation whose last answer is wanted (True) or not (False): KTO."""

    messages: tuple[Message, ...]
    label: bool
    origin: Origin


@dataclass(frozen=True, slots=True)
class TreeMessage:
    """One message of a tree, with the replies to it in the order of the file."""

    message: Message
    replies: tuple[TreeMessage, ...] = ()
    rank: int | None = None  # among its siblings as people ranked them, 0 the best; None where nobody did


@dataclass(frozen=True, slots=True)
class MessageTree:
    """An OASST message tree: one prompt, with every reply to every message."""

    root: TreeMessage
    origin: Origin


@dataclass(frozen=True, slots=True)
class Text:
    """Running text without turns: pretraining."""

    text: str
    origin: Origin


Record = Conversation | Preference | Ranked | Labelled | MessageTree | Text


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that was not kept: where, why, and how it begins (at most `EXCERPT_LENGTH` characters)."""

    file: str
    line: int
    reason: str
    excerpt: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"
