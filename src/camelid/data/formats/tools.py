"""Tools and calls of tools, brought into one form: OpenAI's {"type": "function", "function": {...}}.

Chat templates expect that form, with `arguments` an object and not a text; data sets hold bare {"name", ...} objects,
JSON inside text, or both.
"""

from __future__ import annotations

from typing import Any

from camelid.data.formats.fields import RowFault, check_depth, kind, listed, parse_json

ToolCall = dict[str, Any]


def read_tools(value: Any) -> tuple[dict[str, Any], ...]:
    """The tools that a row offers: a list, or a text that is a JSON list."""
    tools = listed(value, "tools")
    if not tools:
        return ()
    check_depth(tools, "tools")
    for number, tool in enumerate(tools, 1):
        if not isinstance(tool, dict):
            raise RowFault(f"tool {number} is {kind(tool)}, not an object")
    return tuple(tool if "function" in tool or "name" not in tool else _wrapped(tool) for tool in tools)


def read_calls(value: Any, field: str) -> tuple[ToolCall, ...]:
    """The calls of one turn: an object, a list of them, or a text that is JSON of either."""
    if isinstance(value, str):
        value = parse_json(value, field)
    calls = value if isinstance(value, list | tuple) else [value]
    if not calls:
        raise RowFault(f"{field} holds no call")
    check_depth(calls, field)
    return tuple(_call(call, field) for call in calls)


def _call(call: Any, field: str) -> ToolCall:
    if not isinstance(call, dict):
        raise RowFault(f"{field} is {kind(call)}, not an object with a name and arguments")
    function = call.get("function", call)
    if isinstance(function, str):  # {"function": "name", "arguments": {...}}
        function = {"name": function, "arguments": call.get("arguments")}
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise RowFault(f"{field} names no function")
    arguments = function.get("arguments", function.get("parameters"))
    if isinstance(arguments, str):
        arguments = parse_json(arguments, f"arguments of {field}") if arguments.strip() else {}
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise RowFault(f"arguments of {field} are {kind(arguments)}, not an object")
    check_depth(arguments, f"arguments of {field}")
    identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _wrapped(function: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": function}
