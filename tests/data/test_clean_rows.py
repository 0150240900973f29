"""Cleaning conversations and files: turns, languages, lengths, what is held out; no turn is lost."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.data.factory.clean.conversation import Cleaned, Turns, clean_chat
from camelid.data.factory.clean.language import is_in
from camelid.data.factory.clean.reading import Chat, read_row
from camelid.data.factory.clean.rows import CleanRow, clean_rows, held_out
from camelid.data.factory.clean.split import characters, exchanges_of, split
from camelid.data.factory.clean.text import Rules, cleaned_text
from camelid.data.factory.clean.vendor import Identity
from camelid.data.formats import convert_row
from camelid.data.formats.turns import whole
from camelid.data.ledger import Ledger
from camelid.data.records import Message, Origin

FENCES = re.compile(r"^(`{3,})[^`\n]*\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)  # in no way like the product's
OURS = Identity("Milo", "Acme")

# -- turns -----------------------------------------------------------------------------------------------------------


def chat(*turns: str) -> dict[str, Any]:
    """A row of turns written `role: text`."""
    return {
        "id": "x",
        "conversations": [dict(zip(("from", "value"), turn.split(": ", 1), strict=True)) for turn in turns],
    }


def cleaned_chat(row: Any, rules: Rules | None = None) -> Cleaned:
    (item,) = read_row(row, Origin("f", 1), [])[1]
    assert isinstance(item, Chat)
    return clean_chat(item, rules or Rules())


def told(cleaned: Cleaned) -> list[str]:
    return [f"{message.role[:1]}: {message.content}" for part in cleaned.parts for message in part]


TURNS = [
    # name, turns in, turns out, removed
    ("as it should be", ["system: s", "human: q", "gpt: a"], ["s: s", "u: q", "a: a"], {}),
    ("begins with an answer", ["gpt: a0", "human: q", "gpt: a"], ["u: q", "a: a"],
     {"an answer without its question": 1}),
    ("ends with a question", ["human: q", "gpt: a", "human: r"], ["u: q", "a: a"],
     {"a question without its answer": 1}),
    ("an empty answer", ["human: q", "gpt: \u200b", "human: r", "gpt: b"], ["u: r", "a: b"],
     {"empty turn": 1, "a question without its answer": 1}),
    ("an empty question", ["human: q", "gpt: a", "human:  ", "gpt: b", "human: r", "gpt: c"],
     ["u: q", "a: a", "u: r", "a: c"], {"empty turn": 1, "an answer without its question": 1}),
    ("two questions", ["human: q", "human: r", "gpt: a"], ["u: q\n\nr", "a: a"], {"joined to the turn before it": 1}),
    ("a question again", ["human: q", "human: q", "gpt: a"], ["u: q", "a: a"], {"repeats the turn before it": 1}),
    ("an answer that was begun", ["human: q", "gpt: one", "gpt: one two"], ["u: q", "a: one two"],
     {"repeats the turn before it": 1}),
    ("two answers", ["human: q", "gpt: a", "gpt: b"], ["u: q", "a: a\n\nb"], {"joined to the turn before it": 1}),
    ("an exchange again", ["human: q", "gpt: a", "human: q", "gpt: a"], ["u: q", "a: a"],
     {"repeats the turn before it": 2}),
    ("the same question, another answer", ["human: more", "gpt: a", "human: more", "gpt: b"],
     ["u: more", "a: a", "u: more", "a: b"], {}),
    ("two system prompts", ["system: s", "system: t", "human: q", "gpt: a"], ["s: s\n\nt", "u: q", "a: a"],
     {"joined to the turn before it": 1}),
    ("a blank system prompt", ["system:  ", "human: q", "gpt: a"], ["u: q", "a: a"], {"empty turn": 1}),
    ("other spellings", ["USER: q", "ChatGPT-4: a", "User_1: r", "Assistant:: b"],
     ["u: q", "a: a", "u: r", "a: b"], {}),
    ("another assistant", ["human: q", "gpt: As an AI language model, I can't.", "human: r", "gpt: b"],
     ["u: r", "a: b"], {"the answer speaks as another assistant": 2}),
    ("a repetition around another assistant",
     ["human: q", "gpt: a", "human: who?", "gpt: I am ChatGPT.", "human: q", "gpt: a"], ["u: q", "a: a"],
     {"the answer speaks as another assistant": 2, "repeats the turn before it": 2}),
    ("another's system prompt", ["system: You are ChatGPT.", "human: q", "gpt: a"], ["u: q", "a: a"],
     {"the system prompt names another assistant": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "turns", "out", "removed"), TURNS, ids=[case[0] for case in TURNS])
def test_turns_in_order(name: str, turns: list[str], out: list[str], removed: dict[str, int]) -> None:
    cleaned = cleaned_chat(chat(*turns))
    assert told(cleaned) == out
    assert cleaned.turns.removed == removed
    assert (cleaned.turns.came, cleaned.turns.went) == (len(turns), len(out))


REJECTED = [
    # name, row, the reason, the details
    ("nobody's role", chat("human: q", "narrator: n", "gpt: a"), "a role is not known", "'narrator'"),
    ("a late system prompt", chat("human: q", "gpt: a", "system: s", "human: r", "gpt: b"),
     "a system prompt within the conversation", ""),
    ("no question", chat("gpt: a"), "an answer without its question", ""),
    ("no answer", chat("human: q"), "a question without its answer", ""),
    ("nothing", chat(), "there is no turn in it", ""),
    ("no text", {"messages": [{"role": "user", "content": 7}, {"role": "assistant", "content": "a"}]},
     "a turn cannot be read", "the content of turn 1 is a number, not text"),
    ("no turn", {"messages": ["q", "a"]},
     "a turn cannot be read", "turn 1 is text, not an object with a role and a content"),
    ("a role that cannot be told",
     {"messages": [{"content": "q"}, {"content": "r"}, {"role": "assistant", "content": "a"}]},
     "a role is not known", "turn 1 has no role"),
    ("only another assistant", chat("human: q", "gpt: I am ChatGPT."), "the answer speaks as another assistant", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "reason", "why"), REJECTED, ids=[case[0] for case in REJECTED])
def test_rejected_with_the_reason_and_all_their_turns(name: str, row: dict[str, Any], reason: str, why: str) -> None:
    cleaned = cleaned_chat(row)
    count = len(row["conversations"] if "conversations" in row else row["messages"])
    assert (cleaned.parts, cleaned.reason, cleaned.why) == ([], reason, why)
    assert cleaned.turns == Turns(count, 0, Counter(), Counter({reason: count}))


def test_roles_and_texts_that_are_missing() -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"content": "a"}, {"role": "user", "content": None},
                        {"role": "assistant", "content": "b"}]}  # fmt: skip
    cleaned = cleaned_chat(row)
    assert told(cleaned) == ["u: q", "a: a"]
    assert cleaned.changes["roles that were missing, told by the turns around them"] == 1
    assert cleaned.turns.removed == {"empty turn": 1, "an answer without its question": 1}


def test_a_system_prompt_that_was_a_field_is_a_turn_more() -> None:
    cleaned = cleaned_chat({**chat("human: q", "gpt: a"), "system": "s"})
    assert told(cleaned) == ["s: s", "u: q", "a: a"]
    assert cleaned.turns == Turns(2, 3, Counter({"system prompts that were a field": 1}), Counter())


def test_calls_of_tools_stay_with_their_results() -> None:
    call = json.dumps({"name": "f", "arguments": {"x": 1}})
    row = {
        **chat("human: <p>q</p>", "gpt: let me see", f"function_call: {call}", "observation: <b>1</b>", "gpt: a<br>b"),
        "tools": [{"name": "f"}],
    }
    cleaned = cleaned_chat(row)
    assert told(cleaned) == ["u: q", "a: let me see", "t: <b>1</b>", "a: a\nb"]
    assert cleaned.parts[0][1].tool_calls[0]["function"] == {"name": "f", "arguments": {"x": 1}}
    assert cleaned.turns.removed == {"calls of tools that stood in turns of their own": 1}
    row["conversations"][4]["value"] = "I am ChatGPT."
    row["conversations"] += chat("human: r", "gpt: b", "human: s")["conversations"]
    cleaned = cleaned_chat(row)
    assert told(cleaned) == ["u: r", "a: b"]
    assert cleaned.turns.removed["the answer speaks as another assistant"] == 4
    assert cleaned.turns.removed["out of order around calls of tools"] == 1


WORDS = st.sampled_from(
    [
        "",
        " ",
        "q",
        "more",
        "<p>x</p>",
        "a\u200b",
        "As an AI language model, I can't.",
        "```\nx\n```",
        "你好",
        "I am ChatGPT.",
    ]
)
ROLES = st.sampled_from(["human", "gpt", "human", "gpt", "system", "narrator", "", "USER"])


@given(
    st.lists(st.tuples(ROLES, WORDS), max_size=9), st.sampled_from(["drop", "rewrite", "keep"]), st.none() | st.just(9)
)
@settings(max_examples=500)
def test_every_turn_goes_out_or_has_a_reason(turns: list[tuple[str, str]], vendor: Any, limit: int | None) -> None:
    rules = Rules(vendor=vendor, identity=OURS, limit=limit)
    row = {"id": "x", "conversations": [{"from": role, "value": words} for role, words in turns]}
    cleaned = cleaned_chat(row, rules)
    cleaned.turns.check()
    assert cleaned.turns.came == len(turns)
    assert cleaned.turns.went == sum(len(part) for part in cleaned.parts)
    assert bool(cleaned.parts) != bool(cleaned.reason)
    for part in cleaned.parts:
        assert whole(part) == tuple(part), "what goes out is sound"
        again = cleaned_chat({"messages": [{"role": one.role, "content": one.content} for one in part]}, rules)
        assert (again.parts, again.turns.removed, again.changes) == ([part], {}, {}), "to clean twice changes nothing"


# -- length ----------------------------------------------------------------------------------------------------------

CONVERSATIONS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12)


@given(CONVERSATIONS, st.integers(0, 5), st.integers(1, 40), st.booleans())
@settings(max_examples=300)
def test_splitting_conserves_every_turn(sizes: list[tuple[int, int]], system: int, limit: int, dearer: bool) -> None:
    head = [Message("system", "s" * system)] if system else []
    body = [
        Message("user" if i % 2 == 0 else "assistant", f"{i}".rjust(size, "."))
        for i, size in enumerate(size for pair in sizes for size in pair)
    ]

    def lengths(messages: Any) -> list[int]:
        """Dearer: the first turns of a conversation take more room there than in the middle of one."""
        counts = characters(messages)
        return [counts[0] + 3, *counts[1:]] if dearer else counts

    parts = split(head + body, limit, lengths)
    assert [message for part, _ in parts for message in part[len(head) :]] == body
    for i, (part, length) in enumerate(parts):
        assert part[: len(head)] == head
        assert length == sum(lengths(part))
        assert length <= limit or len(exchanges_of(part)) == 1
        if i and not dearer:  # nothing fits that was put into the next part
            following = exchanges_of(part)[0]
            more = sum(characters(part[following[0] : following[1]]))
            assert sum(characters(parts[i - 1][0])) + more > limit


# -- language --------------------------------------------------------------------------------------------------------

LANGUAGE = [
    ("How do I sort a list in Python? You can use sorted().", "en", True),
    ("How do I sort a list in Python? You can use sorted().", "zh", False),
    ("怎么用 Python 给列表排序？\n```python\nsorted(items, key=lambda item: item.name)\n```", "zh", True),
    ("怎么用 Python 给列表排序？\n```python\nsorted(items, key=lambda item: item.name)\n```", "en", False),
    ("看看 https://www.example.com/a/very/long/address/that/is/no/english 好吗", "zh", True),
    ("こんにちは。日本の首都は東京です。", "ja", True),
    ("こんにちは。日本の首都は東京です。", "zh", False),
    ("안녕하세요. 무엇을 도와드릴까요?", "ko", True),
    ("Прошу прощения, вот полный код приложения.", "ru", True),
    ("Prøv igen", "en", True),  # too few words to tell
    ("Könnten Sie mir bitte sagen, wie das mit dem Auto und der Ampel ist?", "de", True),
    ("Könnten Sie mir bitte sagen, wie das mit dem Auto und der Ampel ist?", "en", False),
    ("Quelle est la capitale de la France et pour qui est-elle dans les livres ?", "fr", True),
    ("12345 !!!", "en", True),
    ("12345 !!!", "zh", True),
]


@pytest.mark.parametrize(("text", "language", "expected"), LANGUAGE)
def test_language(text: str, language: str, expected: bool) -> None:
    assert is_in(text, language) == expected


def test_conversations_in_another_language_go() -> None:
    english, chinese = chat("human: How are you?", "gpt: Fine, and you?"), chat("human: 你好吗？", "gpt: 很好。")
    rules = Rules(languages=("zh",))
    assert told(cleaned_chat(chinese, rules))
    assert cleaned_chat(english, rules).reason == "is in another language"
    assert told(cleaned_chat(english, Rules(languages=("zh", "en"))))


# -- rows of other forms ---------------------------------------------------------------------------------------------

FORMS = [
    # name, row in, row out (None: dropped), turns in and out
    ("Alpaca", {"instruction": "<p>q</p>", "input": "x\u200b", "output": "a<br>b", "n": 7},
     {"instruction": "q", "input": "x", "output": "a\nb", "n": 7}, (2, 2)),
    ("question and answer", {"question": "qShare Prompt", "answer": "a"}, {"question": "q", "answer": "a"}, (2, 2)),
    ("no history", {"prompt": "q", "response": "a\xa0", "history": []}, {"prompt": "q", "response": "a", "history": []},
     (2, 2)),
    ("Self-Instruct", {"instruction": "q", "instances": [{"input": "", "output": "a\u200b"}]},
     {"instruction": "q", "instances": [{"input": "", "output": "a"}]}, (2, 2)),
    ("preference", {"prompt": "q", "chosen": "<p>a</p>", "rejected": "b"},
     {"prompt": "q", "chosen": "a", "rejected": "b"}, (3, 3)),
    ("preference of turns", {"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a\xa0b"}],
                             "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "c"}]},
     {"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a b"}],
      "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "c"}]}, (3, 3)),
    ("ranked", {"instruction": "q", "output": ["a\u200b", "b"]}, {"instruction": "q", "output": ["a", "b"]}, (3, 3)),
    ("labelled", {"prompt": "q", "completion": "a<br>b", "label": True},
     {"prompt": "q", "completion": "a\nb", "label": True}, (2, 2)),
    ("running text", {"text": "As an AI language model, I am text.<br>b"},
     {"text": "As an AI language model, I am text.\nb"}, (1, 1)),
    ("a tree", {"message_tree_id": "t", "prompt": {"text": "q", "role": "prompter", "replies": [
        {"text": "a\u200b", "role": "assistant", "replies": []},
        {"text": "I am ChatGPT.", "role": "assistant", "replies": [
            {"text": "r", "role": "prompter", "replies": []}]}]}},
     {"message_tree_id": "t", "prompt": {"text": "q", "role": "prompter", "replies": [
         {"text": "a", "role": "assistant", "replies": []}]}}, (4, 2)),
    ("nothing left", {"instruction": "q", "output": "\u200b"}, None, (2, 0)),
    ("another assistant", {"prompt": "q", "chosen": "I am ChatGPT.", "rejected": "b"}, None, (3, 0)),
]  # fmt: skip


def clean_file(folder: Path, rows: list[Any], rules: Rules | None = None) -> list[CleanRow]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    unread = Turns()
    return list(clean_rows(str(path), rules or Rules(), ledger=Ledger(), on_reject=lambda one: None, unread=unread))


def test_a_row_without_turns_is_no_reason_why_turns_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "q", "output": "a"}\n[1, 2]\n', encoding="utf-8")
    unread, rejected = Turns(), []
    list(clean_rows(str(path), Rules(), ledger=Ledger(), on_reject=rejected.append, unread=unread))
    assert len(rejected) == 1
    assert unread.described() == {"in": 0, "added": {}, "out": 0, "removed": {}}


@pytest.mark.parametrize(("name", "row", "out", "turns"), FORMS, ids=[case[0] for case in FORMS])
def test_rows_of_other_forms_keep_their_form(
    tmp_path: Path, name: str, row: dict[str, Any], out: dict[str, Any] | None, turns: tuple[int, int]
) -> None:
    (cleaned,) = clean_file(tmp_path, [row])
    assert list(cleaned.rows) == ([] if out is None else [out])
    cleaned.cleaned.turns.check()
    assert (cleaned.cleaned.turns.came, cleaned.cleaned.turns.went) == turns
    if out is not None:
        convert_row(out, Origin("f", 1), [])


def test_nobody_speaks_in_running_text(tmp_path: Path) -> None:
    row = {"text": "As an AI language model, I am text."}
    (cleaned,) = clean_file(tmp_path, [row], Rules(vendor="rewrite", identity=OURS))
    assert list(cleaned.rows) == [row]


def test_rows_of_several_exchanges_become_conversations(tmp_path: Path) -> None:
    alpaca = {"instruction": "q2", "input": "", "output": "a2", "history": [["q1", "a1"]], "system": "s"}
    vicuna = {"input": ["q1", " "], "output": ["a1", "a2"]}
    first, second = clean_file(tmp_path, [alpaca, vicuna])
    assert [turn["content"] for turn in first.rows[0]["messages"]] == ["s", "q1", "a1", "q2", "a2"]
    assert [turn["content"] for turn in second.rows[0]["messages"]] == ["q1", "a1"]
    assert second.cleaned.turns.removed == {"empty turn": 1, "an answer without its question": 1}


def test_parts_are_named_after_their_conversation(tmp_path: Path) -> None:
    row = {**chat("system: s", "human: q1", "gpt: a1", "human: q2", "gpt: a2"), "id": "abc_17"}
    bare = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0}]
    cut, named, copy = clean_file(tmp_path, [row, {"messages": bare, "session_id": "s7"}, bare], Rules(limit=5))
    assert [(one["id"], one["conversation_id"]) for one in cut.rows] == [("abc_17_0", "abc_17"), ("abc_17_1", "abc_17")]
    assert [len(one["messages"]) for one in cut.rows] == [3, 3]
    assert cut.cleaned.turns == Turns(5, 6, Counter({"system prompts, said again to each part": 1}), Counter())
    assert named.rows[0]["session_id"] == "s7"
    assert named.rows[0]["messages"] == bare
    assert re.fullmatch("[0-9a-f]{16}", copy.rows[0]["id"])
    assert copy.rows[0]["id"] == clean_file(tmp_path, [bare, bare])[1].rows[0]["id"], "wherever it stands"


# -- validation ------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9)), min_size=4, max_size=40), st.randoms())
@settings(max_examples=100)
def test_held_out_by_conversation_whatever_the_order(rows: list[tuple[str, int]], random: Any) -> None:
    asked = [(f"Question {number} ?", Origin("f", i, f"{name}_{i}")) for i, (name, number) in enumerate(rows)]
    asked.append(("Alone", Origin("f", len(rows))))  # a series that all rows belong to numbers rows, not parts
    rows = [*rows, ("z", 99)]
    held = {asked[i] for i in held_out(asked, 0.3, 7)}
    groups = {name for (name, _), one in zip(rows, asked, strict=True) if one in held}
    assert not groups & {name for (name, _), one in zip(rows, asked, strict=True) if one not in held}
    questions = {question for question, _ in held}
    assert not questions & {question for question, _ in asked if (question, _) not in held}
    shuffled = asked.copy()
    random.shuffle(shuffled)
    assert {shuffled[i] for i in held_out(shuffled, 0.3, 7)} == held


def test_the_share_that_is_held_out() -> None:
    asked = [(f"Question {i}", Origin("f", i)) for i in range(200)]
    first, second = set(held_out(asked, 0.1, 1)), set(held_out(asked, 0.1, 2))
    assert len(first) == len(second) == 20
    assert first != second
    assert first == set(held_out(asked, 0.1, 1))


# -- real files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sharegpt_en_1k_raw.jsonl", "sharegpt_zh_1k.jsonl"])
def test_real_conversations(shared_data: Path, name: str) -> None:
    """Every code block byte by byte, no HTML but in talk, every turn accounted for."""
    lines = (shared_data / "dialogue" / name).read_text("utf-8").splitlines()
    named, total = 0, Turns()
    for line in lines:
        row = json.loads(line)
        for turn in row["conversations"]:
            role = "assistant" if turn["from"] == "gpt" else "user"
            text = cleaned_text(turn["value"], role, Rules(), Counter())
            kept = {match[0] for match in FENCES.finditer(text)}
            assert all(match[0] in kept for match in FENCES.finditer(turn["value"]))
        cleaned = cleaned_chat(row)
        total.count(cleaned.turns)
        for part in cleaned.parts:
            for message in part:
                bare = re.sub(r"`[^`\n]+`", "", FENCES.sub("", message.content))
                named += bool(re.search(r"</?(?:div|p|span|ul|li|table|td|br|pre|h\d|button|svg)\b[^<>]*>", bare))
    total.check()
    assert total.came == sum(len(json.loads(line)["conversations"]) for line in lines)
    assert named <= 3, "what is left are sentences about tags"
