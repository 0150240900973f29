"""The part of Go's text/template that our Modelfiles use: an oracle for what Ollama makes of them.

range, if / else if / else / end, eq, and, le, variables of a range, and the `{{-` that trims the blanks before it.
https://pkg.go.dev/text/template
"""

from __future__ import annotations

import re
from typing import Any

_ACTION = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
Node = tuple[str, Any]


def render(source: str, messages: list[dict[str, str]]) -> str:
    """`source` over Ollama's variables: .Messages (with .Role and .Content) and .System (their system messages)."""
    system = "\n\n".join(m["Content"] for m in messages if m["Role"] == "system")
    top = {"Messages": messages, "System": system}
    nodes, rest = _block(_parts(source))
    assert not rest, "an {{ end }} too many"
    return _run(nodes, top, {"$": top})


def _parts(source: str) -> list[Node]:
    parts: list[Node] = []
    at, trim = 0, False
    for match in _ACTION.finditer(source):
        text = source[at : match.start()]
        text = text.lstrip() if trim else text
        parts += [("text", text.rstrip() if match[1] else text), ("action", match[2])]
        at, trim = match.end(), bool(match[3])
    return [*parts, ("text", source[at:].lstrip() if trim else source[at:])]


def _block(parts: list[Node]) -> tuple[list[Node], list[Node]]:
    """Nodes up to the `else` or `end` that closes this block, and what follows from there on."""
    nodes: list[Node] = []
    while parts:
        kind, value = parts[0]
        if kind == "action" and (value == "end" or value.startswith("else")):
            return nodes, parts
        parts = parts[1:]
        if kind == "action" and value.startswith(("if ", "range ")):
            node, parts = _compound(value, parts)
            nodes.append(node)
        else:
            nodes.append((kind, value))
    return nodes, []


def _compound(head: str, parts: list[Node]) -> tuple[Node, list[Node]]:
    body, parts = _block(parts)
    closing = parts[0][1]
    otherwise: list[Node] = []
    parts = parts[1:]
    if closing.startswith("else if "):
        node, parts = _compound(closing.removeprefix("else "), parts)
        otherwise = [node]
    elif closing == "else":
        otherwise, parts = _block(parts)
        parts = parts[1:]
    return (head.split()[0], (head, body, otherwise)), parts


def _run(nodes: list[Node], dot: Any, names: dict[str, Any]) -> str:
    out = []
    for kind, value in nodes:
        if kind == "text":
            out.append(value)
        elif kind == "action":
            out.append(str(_value(value.split(), dot, names)))
        elif kind == "if":
            head, body, otherwise = value
            chosen = body if _value(_words(head.removeprefix("if ")), dot, names) else otherwise
            out.append(_run(chosen, dot, names))
        else:
            head, body, _ = value
            match = re.fullmatch(r"range (?:(\$\w+), (\$\w+) := )?(\S+)", head)
            assert match, head
            for index, item in enumerate(_value([match[3]], dot, names)):
                own = {match[1]: index, match[2]: item} if match[1] else {}
                out.append(_run(body, item, {**names, **own}))
    return "".join(out)


def _words(text: str) -> list[Any]:
    """Words; a parenthesis is a list of its own; a quoted string stays whole."""
    stack: list[list[Any]] = [[]]
    for token in re.findall(r'"[^"]*"|[()]|[^\s()]+', text):
        if token == "(":
            stack.append([])
        elif token == ")":
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            stack[-1].append(token)
    return stack[0]


def _value(words: list[Any], dot: Any, names: dict[str, Any]) -> Any:
    first, *rest = words
    if isinstance(first, list):
        return _value(first, dot, names)
    arguments = [_value(word if isinstance(word, list) else [word], dot, names) for word in rest]
    if first == "eq":
        return arguments[0] == arguments[1]
    if first == "le":
        return arguments[0] <= arguments[1]
    if first == "and":
        return all(arguments) and arguments[-1]
    assert not rest, f"unknown function {first}"
    if first.startswith('"'):
        return first[1:-1]
    if first.isdigit():
        return int(first)
    if first.startswith("."):
        return dot[first[1:]]
    base, _, field = first.partition(".")
    return names[base][field] if field else names[base]
