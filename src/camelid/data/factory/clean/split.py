"""Long conversations cut on the borders of exchanges, so that every turn is in exactly one part.

FastChat's splitter loses the last pair that does not fit. A part here is the system prompt and whole exchanges, as many
as fit; an exchange that is too long by itself is a part by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from camelid.data.records import Message

# How long each message is; all together, the length of the conversation.
Lengths = Callable[[Sequence[Message]], Sequence[int]]


def characters(messages: Sequence[Message]) -> list[int]:
    """Lengths in characters."""
    return [len(message.content) for message in messages]


def split(messages: Sequence[Message], limit: int, lengths: Lengths) -> list[tuple[list[Message], int]]:
    """(part, its length), in order. The conversation begins with its system prompt, if it has one, and a question."""
    sizes = lengths(messages)
    exchanges = exchanges_of(messages)
    if sum(sizes) <= limit or len(exchanges) < 2:
        return [(list(messages), sum(sizes))]
    begin = exchanges[0][0]
    costs = [sum(sizes[start:stop]) for start, stop in exchanges]
    parts: list[tuple[list[Message], int]] = []
    first = 0
    while first < len(exchanges):
        end, total = first + 1, sum(sizes[:begin]) + costs[first]
        while end < len(exchanges) and total + costs[end] <= limit:
            total += costs[end]
            end += 1
        while True:
            part = [*messages[:begin], *messages[exchanges[first][0] : exchanges[end - 1][1]]]
            length = sum(lengths(part))
            if length <= limit or end == first + 1:
                break
            end -= 1  # where other turns stand before them, turns may be a little longer
        parts.append((part, length))
        first = end
    return parts


def exchanges_of(messages: Sequence[Message]) -> list[tuple[int, int]]:
    """Behind the system prompt, from each question to the message before the next one: [start, stop)."""
    begin = next((i for i, message in enumerate(messages) if message.role != "system"), len(messages))
    starts = [
        i for i in range(begin, len(messages)) if i == begin or messages[i].role == "user" != messages[i - 1].role
    ]
    return list(zip(starts, [*starts[1:], len(messages)], strict=True))
