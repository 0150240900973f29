"""The shape of a conversation: what a template sees of it when the texts are taken out.

Every text of the data (content, name, reasoning, an Alpaca input) becomes a slot. Tools and tool calls stay as they
are, because templates read their keys and types, but a control token that is spelled inside them becomes a slot.
Blank texts stay too: templates ask whether a text is empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from camelid.data.records import Conversation, Message
from camelid.data.templates.base import RowFault
from camelid.data.templates.skeleton import SLOT_PATTERN, slot_character

TEXT_FIELDS = ("content", "name", "reasoning_content", "input")  # one slot each for every message
Reasoning = Literal["", "raw", "stripped"]
THINK_START, THINK_END = "<think>", "</think>"
_FIRST_SPELLING_SLOT = 60_000  # slots from here on: control tokens spelled inside tools and tool calls
_MOST_SPELLINGS = 5_000


@dataclass(frozen=True)
class Shape:
    """A conversation with its texts taken out; `texts` maps slot characters to them."""

    messages: tuple[dict[str, Any], ...]  # as the template sees them, slots for texts
    keys: tuple[str, ...]  # of each message, a hashable stand-in
    tools: list[Any] | None
    tools_key: str
    texts: dict[str, str]

    def cache_key(self, num_messages: int) -> tuple[str, ...]:
        """Equal for two conversations whose first messages a template cannot tell apart."""
        return (self.tools_key, *self.keys[:num_messages])


def shape_of(
    conversation: Conversation, control: re.Pattern[str], *, reasoning: Reasoning = "", splits_input: bool = False
) -> Shape:
    """reasoning: take answers apart at </think>, as templates of reasoning models do themselves, with the line breaks
    around it (raw) or without (stripped).
    splits_input: take a question apart at its Alpaca input. Raises RowFault."""
    if len(conversation.messages) * len(TEXT_FIELDS) >= _FIRST_SPELLING_SLOT:
        raise RowFault(f"{len(conversation.messages):,} messages are more than a conversation may have")
    spelled = _Spelled(control)
    texts: dict[str, str] = {}
    messages, keys = [], []
    for i, message in enumerate(conversation.messages):
        entry, key = _message_shape(i, _texts(message, reasoning, splits_input), message, texts, spelled)
        messages.append(entry)
        keys.append(key)
    tools = [spelled.replaced(tool) for tool in conversation.tools] or None
    tools_key = json.dumps(tools, ensure_ascii=False) if tools else ""
    texts.update(spelled.texts())
    return Shape(tuple(messages), tuple(keys), tools, tools_key, texts)


def own_slots(turn: int) -> str:
    """The slot characters of a message."""
    first = turn * len(TEXT_FIELDS)
    return "".join(slot_character(first + i) for i in range(len(TEXT_FIELDS)))


def _texts(message: Message, reasoning: Reasoning, splits_input: bool) -> dict[str, str]:
    """The message's texts by the name under which a template finds them."""
    content = message.content
    texts = {"content": content}
    if message.name is not None:
        texts["name"] = message.name
    if splits_input and message.input_start is not None:
        texts["content"] = message.instruction
        texts["input"] = message.input
    if reasoning and message.role == "assistant" and THINK_END in content:
        before, _, answer = content.rpartition(THINK_END)
        thought = before.rpartition(THINK_START)[2]
        if reasoning == "stripped":
            thought, answer = thought.strip("\n"), answer.lstrip("\n")
        texts.update(content=answer, reasoning_content=thought)
    return texts


def _message_shape(
    turn: int, own: Mapping[str, str], message: Message, texts: dict[str, str], spelled: _Spelled
) -> tuple[dict[str, Any], str]:
    entry: dict[str, Any] = {"role": message.role}
    key: list[str] = [message.role]
    for offset, name in enumerate(TEXT_FIELDS):
        text = own.get(name)
        if text is None:
            continue
        if text.strip():
            entry[name] = slot_character(turn * len(TEXT_FIELDS) + offset)
            texts[entry[name]] = text
            key.append(name)
        else:
            entry[name] = text
            key.append(f"{name}={text}")
    if message.tool_calls:
        entry["tool_calls"] = [spelled.replaced(call) for call in message.tool_calls]
        key.append(json.dumps(entry["tool_calls"], ensure_ascii=False))
    return entry, "\0".join(key)


class _Spelled:
    """Puts a slot for every control token that is spelled inside a JSON value."""

    def __init__(self, control: re.Pattern[str]) -> None:
        self._control = control
        self._slots: dict[str, str] = {}

    def texts(self) -> dict[str, str]:
        return {slot: text for text, slot in self._slots.items()}

    def replaced(self, value: Any) -> Any:
        if isinstance(value, str):
            if SLOT_PATTERN.search(value):
                raise RowFault("tools or tool calls hold characters of Unicode's private plane 15")
            return self._control.sub(self._slot, value)
        if isinstance(value, Mapping):
            return {self.replaced(k): self.replaced(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.replaced(v) for v in value]
        return value

    def _slot(self, match: re.Match[str]) -> str:
        if len(self._slots) >= _MOST_SPELLINGS:
            raise RowFault("tools or tool calls spell too many control tokens")
        return self._slots.setdefault(match.group(), slot_character(_FIRST_SPELLING_SLOT + len(self._slots)))


def plain_messages(conversation: Conversation, *, splits_input: bool = False) -> list[dict[str, Any]]:
    """The messages as any server would hand them to the template; a key that is None is left out.

    splits_input: an Alpaca input under a key of its own, which only templates of ours read
    """
    messages = []
    for message in conversation.messages:
        entry: dict[str, Any] = {"role": message.role, **_texts(message, "", splits_input)}
        if message.tool_calls:
            entry["tool_calls"] = list(message.tool_calls)
        messages.append(entry)
    return messages


def padded(message: Mapping[str, Any], pad: tuple[str, str]) -> dict[str, Any]:
    """The message with blanks around each slot."""
    slots = {k: v for k, v in message.items() if isinstance(v, str) and SLOT_PATTERN.fullmatch(v)}
    return {**message, **{k: pad[0] + v + pad[1] for k, v in slots.items()}}


def check_complete(shape: Shape, skeleton: str) -> frozenset[int]:
    """Every text must stand in the rendering. The reasoning of a past answer may be left out: such turns are returned,
    and not trained, since the model will have written more than is shown. Raises RowFault."""
    shortened = set()
    last = max((i for i, m in enumerate(shape.messages) if m["role"] == "assistant"), default=-1)
    for i, message in enumerate(shape.messages):
        for name in TEXT_FIELDS:
            text = message.get(name)
            if name != "name" and text in shape.texts and text not in skeleton:
                if name != "reasoning_content":
                    raise RowFault(f"the chat template leaves out message {i + 1} ({message['role']})")
                if i == last:
                    raise RowFault(f"the chat template leaves out the reasoning of message {i + 1}, the last answer")
                shortened.add(i)
    return frozenset(shortened)
