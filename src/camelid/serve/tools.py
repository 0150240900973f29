"""Tools: how the model is told of them, what holds it to a call, and how its calls are read back.

A template that has a place for tools shows them itself. For one that has none they are described in the system message
in the form that Hermes models made common (NousResearch: <tools>, <tool_call>, <tool_response>).
`tool_choice` required and a named function hold the answer to a JSON schema, so that even a small model makes a valid
call; `auto` reads what the model chose to write.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

from camelid.data.records import Conversation, Message, Origin
from camelid.errors import UserError
from camelid.generate.base import Generator
from camelid.serve.asks import ChatAsk, NamedTool, Tool
from camelid.serve.faults import ApiFault

ToolStyle = Literal["template", "system", "user"]  # who tells the model of its tools, where the template cannot
_START, _END = "<tool_call>", "</tool_call>"
_MARKS = ("[TOOL_CALLS]", "<|python_tag|>")  # Mistral's and Llama's, before calls in bare JSON


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """What a request's tools ask for: those that are shown, and the schema that holds the answer."""

    shown: tuple[Tool, ...] = ()
    schema: str | None = None  # the answer is one call, by this schema
    several: bool = True  # more than one call in an answer

    @property
    def names(self) -> frozenset[str]:
        """Functions that may be called."""
        return frozenset(tool.function.name for tool in self.shown)


def plan_tools(ask: ChatAsk) -> ToolPlan:
    """Raises ApiFault 400 for a choice that cannot be made."""
    tools, choice = tuple(ask.tools or ()), ask.tool_choice
    if not tools:
        if choice in (None, "none", "auto"):
            return ToolPlan()
        raise ApiFault(400, "tool_choice asks for a call, and there are no tools", param="tool_choice")
    names = [tool.function.name for tool in tools]
    if len(set(names)) < len(names):
        raise ApiFault(400, "two tools have the same name", param="tools")
    for i, tool in enumerate(tools):
        if (tool.function.parameters or {}).get("type", "object") != "object":
            raise ApiFault(400, "parameters must be a schema of an object", param=f"tools.{i}.function.parameters")
    if choice == "none":
        return ToolPlan()
    several = ask.parallel_tool_calls is not False
    if choice in (None, "auto"):
        return ToolPlan(tools, several=several)
    if isinstance(choice, NamedTool):
        wanted = [tool for tool in tools if tool.function.name == choice.function.name]
        if not wanted:
            raise ApiFault(400, f"no tool is called {choice.function.name!r}", param="tool_choice")
        return ToolPlan(tools, call_schema(wanted), several)
    return ToolPlan(tools, call_schema(tools), several)


def call_schema(tools: Sequence[Tool]) -> str:
    """The JSON schema of one call of one of these tools: {"name", "arguments"}, in this order."""
    calls = []
    for tool in tools:
        parameters = tool.function.parameters or {"type": "object", "properties": {}, "additionalProperties": False}
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": tool.function.name}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return json.dumps(calls[0] if len(calls) == 1 else {"anyOf": calls}, ensure_ascii=False)


def tool_style(generator: Generator) -> ToolStyle:
    """How this template can be told of tools, tried on a round of a call and its result."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    call = {"id": "call000000", "type": "function", "function": {"name": "f", "arguments": {}}}
    turns = (Message("user", "a"), Message("assistant", "", (call,)), Message("tool", "b", name="f"))
    probe = Conversation(turns, Origin("probe", 0), (tool,))
    if _renders(generator, probe):
        return "template"
    return "system" if _renders(generator, told_in_text(probe, "system")) else "user"


def _renders(generator: Generator, conversation: Conversation) -> bool:
    try:
        generator.prepare(conversation)
    except UserError:
        return False
    return True


def told_in_text(conversation: Conversation, style: ToolStyle) -> Conversation:
    """The same with tools, calls and results in the texts of its messages, for a template that has no place for them.

    style 'user': the description stands before the first question, because the template takes no system message
    """
    messages = [_in_text(message) for message in conversation.messages]
    if conversation.tools:
        told = _description(conversation.tools)
        at = next((i for i, m in enumerate(messages) if m.role == style), None)
        if at is None:
            messages.insert(0, Message("system" if style == "system" else "user", told))
        else:
            messages[at] = replace(messages[at], content=f"{messages[at].content}\n\n{told}".lstrip("\n"))
    return Conversation(tuple(messages), conversation.origin)


def _description(tools: Sequence[dict[str, Any]]) -> str:
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    return (
        f"You may call these functions. Each line describes one in JSON.\n<tools>\n{lines}\n</tools>\n"
        "To call one, write its name and its arguments in JSON:\n"
        f'{_START}\n{{"name": NAME, "arguments": ARGUMENTS}}\n{_END}'
    )


def _in_text(message: Message) -> Message:
    if message.role == "tool":
        return Message("user", f"<tool_response>\n{message.content}\n</tool_response>")
    if not message.tool_calls:
        return message
    calls = []
    for call in message.tool_calls:
        function = {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}
        calls.append(f"{_START}\n{json.dumps(function, ensure_ascii=False)}\n{_END}")
    return Message("assistant", "\n".join([message.content, *calls] if message.content else calls))


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the model made; `arguments` is JSON in a text."""

    name: str
    arguments: str
    id: str

    @property
    def wire(self) -> dict[str, Any]:
        """As OpenAI has it."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@final
class CallReader:
    """Takes an answer's text as it comes, and parts it into words and calls.

    Words are let through at once; what may be the beginning of a call waits until it is one or is not. A call that
    cannot be read, or that names no tool of the request, stays text: nothing that the model wrote is lost.
    """

    def __init__(self, plan: ToolPlan) -> None:
        self._plan = plan
        self._held = ""
        self._begun = False  # some word has been let through
        self.calls: list[Call] = []

    def add(self, text: str) -> tuple[str, list[Call]]:
        """(words, calls) that are now certain."""
        if not self._plan.shown:
            return text, []
        self._held += text
        if self._plan.schema is not None or self._may_be_bare():
            return "", []
        words, found = "", []
        while (start := self._held.find(_START)) >= 0 and (end := self._held.find(_END, start)) >= 0:
            calls = self._read(self._held[start + len(_START) : end])
            whole, self._held = self._held[: end + len(_END)], self._held[end + len(_END) :]
            words += whole[:start].rstrip() if calls else whole
            found += calls
        if start < 0:
            keep = next((n for n in range(len(_START) - 1, 0, -1) if self._held.endswith(_START[:n])), 0)
            start = len(self._held) - keep
        cut = len(self._held[:start].rstrip())  # white space before a call belongs to it
        words, self._held = words + self._held[:cut], self._held[cut:]
        self._begun = self._begun or bool(words)
        return words, found

    def rest(self) -> tuple[str, list[Call]]:
        """What was held back, once the answer is over."""
        held, self._held = self._held, ""
        if not self._plan.shown or not held:
            return held, []
        bare = held.strip()
        if not self._begun:
            for mark in _MARKS:
                bare = bare.removeprefix(mark).lstrip()
            calls = self._read(bare)
            if calls:
                return "", calls
        if self.calls and not bare:
            return "", []
        return held, []

    def _may_be_bare(self) -> bool:
        """Whether the answer begins as calls in JSON do that have no marks around them."""
        if self._begun or self.calls:
            return False
        start = self._held.lstrip()
        return not start or start[0] in "{[" or any(mark.startswith(start[: len(mark)]) for mark in _MARKS)

    def _read(self, text: str) -> list[Call]:
        """The calls of one stretch of JSON: all of them, or none if one is no call."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return []
        calls = [self._call(one) for one in (value if isinstance(value, list) else [value])]
        good = [call for call in calls if call is not None]
        if len(good) < len(calls):
            return []
        if not self._plan.several:
            good = [] if self.calls else good[:1]
        self.calls += good
        return good

    def _call(self, value: Any) -> Call | None:
        if not isinstance(value, dict):
            return None
        name = value.get("name")
        if not isinstance(name, str) or name not in self._plan.names:
            return None
        arguments = value.get("arguments", value.get("parameters", {}))
        if not isinstance(arguments, dict):
            return None
        return Call(name, json.dumps(arguments, ensure_ascii=False), f"call_{secrets.token_hex(12)}")
