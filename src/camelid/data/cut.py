"""What to do with a conversation that is longer than `max_length`. Nothing is lost without being counted.

A conversation is a head (the system messages it begins with) and exchanges (from a question to the message before
the next question). Every part that comes out is head + whole exchanges, rendered anew, so it begins as any
conversation does and never cuts a question.

- `drop`: the row is rejected.
- `left`: the oldest exchanges go, until the rest fits; the head and the last exchange stay.
- `split`: as many exchanges a part as fit, each in one part. With `train_on: last` only the end is trained, so a part
  without it would teach nothing: there `split` is `left`.

One exchange that is too long by itself loses the tail of its rendering: its last answer ends without end token, so it
teaches no false stop. If not even one token of an answer fits, then the exchange cannot be used (a question whose
middle is gone would teach a wrong answer): it is left out and counted, and if it is the last or only one the row is
rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from camelid.data.records import Conversation, Message
from camelid.data.templates.base import RowFault, TrainOn

Cut = Literal["split", "drop", "left"]


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """One training example. `turns` and `dropped` number the messages of the conversation as it came, from 0."""

    ids: np.ndarray  # (T,) int32
    trained: np.ndarray  # (T,) bool: token t is a target. Position 0 never is: nothing stands before it
    cut: int  # tokens of the conversation that were left out at this part, its dropped messages' included
    turns: np.ndarray  # (T,) int32: the message that a token belongs to; -1 = the template's preamble
    dropped: tuple[int, ...] = ()  # messages that were left out whole at this part


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A conversation, or a part of one, as encoded; arrays of (T,)."""

    ids: np.ndarray  # int32
    trained: np.ndarray  # bool
    answer: np.ndarray  # bool: what the model itself must write, trained or not
    turns: np.ndarray  # int32

    def first(self, length: int) -> Row:
        return Row(self.ids[:length], self.trained[:length], self.answer[:length], self.turns[:length])

    def rendered(self, cut: int = 0, dropped: tuple[int, ...] = ()) -> Rendered:
        return Rendered(self.ids, self.trained, cut, self.turns, dropped)


class Whole(Protocol):
    """Renders a conversation whatever its length. Raises RowFault."""

    def __call__(self, conversation: Conversation, /) -> Row: ...


@dataclass(frozen=True, slots=True)
class _Exchange:
    turns: tuple[int, ...]  # message numbers
    tokens: int  # in the rendering of the whole conversation


def fit(
    conversation: Conversation, whole: Row, max_length: int, cut: Cut, train_on: TrainOn, render: Whole
) -> list[Rendered]:
    """The parts of a conversation, each at most `max_length` tokens, each with something to learn.

    `whole` is its rendering. Raises RowFault where nothing usable is left.
    """
    if not whole.trained.any():
        raise RowFault(_NOTHING)
    fitting = _without_idle_end(whole, max_length)
    if len(fitting.ids) <= max_length:
        return [fitting.rendered()]
    if cut == "drop":
        raise RowFault(f"{len(whole.ids)} tokens, more than max_length {max_length} (cut: drop)")
    head, exchanges = _exchanges(conversation.messages, whole.turns)
    if cut == "split" and train_on != "last":
        return _split(conversation, head, exchanges, max_length, render)
    return [_left(conversation, head, exchanges, max_length, render)]


_NOTHING = "no token to learn: no assistant turn with text is a target"


def _fits(row: Row, max_length: int) -> bool:
    return len(_without_idle_end(row, max_length).ids) <= max_length


def _without_idle_end(row: Row, max_length: int) -> Row:
    """If only what follows the last target is too long (a line break after the end token), the row without that."""
    if len(row.ids) <= max_length:
        return row
    targets = np.flatnonzero(row.trained)
    end = int(targets[-1]) + 1 if len(targets) else 0
    if not 0 < end <= max_length:
        return row
    idle = bool((row.turns[max_length:] == row.turns[end - 1]).all())  # else a later message would be lost
    return row.first(max_length) if idle else row


def _exchanges(messages: Sequence[Message], turns: np.ndarray) -> tuple[tuple[int, ...], list[_Exchange]]:
    first = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    starts = [
        i for i in range(first, len(messages)) if i == first or (messages[i].role == "user" != messages[i - 1].role)
    ]
    counts = np.bincount(turns[turns >= 0], minlength=len(messages))
    exchanges = []
    for start, end in zip(starts, [*starts[1:], len(messages)], strict=True):
        exchanges.append(_Exchange(tuple(range(start, end)), int(counts[start:end].sum())))
    return tuple(range(first)), exchanges


def _part(conversation: Conversation, head: tuple[int, ...], exchanges: Sequence[_Exchange], render: Whole) -> Row:
    """Head and exchanges rendered anew, its turns numbered as in the whole conversation."""
    numbers = [*head, *(turn for exchange in exchanges for turn in exchange.turns)]
    part = render(replace(conversation, messages=tuple(conversation.messages[i] for i in numbers)))
    return replace(part, turns=np.array([*numbers, -1], dtype=np.int32)[part.turns])


def _shortened(part: Row, max_length: int) -> Rendered | None:
    """The part, without the tail that does not fit; None if no target, or no token of an answer, would be left."""
    part = _without_idle_end(part, max_length)
    excess = len(part.ids) - max_length
    if excess <= 0:
        return part.rendered() if part.trained.any() else None
    kept = part.first(max_length)
    if not (kept.trained.any() and kept.answer.any()):
        return None
    gone = set(part.turns.tolist()) - set(kept.turns.tolist())
    return kept.rendered(excess, tuple(sorted(gone)))


def _left(
    conversation: Conversation, head: tuple[int, ...], exchanges: list[_Exchange], max_length: int, render: Whole
) -> Rendered:
    # Skip at once what the counts of the whole rendering say cannot fit; the rendering of the part decides.
    total, start = 0, len(exchanges) - 1
    for i in range(len(exchanges) - 1, -1, -1):
        total += exchanges[i].tokens
        if total > max_length:
            break
        start = i
    while True:
        part = _part(conversation, head, exchanges[start:], render)
        if _fits(part, max_length) or start == len(exchanges) - 1:
            break
        start += 1
    shortened = _shortened(part, max_length)
    if shortened is None:
        raise RowFault(_no_room(part, max_length))
    return _with_lost(shortened, exchanges[:start])


def _split(
    conversation: Conversation, head: tuple[int, ...], exchanges: list[_Exchange], max_length: int, render: Whole
) -> list[Rendered]:
    parts: list[Rendered] = []
    lost: list[_Exchange] = []  # since the last part
    reason = ""
    start = 0
    while start < len(exchanges):
        end, total = start + 1, exchanges[start].tokens
        while end < len(exchanges) and total + exchanges[end].tokens <= max_length:
            total += exchanges[end].tokens
            end += 1
        while True:
            part = _part(conversation, head, exchanges[start:end], render)
            if _fits(part, max_length) or end == start + 1:
                break
            end -= 1
        shortened = _shortened(part, max_length)
        if shortened is None:
            reason = reason or _no_room(part, max_length)
            lost += exchanges[start:end]
        else:
            parts.append(_with_lost(shortened, lost))
            lost = []
        start = end
    if not parts:
        raise RowFault(reason)
    parts[-1] = _with_lost(parts[-1], lost)
    return parts


def _with_lost(part: Rendered, lost: Sequence[_Exchange]) -> Rendered:
    if not lost:
        return part
    turns = tuple(turn for e in lost for turn in e.turns)
    return replace(part, cut=part.cut + sum(e.tokens for e in lost), dropped=tuple(sorted(part.dropped + turns)))


def _no_room(part: Row, max_length: int) -> str:
    before = np.flatnonzero(part.trained & part.answer)
    if not len(before):
        return _NOTHING
    return f"{int(before[0])} tokens stand before the first answer: no room for one in max_length {max_length}"
