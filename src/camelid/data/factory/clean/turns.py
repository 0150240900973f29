"""Turns brought into order: system prompt, question, answer, question, answer; each that goes has a reason.

What may be repaired is repaired by the smallest change that leaves a conversation which could have been held; what
may not, rejects the conversation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from camelid.data.records import Message

EMPTY = "empty turn"
REPEATED = "repeats the turn before it"
JOINED = "joined to the turn before it"
NO_QUESTION = "an answer without its question"
NO_ANSWER = "a question without its answer"
LATE_SYSTEM = "a system prompt within the conversation"


@dataclass
class Ordered:
    """system: the prompt, or none; exchanges: (question, answer) in order; removed: turns by reason."""

    system: Message | None = None
    exchanges: list[tuple[Message, Message]] = field(default_factory=list)
    removed: Counter[str] = field(default_factory=Counter)
    fault: str = ""  # why the conversation cannot be used

    @property
    def messages(self) -> list[Message]:
        head = [self.system] if self.system else []
        return head + [turn for exchange in self.exchanges for turn in exchange]

    def drop_exchanges(self, reason: str, doomed: Sequence[bool]) -> None:
        """Take out the exchanges that are marked."""
        self.removed[reason] += 2 * sum(doomed)
        self.exchanges = [one for one, is_doomed in zip(self.exchanges, doomed, strict=True) if not is_doomed]

    def drop_repeated(self) -> None:
        """Take out each exchange that is the one before it, word for word."""
        words = [(" ".join(asked.content.split()), " ".join(said.content.split())) for asked, said in self.exchanges]
        self.drop_exchanges(REPEATED, [i > 0 and one == words[i - 1] for i, one in enumerate(words)])


def in_order(turns: Sequence[Message]) -> Ordered:
    """Turns of system, user and assistant as they came, put in order.

    Turns of one side in a row are one turn, unless the second repeats the first; what answers nothing, or is not
    answered, goes; so does an exchange that is said once more.
    """
    ordered = Ordered()
    rest = _head(turns, ordered)
    question: Message | None = None
    behind_answer = False  # whether the turn before is an answer that was kept
    for turn in rest:
        if turn.role == "system":
            ordered.fault = LATE_SYSTEM
            return ordered
        blank = not turn.content.strip()
        if turn.role == "user":
            behind_answer = False
            if blank:
                ordered.removed[EMPTY] += 1
            elif question is None:
                question = turn
            else:
                question = _joined(question, turn, ordered)
        elif question is not None:
            if blank:
                ordered.removed[EMPTY] += 1
                ordered.removed[NO_ANSWER] += 1
            else:
                ordered.exchanges.append((question, turn))
            question, behind_answer = None, not blank
        elif blank:
            ordered.removed[EMPTY] += 1
        elif behind_answer:
            asked, answer = ordered.exchanges[-1]
            ordered.exchanges[-1] = asked, _joined(answer, turn, ordered)
        else:
            ordered.removed[NO_QUESTION] += 1
    if question is not None:
        ordered.removed[NO_ANSWER] += 1
    ordered.drop_repeated()
    return ordered


def _head(turns: Sequence[Message], ordered: Ordered) -> Sequence[Message]:
    """Take the system prompts that a conversation begins with, as one. Returns what follows."""
    for i, turn in enumerate(turns):
        if turn.role != "system":
            return turns[i:]
        if not turn.content.strip():
            ordered.removed[EMPTY] += 1
        elif ordered.system is None:
            ordered.system = turn
        else:
            ordered.system = _joined(ordered.system, turn, ordered)
    return ()


def _joined(first: Message, second: Message, ordered: Ordered) -> Message:
    """Two turns of one side; the longer where one begins with all that the other says."""
    a, b = first.content.strip(), second.content.strip()
    trained = first.trained if first.trained == second.trained else None
    if a.startswith(b) or b.startswith(a):
        ordered.removed[REPEATED] += 1
        return first if len(a) >= len(b) else second
    ordered.removed[JOINED] += 1
    return replace(first, content=f"{first.content}\n\n{second.content}", trained=trained)
