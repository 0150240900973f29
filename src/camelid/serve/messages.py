"""From the messages of a request to the conversation that a template renders."""

from __future__ import annotations

from collections.abc import Sequence

from camelid.data.formats.fields import RowFault
from camelid.data.formats.tools import read_calls
from camelid.data.records import Conversation, Message, Origin, Role
from camelid.serve.asks import ChatMessage, Tool
from camelid.serve.faults import ApiFault


def conversation_of(asked: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> Conversation:
    """The turns with `tools` as the template sees them. Raises ApiFault 400 with the message at fault."""
    called: dict[str, str] = {}  # id of a call -> name of its function
    messages = []
    for i, message in enumerate(asked):
        for call in message.tool_calls or ():
            called[call.id] = call.function.name
        messages.append(_message(message, f"messages.{i}", called))
    described = tuple(tool.model_dump(exclude_none=True) for tool in tools)
    return Conversation(tuple(messages), Origin("request", 0), described)


def _message(asked: ChatMessage, place: str, called: dict[str, str]) -> Message:
    role: Role = "system" if asked.role == "developer" else asked.role
    content = _text(asked)
    if content is None and not (role == "assistant" and (asked.tool_calls or asked.refusal)):
        raise ApiFault(400, f"{place}.content is missing", param=f"{place}.content", code="missing_required_parameter")
    if asked.tool_calls and role != "assistant":
        raise ApiFault(400, "only the assistant calls tools", param=f"{place}.tool_calls")
    if role != "tool":
        calls = [call.model_dump() for call in asked.tool_calls or ()]
        try:
            return Message(role, content or asked.refusal or "", read_calls(calls, "tool_calls") if calls else ())
        except RowFault as fault:
            raise ApiFault(400, f"{place}: {fault}", param=f"{place}.tool_calls") from fault
    if asked.tool_call_id is None:
        raise ApiFault(400, f"{place}.tool_call_id is missing", param=f"{place}.tool_call_id")
    if asked.tool_call_id not in called:
        what = "it answers a call that no earlier message made"
        raise ApiFault(400, f"{place}.tool_call_id: {what}", param=f"{place}.tool_call_id")
    return Message(role, content or "", name=called[asked.tool_call_id])


def _text(asked: ChatMessage) -> str | None:
    return "".join(part.text for part in asked.content) if isinstance(asked.content, list) else asked.content
