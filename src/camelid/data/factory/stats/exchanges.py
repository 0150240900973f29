"""Each record as what it asks and what it answers, whatever kind of record it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from camelid.data.factory.rows import end_of_prompt, tree_paths
from camelid.data.records import (
    Conversation,
    Labelled,
    Message,
    MessageTree,
    Preference,
    Ranked,
    Record,
    Text,
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """asked: the turns before the last answer, system prompt and all; answers: those to it, of a tree all replies.

    paths: the texts of each whole conversation that is in the record; turns: of the longest, without the system prompt
    """

    asked: tuple[str, ...]
    answers: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]
    turns: int
    system: str = ""
    instruction: str = ""  # the first question, without an Alpaca row's input
    tools: bool = False

    @property
    def texts(self) -> list[str]:
        """Every text that is in it, once."""
        return list(dict.fromkeys([*self.asked, *self.answers, *(text for path in self.paths for text in path)]))

    def longest(self, size: Callable[[str], int]) -> int:
        """Of the whole conversations."""
        return max(sum(map(size, path)) for path in self.paths)


def exchange_of(record: Record) -> Exchange:
    """Running text is an answer to nothing, and has no turns."""
    match record:
        case Text(text=text):
            return Exchange((), (text,), ((text,),), 0)
        case Conversation(messages=messages) | Labelled(messages=messages):
            end = end_of_prompt(messages)
            tools = isinstance(record, Conversation) and bool(record.tools)
            return _exchange(messages[:end], [messages[end:]] if messages[end:] else [], tools)
        case Preference(prompt=prompt, chosen=chosen, rejected=rejected):
            return _exchange(prompt, [chosen, rejected])
        case Ranked(prompt=prompt, answers=answers):
            return _exchange(prompt, [(Message("assistant", answer),) for answer in answers])
        case MessageTree(root=root):
            every = list(tree_paths(root))
            replies = tuple(path[-1].message.content for path in every if len(path) > 1)
            paths = [path for path in every if not path[-1].replies]
            texts = tuple(tuple(node.message.content for node in path) for path in paths)
            asked = root.message.content
            return Exchange((asked,), replies, texts, max(map(len, paths)), instruction=asked)


def _exchange(prompt: Sequence[Message], answers: Sequence[Sequence[Message]], tools: bool = False) -> Exchange:
    asked = tuple(message.content for message in prompt)
    given = tuple("\n".join(message.content for message in answer) for answer in answers)
    turns = [message for message in prompt if message.role != "system"]
    first = next((message for message in turns if message.role == "user"), None)
    return Exchange(
        asked=asked,
        answers=given,
        paths=tuple((*asked, answer) for answer in given) or (asked,),
        turns=len(turns) + max(map(len, answers), default=0),
        system="\n".join(message.content for message in prompt if message.role == "system"),
        instruction="" if first is None else first.instruction,
        tools=tools or any(message.tool_calls for message in chain(prompt, *answers)),
    )
