"""Every format by cases kept as data: a row in, its records or its fault out (tests/cases/formats/*.json)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from camelid.data.formats import FORMATS, RowFault, convert_row
from camelid.data.formats.fields import MAX_DEPTH
from camelid.data.formats.message_tree import MAX_DEPTH as MAX_TREE_DEPTH
from camelid.data.records import (
    Conversation,
    Labelled,
    Message,
    MessageTree,
    Origin,
    Preference,
    Ranked,
    Record,
    Text,
    TreeMessage,
)

CASES = Path(__file__).resolve().parent.parent / "cases" / "formats"
ORIGIN = Origin("case", 1)


def message(given: Any) -> Message:
    if isinstance(given, list):
        return Message(*given)
    return Message(**{**given, "tool_calls": tuple(given.get("tool_calls", ()))})


def turns(given: list[Any]) -> tuple[Message, ...]:
    return tuple(message(one) for one in given)


def tree(given: dict[str, Any]) -> TreeMessage:
    replies = tuple(tree(reply) for reply in given.get("replies", ()))
    return TreeMessage(message(given["turn"]), replies, given.get("rank"))


def record(given: dict[str, Any]) -> Record:
    match given["kind"]:
        case "Conversation":
            return Conversation(turns(given["turns"]), ORIGIN, tuple(given.get("tools", ())))
        case "Preference":
            return Preference(turns(given["prompt"]), turns(given["chosen"]), turns(given["rejected"]), ORIGIN)
        case "Ranked":
            return Ranked(turns(given["prompt"]), tuple(given["answers"]), ORIGIN)
        case "Labelled":
            return Labelled(turns(given["turns"]), given["label"], ORIGIN)
        case "MessageTree":
            return MessageTree(tree(given["root"]), ORIGIN)
        case "Text":
            return Text(given["text"], ORIGIN)
    raise AssertionError(given["kind"])


def cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{path.stem}: {case['name']}")
        for path in sorted(CASES.glob("*.json"))
        for case in json.loads(path.read_text("utf-8"))
    ]


@pytest.mark.parametrize("case", cases())
def test_case(case: dict[str, Any]) -> None:
    notes: list[str] = []
    if "fault" in case:
        with pytest.raises(RowFault) as caught:
            convert_row(case["row"], ORIGIN, notes)
        assert re.search(case["fault"], str(caught.value)), str(caught.value)
        return
    title, records = convert_row(case["row"], ORIGIN, notes)
    assert list(records) == [record(expected) for expected in case["records"]]
    expected_notes = case.get("notes", [])
    assert len(notes) == len(expected_notes)
    assert all(expected in note for expected, note in zip(expected_notes, notes, strict=True))
    assert title == case.get("title", title)


def test_every_format_has_a_case_that_it_keeps() -> None:
    kept = set()
    for path in CASES.glob("*.json"):
        for case in json.loads(path.read_text("utf-8")):
            if "records" in case and isinstance(case["row"], dict):
                fields = frozenset(case["row"])
                kept.add(next(form.name for form in FORMATS if form.recognises(fields)))
    assert kept == {form.name for form in FORMATS}


def test_alpaca_input_can_be_told_from_the_instruction() -> None:
    _, records = convert_row({"instruction": "a\nb", "input": "c\nd", "output": "e"}, ORIGIN, [])
    assert isinstance(records[0], Conversation)
    user = records[0].messages[0]
    assert user.input_start is not None
    assert (user.content[: user.input_start - 1], user.content[user.input_start :]) == ("a\nb", "c\nd")


def test_tools_nested_beyond_reason_are_a_fault() -> None:
    nested: Any = 1
    for _ in range(MAX_DEPTH + 1):
        nested = {"a": nested}
    row = {"tools": [nested], "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    with pytest.raises(RowFault, match="nested deeper than"):
        convert_row(row, ORIGIN, [])


def test_a_tree_deeper_than_the_limit_is_a_fault_and_not_a_crash() -> None:
    def chain(length: int) -> dict[str, Any]:
        node: dict[str, Any] = {}
        for i in range(length, 0, -1):
            node = {"text": "x", "role": "prompter" if i % 2 else "assistant", "replies": [node] if node else []}
        return {"message_tree_id": "1", "prompt": node}

    convert_row(chain(MAX_TREE_DEPTH), ORIGIN, [])
    with pytest.raises(RowFault, match="deeper than"):
        convert_row(chain(MAX_TREE_DEPTH + 1), ORIGIN, [])
    with pytest.raises(RowFault, match="deeper than"):
        convert_row(chain(50_000), ORIGIN, [])
