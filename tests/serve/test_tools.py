"""Calls of tools: told to the model in some way, and read back the same however the answer comes in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import Scripted, chat, serving, words

from camelid.data.records import Conversation
from camelid.errors import UserError
from camelid.serve.asks import ChatAsk
from camelid.serve.tools import CallReader, plan_tools

TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("f", "g")
]
GOOD = '<tool_call>\n{"name": "f", "arguments": {"x": "</tool_cal"}}\n</tool_call>'
OTHER = '<tool_call>{"name": "g", "parameters": {}}</tool_call>'
BROKEN = '<tool_call>{"name": "f", </tool_call>'
UNKNOWN = '<tool_call>{"name": "rm", "arguments": {}}</tool_call>'
PARTS = (
    GOOD,
    OTHER,
    BROKEN,
    UNKNOWN,
    "words",
    "你好",
    " ",
    "\n",
    "<tool_",
    "<",
    "[1]",
    "{",
    "<tool_call>",
    "</tool_call>",
)


def reader(**fields: Any) -> CallReader:
    ask = ChatAsk.model_validate(chat(tools=TOOLS, **fields))
    return CallReader(plan_tools(ask))


def read(pieces: list[str], **fields: Any) -> tuple[str, list[tuple[str, str]]]:
    """(words, calls) of an answer that came in these pieces."""
    made = reader(**fields)
    text, calls = "", []
    for piece in pieces:
        more, found = made.add(piece)
        text, calls = text + more, calls + found
    more, found = made.rest()
    assert made.calls == calls + found
    return text + more, [(call.name, call.arguments) for call in made.calls]


CASES: list[tuple[str, str, list[str]]] = [
    ("plain words", "plain words", []),
    (GOOD, "", ["f"]),
    (f"I look.\n{GOOD}\n{OTHER}\n", "I look.", ["f", "g"]),
    (f"a {BROKEN} b", f"a {BROKEN} b", []),
    (f"a {UNKNOWN}", f"a {UNKNOWN}", []),
    ('{"name": "f", "arguments": {}}', "", ["f"]),
    ('[{"name": "f", "arguments": {}}, {"name": "g"}]', "", ["f", "g"]),
    ('[TOOL_CALLS] [{"name": "f", "arguments": {}}]', "", ["f"]),
    ('<|python_tag|>{"name": "f", "parameters": {}}', "", ["f"]),
    ('{"name": "f", "arguments": "{}"}', '{"name": "f", "arguments": "{}"}', []),
    ('{"name": ["f"]}', '{"name": ["f"]}', []),
    ('{"answer": 42}', '{"answer": 42}', []),
    ("<tool_call>", "<tool_call>", []),
    ("[" * 5000, "[" * 5000, []),
]


@pytest.mark.parametrize(("answer", "text", "names"), CASES, ids=range(len(CASES)))
def test_words_and_calls(answer: str, text: str, names: list[str]) -> None:
    said, calls = read([answer])
    assert (said, [name for name, _ in calls]) == (text, names)
    assert all(isinstance(json.loads(arguments), dict) for _, arguments in calls)


@given(st.lists(st.sampled_from(PARTS), max_size=6).map("".join), st.data())
def test_pieces_change_nothing(answer: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=8)))
    pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    assert read(pieces) == read([answer])


def test_words_are_not_held_back_longer_than_need_be() -> None:
    made = reader()
    assert made.add("Hello")[0] == "Hello"
    assert made.add(" wor")[0] == " wor"
    assert made.add("ld <tool")[0] == "ld"
    assert made.add("ing")[0] == " <tooling"


def test_one_call_where_only_one_is_wanted() -> None:
    _, calls = read([GOOD + OTHER], parallel_tool_calls=False)
    assert [name for name, _ in calls] == ["f"]


def test_a_required_call_is_held_to_a_schema() -> None:
    generator = Scripted(script=lambda request: words('{"name": "g",', ' "arguments": {}}'))
    with serving(generator) as served, served.client() as client:
        done = client.post("/v1/chat/completions", json=chat(tools=TOOLS, tool_choice="required")).json()
    assert done["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": "g", "arguments": "{}"}
    schema = json.loads(generator.heard[0].sampling.schema or "")
    assert [one["properties"]["name"] for one in schema["anyOf"]] == [{"const": "f"}, {"const": "g"}]


@pytest.mark.parametrize("takes_system", [True, False])
def test_a_template_without_a_place_for_tools_is_told_in_text(takes_system: bool) -> None:
    def refuse(prompt: Conversation | str) -> None:
        assert isinstance(prompt, Conversation)
        if prompt.tools or any(m.tool_calls or m.role == "tool" for m in prompt.messages):
            raise UserError("the chat template has no place for the descriptions of tools")
        if not takes_system and any(m.role == "system" for m in prompt.messages):
            raise UserError("no system message, please")

    generator = Scripted(refuse=refuse)
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    with serving(generator) as served, served.client() as client:
        response = client.post("/v1/chat/completions", json={"messages": messages, "tools": TOOLS})
        assert response.status_code == 200, response.text
    shown = generator.heard[0].prompt.source
    assert isinstance(shown, Conversation)
    texts = [(m.role, m.content) for m in shown.messages]
    assert texts[0][0] == ("system" if takes_system else "user")
    assert '"name": "g"' in texts[0][1]
    assert ("assistant", '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>') in texts
    assert ("user", "<tool_response>\n42\n</tool_response>") in texts


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "function", "function": {"name": "a b", "parameters": {}}},
        {"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}},
        {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"$ref": "http://x/y"}}}}},
        {"type": "code_interpreter"},
        {"type": "function", "function": {"name": "f", "parameters": []}},
        {},
        None,
        "f",
    ],
    ids=str,
)
def test_one_bad_tool_does_not_kill_the_engine(bad: Any) -> None:
    """vLLM CVE-2025-48944."""
    with serving(Scripted()) as served, served.client() as client:
        response = client.post("/v1/chat/completions", json=chat(tools=[bad]))
        assert response.status_code == 400
        served.canary()


def test_a_reference_to_elsewhere_is_refused_and_one_to_the_schema_is_not() -> None:
    def form(target: str) -> dict[str, Any]:
        schema = {"$defs": {"a": {"type": "string"}}, "type": "object", "properties": {"a": {"$ref": target}}}
        return chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})

    with serving(Scripted()) as served, served.client() as client:
        assert client.post("/v1/chat/completions", json=form("#/$defs/a")).status_code == 200
        assert client.post("/v1/chat/completions", json=form("file:///etc/passwd")).status_code == 400
