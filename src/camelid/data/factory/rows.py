"""Rows for the factory: as they stand in the file, beside the records that they are read into.

A verb that only chooses among rows writes them as they were; one that changes them works on the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from camelid.data.formats import convert_row
from camelid.data.ledger import Ledger
from camelid.data.records import (
    Conversation,
    Labelled,
    Message,
    MessageTree,
    Origin,
    Preference,
    Ranked,
    Record,
    Rejection,
    Text,
    TreeMessage,
)
from camelid.data.sources import Reading, Sources, read_with

Aspect = Literal["instruction", "prompt", "answer", "all"]


@dataclass(frozen=True, slots=True)
class Row:
    """value: what the file holds; records: what it is read into, one or more (a self-instruct task has several)."""

    value: Any
    origin: Origin
    records: tuple[Record, ...]


def read_rows(
    sources: Sources,
    *,
    ledger: Ledger,
    on_reject: Callable[[Rejection], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> Iterator[Row]:
    """The rows of all sources in order. What cannot be used goes to `on_reject`. Raises as `read_records` does."""
    reading = Reading(lambda part: part.open(), _convert)
    return read_with(reading, sources, seed=0, ledger=ledger, on_reject=on_reject, announce=announce)


def _convert(value: Any, origin: Origin, notes: list[str]) -> tuple[str, Sequence[Row]]:
    name, records = convert_row(value, origin, notes)
    return name, [Row(value, origin, tuple(records))]


def text_of(row: Row, aspect: Aspect) -> str:
    """What rows are compared by.

    instruction: what the user asks first, without an Alpaca row's input; prompt: all but the last answer, by which a
    preference has two; running text counts as an answer
    """
    parts = [part for record in row.records for part in _parts(record, aspect)]
    return "\n".join(part for part in parts if part)


def _parts(record: Record, aspect: Aspect) -> list[str]:
    prompt, answers = _sides(record)
    if aspect == "instruction":
        first = next((message for message in prompt if message.role == "user"), None)
        return [] if first is None else [first.instruction]
    asked = [message.content for message in prompt]
    return {"prompt": asked, "answer": answers, "all": asked + answers}[aspect]


def _sides(record: Record) -> tuple[Sequence[Message], list[str]]:
    """(prompt, answers)."""
    match record:
        case Conversation(messages=messages) | Labelled(messages=messages):
            end = end_of_prompt(messages)
            return messages[:end], [message.content for message in messages[end:]]
        case Preference(prompt=prompt, chosen=chosen, rejected=rejected):
            return prompt, [message.content for message in (*chosen, *rejected)]
        case Ranked(prompt=prompt, answers=answers):
            return prompt, list(answers)
        case MessageTree(root=root):
            return [root.message], [path[-1].message.content for path in tree_paths(root) if len(path) > 1]
        case Text(text=text):
            return [], [text]


def end_of_prompt(messages: Sequence[Message]) -> int:
    """Where the last answer stands; behind all of them where there is none."""
    return next((i for i in reversed(range(len(messages))) if messages[i].role == "assistant"), len(messages))


def tree_paths(root: TreeMessage) -> Iterator[tuple[TreeMessage, ...]]:
    """From the root to each message of a tree, in the order of the file."""
    pending: list[tuple[TreeMessage, ...]] = [(root,)]
    while pending:
        path = pending.pop()
        yield path
        pending += [(*path, reply) for reply in reversed(path[-1].replies)]
