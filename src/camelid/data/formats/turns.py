"""Turns: lists of messages under the role names as they occur, and what makes a conversation sound.

A sound conversation is an optional system turn, then a user turn, an answer, a user turn, ... and ends with an answer;
tool turns stand between calls and answers; only a tool's result may be blank.

Unsound rows are common in real data (of ShareGPT's, a third begin with the assistant, because long chats were cut).
What is sound of them is kept, and each repair is counted under one of the notes below:

- LEADING: the assistant's turns before the first user turn are left out (as FastChat does for Vicuna). They answer
  nothing that we can see, and most chat templates refuse a conversation that begins with them.
- CUT: the conversation ends before its first unsound turn: blank, or out of order. If it is a second answer in a row,
  the first one goes too, because we cannot tell which answer is whole. The beginning of a chat is a chat.
- TRAILING: turns behind the last answer are left out: nothing in them could be trained.

A row of which no answer is left is rejected, with the fault that was found first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from camelid.data.formats.fields import RowFault, kind, text
from camelid.data.formats.tools import read_calls
from camelid.data.records import Message, Role

LEADING = "began with the assistant: its turns before the first user turn were left out"
CUT = "cut before an unsound turn (blank, or out of order)"
TRAILING = "ended without an answer: the turns behind the last answer were left out"
REASONING = "held reasoning beside its answers, which is not read"

_USER, _ASSISTANT = "user", "assistant"
CALL = "call"  # the assistant's, its content being calls of tools
ROLES: Mapping[str, str] = {
    **dict.fromkeys(("user", "human", "prompter", "用户", "人类"), _USER),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "gpt-4", "bing", "bard", "model", "bot", "ai", "助手"), _ASSISTANT),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "observation", "function", "tool_response", "function_response", "ipython"), "tool"),
    **dict.fromkeys(("function_call", "tool_call", "function-call", "tool_calls"), CALL),
}
_ROLE_KEYS = ("from", "role")
_TEXT_KEYS = ("value", "content", "text", "message")


def read_turns(value: list[Any], notes: list[str]) -> list[Message]:
    """Read a list of turns in any of the spellings; raises `RowFault` at a turn that is no turn."""
    if value and all(isinstance(turn, dict) and not _role_key(turn) and "message" in turn for turn in value):
        # KdConv: two people take turns and nobody is named; the second speaker plays the assistant.
        value = [{**turn, "role": (_USER, _ASSISTANT)[i % 2]} for i, turn in enumerate(value)]
    messages: list[Message] = []
    for number, turn in enumerate(value, 1):
        for message in _read_turn(turn, f"turn {number}", notes):
            joined = _join_call(messages[-1], message) if messages else None
            if joined:
                messages[-1] = joined
            else:
                messages.append(message)
    return messages


def _role_key(turn: dict[str, Any]) -> str | None:
    return next((key for key in _ROLE_KEYS if turn.get(key) is not None), None)


def _read_turn(turn: Any, place: str, notes: list[str]) -> list[Message]:
    if not isinstance(turn, dict):
        raise RowFault(f"{place} is {kind(turn)}, not an object with a role and a content")
    role_key = _role_key(turn)
    spelled = turn[role_key] if role_key else None
    if not isinstance(spelled, str):
        raise RowFault(f"{place} has no role")
    role = ROLES.get(spelled) or ROLES.get(spelled.strip().lower())
    if role is None:
        raise RowFault(f"{place}: unknown role {spelled[:20]!r}")
    content = next((turn[key] for key in _TEXT_KEYS if turn.get(key) is not None), None)
    if role == CALL:
        return [Message(_ASSISTANT, "", read_calls(content, f"the call in {place}"), trained=_trained(turn, place))]
    if role == "tool":
        return _tool_turn(turn, content, place)
    if role == _ASSISTANT:
        return [_assistant_turn(turn, content, place, notes)]
    return [Message("system" if role == "system" else "user", text(content, f"the content of {place}"))]


def _assistant_turn(turn: dict[str, Any], content: Any, place: str, notes: list[str]) -> Message:
    calls = turn.get("tool_calls") or turn.get("function_call") or ()
    if calls:
        calls = read_calls(calls, f"the call in {place}")
    if turn.get("reasoning_content") and REASONING not in notes:
        notes.append(REASONING)
    words = "" if content is None and calls else text(content, f"the content of {place}")
    return Message(_ASSISTANT, words, calls, trained=_trained(turn, place))


def _tool_turn(turn: dict[str, Any], content: Any, place: str) -> list[Message]:
    name = turn.get("name") if isinstance(turn.get("name"), str) else None
    if "observation" in turn and "parameters" in turn:  # ChatGLM3 writes a call and its result as one turn
        calls = read_calls({"name": name, "arguments": turn["parameters"]}, f"the call in {place}")
        result = text(turn["observation"], f"the observation of {place}")
        return [Message(_ASSISTANT, "", calls), Message("tool", result, name=name)]
    return [Message("tool", text(content, f"the content of {place}"), name=name)]


def _trained(turn: dict[str, Any], place: str) -> bool | None:
    """A turn's own say about training: OpenAI's `weight` (0 or 1), ms-swift's `loss`, axolotl's `train`."""
    for key in ("weight", "loss", "train"):
        value = turn.get(key)
        if value is None:
            continue
        if value not in (0, 1):
            raise RowFault(f"{place}: {key} is neither 0 nor 1")
        return bool(value)
    return None


def _join_call(previous: Message, message: Message) -> Message | None:
    """Words and a call, or a call and a further one, in turns of their own are one turn in OpenAI's form."""
    if previous.role == message.role == _ASSISTANT and message.tool_calls and not message.content:
        return replace(previous, tool_calls=previous.tool_calls + message.tool_calls)
    return None


def first_fault(messages: list[Message]) -> tuple[int, str] | None:
    """Index and reason of the first turn that is out of order or blank, given that leading answers are gone."""
    before: Role | None = None
    for i, message in enumerate(messages):
        role = message.role
        if not _may_follow(before, role):
            if before == role:
                return i, f"turns {i} and {i + 1} are both the {role}'s"
            return i, f"turn {i + 1} is the {role}'s, which is out of order"
        if role != "tool" and not message.tool_calls and (not message.content or message.content.isspace()):
            return i, f"turn {i + 1} ({role}) is empty"
        before = role
    return None


def _may_follow(before: Role | None, role: Role) -> bool:
    if role == "system":
        return before is None
    if role == "user":
        return before in (None, "system", "assistant")
    if role == "tool":
        return before in ("assistant", "tool")
    return before in ("user", "tool")


def sound(messages: list[Message], notes: list[str]) -> tuple[Message, ...]:
    """The sound part of a conversation, repairs noted; raises `RowFault` when it holds no answer."""
    messages = _without_leading(messages, notes)
    fault = first_fault(messages)
    end = len(messages)
    if fault:
        end = fault[0]
        if end and messages[end].role == messages[end - 1].role == _ASSISTANT:
            end -= 1
    last = end
    while last and messages[last - 1].role != _ASSISTANT:
        last -= 1
    if not last:
        raise RowFault(fault[1] if fault else "there is no answer in it")
    if fault:
        notes.append(CUT)
    elif last < end:
        notes.append(TRAILING)
    return tuple(messages[:last])


def _without_leading(messages: list[Message], notes: list[str]) -> list[Message]:
    begin = 0
    if messages and messages[0].role == "system":
        if messages[0].content.strip():
            begin = 1
        else:  # a blank system turn says the same as none
            messages = messages[1:]
    end = begin
    while end < len(messages) and messages[end].role in (_ASSISTANT, "tool"):
        end += 1
    if end == begin:
        return messages
    if end == len(messages):
        raise RowFault("there is no user turn in it")
    notes.append(LEADING)
    return messages[:begin] + messages[end:]


def prompt(messages: list[Message], notes: list[str]) -> tuple[Message, ...]:
    """A prompt that answers can follow: sound, and ending with the user or a tool; nothing of it is cut."""
    messages = _without_leading(messages, notes)
    fault = first_fault(messages)
    if fault:
        raise RowFault(f"prompt: {fault[1]}")
    if not messages or messages[-1].role not in (_USER, "tool"):
        raise RowFault("the prompt does not end with a user turn")
    return tuple(messages)


def whole(messages: list[Message]) -> tuple[Message, ...]:
    """A conversation that is sound as it stands; raises `RowFault` otherwise."""
    fault = first_fault(messages)
    if fault:
        raise RowFault(fault[1])
    if not messages or messages[-1].role != _ASSISTANT:
        raise RowFault("it does not end with an answer")
    return tuple(messages)
