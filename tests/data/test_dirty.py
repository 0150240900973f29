"""Dirty data: no crash, every row kept or rejected, each fault with its line, and the sound rows around it kept."""

from __future__ import annotations

import json
import random
import re
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.data.records import (
    EXCERPT_LENGTH,
    Conversation,
    Labelled,
    Message,
    MessageTree,
    Preference,
    Ranked,
    Record,
    Rejection,
    Text,
    TreeMessage,
)
from camelid.data.sources import Ledger, read_records
from camelid.errors import UserError

CASES = Path(__file__).resolve().parent.parent / "cases" / "formats"


def read(path: Path, chunk: int = 1 << 20) -> tuple[list[Record], Ledger]:
    ledger = Ledger()
    records = list(read_records(str(path), seed=0, ledger=ledger, chunk=chunk))
    assert ledger.read == ledger.kept + ledger.rejected
    assert ledger.kept == len(records)
    return records, ledger


def texts(records: list[Record]) -> list[str]:
    return [record.text for record in records if isinstance(record, Text)]


A, B, C = '{"text": "a"}', '{"text": "b"}', '{"text": "c"}'
DEEP = 99_999
DEEP_LISTS = "[" * DEEP + "]" * DEEP
DEEP_OBJECTS = '{"text": ' * DEEP + "1" + "}" * DEEP
INDENTED = json.dumps([{"text": x, "more": [{"text": "inner"}]} for x in "abc"], indent=2)

DIRTY: list[tuple[str, str, str | bytes, str, list[tuple[int, str]]]] = [
    # name, file, content, the texts kept, (line, reason) of each rejection
    ("a line that is no JSON", "x.jsonl", f"{A}\nnot json\n{B}\n", "ab", [(2, "Expecting value, column 1")]),
    ("a line cut short", "x.jsonl", f'{A}\n{{"text": "b\n{C}\n', "ac", [(2, "broken JSON")]),
    ("the last line cut short", "x.jsonl", f'{A}\n{{"te', "a", [(2, "broken JSON")]),
    ("more behind the object", "x.jsonl", f"{A}\n{B} x\n{C}\n", "abc", [(2, "broken JSON")]),
    ("a key twice", "x.jsonl", f'{A}\n{{"text": "b", "text": "c"}}\n', "a", [(2, "the key 'text' occurs twice")]),
    ("a key twice, inside", "x.jsonl", '{"text": "b", "more": {"k": 1, "k": 1}}\n' + A, "a", [(1, "the key 'k'")]),
    ("NUL in a string", "x.jsonl", f'{A}\n{{"text": "b\\u0000"}}\n', "a", [(2, "holds a NUL")]),
    ("NUL where none may be", "x.jsonl", f'{A}\n{{"text": "b\x00"}}\n{C}\n', "ac", [(2, "broken JSON")]),
    ("a run of NULs, as a crash leaves it", "x.jsonl", f"{A}\n".encode() + b"\0" * 5000 + b"\n" + C.encode(), "ac",
     [(2, "broken JSON")]),
    ("a run of NULs at the beginning", "x.jsonl", b"\0" * 5000 + b"\n" + C.encode(), "c", [(1, "broken JSON")]),
    ("a lone surrogate", "x.jsonl", f'{A}\n{{"text": "b\\ud83d"}}\n', "a", [(2, "lone surrogate")]),
    ("both halves of a pair", "x.jsonl", '{"text": "\\ud83d\\ude00"}', "😀", []),
    ("a surrogate in a key", "x.jsonl", f'{A}\n{{"text": "b", "\\udc00": 1}}\n', "a", [(2, "lone surrogate")]),
    ("a bad byte", "x.jsonl", A.encode() + b'\n{"text": "b\xff"}\n' + C.encode(), "ac", [(2, r"not valid .*\\xff")]),
    ("a bad byte in an array", "x.json", b"[\n" + A.encode() + b',\n{"text": "b\xff"},\n' + C.encode() + b"]", "ac",
     [(3, "not valid in the file's encoding")]),
    ("NaN is no text", "x.jsonl", f'{A}\n{{"text": NaN}}\n', "a", [(2, "text is a number")]),
    ("a number too long", "x.jsonl", f'{A}\n{{"text": {"9" * 5000}}}\n{C}', "ac", [(2, "broken JSON: Exceeds")]),
    ("nested beyond the stack", "x.jsonl", f'{A}\n{{"text": {"[" * 100000}\n{C}', "ac", [(2, "nested too deeply")]),
    ("nested beyond the stack, closed", "x.json", f"[{A}, {DEEP_LISTS}, {C}]", "ac",
     [(1, "nested too deeply")]),
    ("nested beyond the stack, objects", "x.json", f"[{A}, {DEEP_OBJECTS}, {C}]", "ac",
     [(1, "nested too deeply")]),
    ("other kinds of rows", "x.json", f"[{A}, 1, null, \"x\", [], true, {C}]", "ac",
     [(1, "the row is a number"), (1, "the row is null"), (1, "the row is text"), (1, "the row is a list"),
      (1, "the row is true or false")]),
    ("an array cut between rows", "x.json", f"[\n{A},\n{B},\n", "ab", [(4, "the file ends inside its array")]),
    ("an array cut in a row", "x.json", f'[\n{A},\n{{"text": "b', "a", [(3, "the file ends inside this row")]),
    ("an array cut in a nested row", "x.json", INDENTED[: INDENTED.rindex("inner")], "ab", [(18, "was cut off")]),
    ("commas too many and too few", "x.json", f"[,{A},,\n{B}\n{C},]", "abc", []),
    ("a quote lost", "x.json", INDENTED.replace('"b"', '"b', 1), "ac", [(10, "broken JSON: .*lines 10 to")]),
    ("a colon lost", "x.json", INDENTED.replace('"text": "b"', '"text" "b"', 1), "ac", [(10, "Expecting ':'")]),
    ("a brace lost", "x.json", INDENTED.replace('  },\n  {\n    "text": "c"', '  {\n    "text": "c"'), "ac",
     [(10, "broken JSON")]),
    ("a brace lost in a compact array", "x.json", f"[{A}, {B[:-1]}, {C}, {A}]", "aca", [(1, "broken JSON")]),
    ("a quote lost in a compact array", "x.json", f'[{A}, {{"text": "b}}, {C}, {A}]', "aca", [(1, "broken JSON")]),
    ("parts of a broken row are no rows", "x.json",
     '[{"text": "a", "n": [{"text": "x"}, {"text": "y"}]}, {"text" "b", "n": [{"text": "x"}, {"text": "y"}]}, '
     '{"text": "c", "n": []}]', "ac", [(1, "broken JSON")]),
    ("text between rows", "x.json", f"[\n  {A},\n  oops\n  {B}\n]", "ab", [(3, "broken JSON")]),
    ("merge conflict around rows", "x.json",
     f"[\n  {A},\n<<<<<<< HEAD\n  {B}\n=======\n  {C}\n>>>>>>> main\n]\n", "abc",
     [(3, "a git conflict marker"), (5, "a git conflict marker"), (7, "a git conflict marker")]),
    ("merge conflict inside a row", "x.json",
     INDENTED.replace('    "text": "b",\n', '<<<<<<< x\n    "text": 1,\n=======\n    "text": 2,\n>>>>>>> x\n'), "ac",
     [(10, "broken JSON")]),
    ("merge conflict in lines", "x.jsonl", f"<<<<<<< HEAD\n{A}\n=======\n{B}\n>>>>>>> main\n", "ab",
     [(1, "a git conflict marker"), (3, "a git conflict marker"), (5, "a git conflict marker")]),
    ("two arrays", "x.json", f"[{A}]\n[{B}]", "ab", []),
    ("a bracket too many", "x.json", f"[{A}]]\n[{B}]", "ab", [(1, "broken JSON")]),
    ("a field too many", "x.csv", "text,n\na,1\nb,2,3\nc,4\n", "ac", [(3, "3 fields, where the header has 2")]),
    ("a quote out of place", "x.csv", 'text,n\na,1\n"b" x,2\nc,3\n', "ac", [(3, "broken CSV")]),
    ("a quote that never closes", "x.csv", 'text,n\na,1\n"b,2\nc,3\na,4\n', "aca", [(3, "broken CSV.*lines 3 to 5")]),
    ("a quote that never closes, one column", "x.csv", 'text\na\n"b\nc\n', "a", [(3, "broken CSV.*lines 3 to 4")]),
    ("blank fields", "x.csv", "text,n\na,\n,1\n", "a", [(3, "text is empty")]),
    ("NUL in plain text", "x.txt", "a\0", "", [(1, "NUL")]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "content", "kept", "rejected"), DIRTY, ids=[case[0] for case in DIRTY])
@pytest.mark.parametrize("chunk", [3, 1 << 20])
def test_dirty_file(
    tmp_path: Path, name: str, file: str, content: str | bytes, kept: str, rejected: list[tuple[int, str]], chunk: int
) -> None:
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    ledger, records = Ledger(), []
    stream = read_records(str(path), seed=0, ledger=ledger, chunk=chunk if len(content) < 10_000 else 999)
    if kept:
        records = list(stream)
    else:
        with pytest.raises(UserError, match="none of its 1 rows can be used"):
            list(stream)
    assert "".join(texts(records)) == kept
    assert [rejection.line for rejection in ledger.rejections] == [line for line, _ in rejected]
    for rejection, (_, reason) in zip(ledger.rejections, rejected, strict=True):
        assert re.search(reason, rejection.reason), rejection
        assert len(rejection.excerpt) <= EXCERPT_LENGTH


# -- one damage, and the rows around it -----------------------------------------------------------------------------

CHATS = [
    {"id": f"{i}", "conversations": [{"from": "human", "value": f"q{i}"}, {"from": "gpt", "value": f"a{i} {{[x]}}"}]}
    for i in range(5)
]


@given(st.sampled_from([None, 1, 2, "\t"]), st.integers(0, 4), st.data())
@settings(max_examples=300)
def test_damage_to_one_row_leaves_the_others(
    tmp_path_factory: pytest.TempPathFactory, indent: int | str | None, hurt: int, data: st.DataObject
) -> None:
    """Whatever happens to a few characters of one row, all rows before it are kept, and those behind its neighbour."""
    texts = [json.dumps(row, indent=indent) for row in CHATS]
    text = texts[hurt]
    begin = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 3))
    # Not `[` before a row, which makes all that follows one valid row.
    put = data.draw(st.text(st.sampled_from('{}[]",:x \\\n' if begin else '{}]",:x \\\n'), max_size=3))
    texts[hurt] = text[:begin] + put + text[begin + length :]
    pad = "\n" if indent is not None else ""
    path = tmp_path_factory.mktemp("one", numbered=True) / "x.json"
    path.write_text("[" + pad + ("," + pad).join(texts) + pad + "]")
    records, _ = read(path)
    kept = {record.messages[-1].content.split()[0] for record in records if isinstance(record, Conversation)}
    expected = {f"a{i}" for i in range(5) if i < hurt or i > hurt + 1}
    assert expected <= kept


@pytest.mark.parametrize("chunk", range(1, 12))
@pytest.mark.parametrize("indent", [None, 4])
def test_the_next_row_is_found_whatever_the_pieces(tmp_path: Path, chunk: int, indent: int | None) -> None:
    """The broken row is long, so that the opening of the next one lies across two pieces of the file."""
    text = json.dumps([{"text": x, "more": x * 600} for x in "abc"], indent=indent)
    path = tmp_path / "x.json"
    path.write_text(text.replace('"text": "b"', '"text" "b"'))
    records, ledger = read(path, chunk)
    assert (texts(records), ledger.rejected) == (["a", "c"], 1)


def test_the_merge_conflict_of_fastchat(shared_data: Path) -> None:
    records, ledger = read(shared_data / "dialogue" / "dirty_fastchat_dummy_merge_conflict.json")
    assert [(r.line, r.reason) for r in ledger.rejections] == [
        (1, "a git conflict marker"),
        (11842, "a git conflict marker"),
        (22345, "a git conflict marker"),
    ]
    text = (shared_data / "dialogue" / "dirty_fastchat_dummy_merge_conflict.json").read_text("utf-8")
    ours, _, theirs = text.removeprefix("<<<<<<< HEAD\n").removesuffix(">>>>>>> main\n").partition("=======\n")
    assert len(records) == len(json.loads(ours)) + len(json.loads(theirs))


# -- real files -----------------------------------------------------------------------------------------------------

REAL = {
    # file: rows that the data's README counts, rows rejected
    "dialogue/chatglm_finetuning_conversations.jsonl": (150, 0),
    "dialogue/fastchat_dummy_with_system.json": (500, 0),
    "dialogue/kdconv_travel_dev.json": (150, 0),
    "dialogue/llama2chinese_dev_sft_sharegpt.csv": (200, 0),
    "dialogue/oasst_sft_zh.json": (689, 0),
    "dialogue/oasst_trees_en_100.jsonl": (100, 0),
    "dialogue/sharegpt_en_1k_raw.jsonl": (1011, 10),  # of 9 nothing but the assistant is left, 1 begins blank
    "dialogue/sharegpt_zh_1k.jsonl": (1000, 1),
    "dialogue/toolcall_zh_300.jsonl": (300, 0),
    "instruct/advertisegen_dev.jsonl": (1070, 0),
    "instruct/alpaca_data.json": (52002, 28),  # 28 empty answers
    "instruct/alpaca_en_demo.json": (999, 0),
    "instruct/alpaca_zh_demo.json": (1000, 0),
    "instruct/alpaca_zh_hikariming_12345-15323.json": (2978, 2),
    "instruct/alpaca_zh_hikariming_15323-18280.json": (2957, 0),
    "instruct/belle_dev1k.jsonl": (1000, 0),
    "instruct/belle_seed_tasks.jsonl": (175, 0),
    "instruct/chatglm_spo.jsonl": (1441, 22),
    "instruct/chatlm_mini_train_dataset_3k.parquet": (3000, 0),
    "instruct/gsm8k_test.jsonl": (1319, 0),
    "instruct/gsm8k_train.jsonl": (7473, 0),
    "instruct/huatuo_llama_data.jsonl": (8658, 0),
    "instruct/lima.json": (1029, 0),
    "instruct/self_instruct_seed_tasks.jsonl": (175, 0),
    "instruct/self_instruct_user_oriented.jsonl": (252, 0),
    "preference/dpo_zh_500.jsonl": (500, 0),
    "preference/llamafactory_dpo_en_demo.json": (300, 0),
    "preference/llamafactory_dpo_zh_demo.json": (300, 0),
    "preference/llamafactory_kto_en_demo.json": (300, 0),
    "preference/oasst_rm_zh.json": (775, 0),
}


@pytest.mark.parametrize("file", REAL)
def test_real_file(shared_data: Path, file: str) -> None:
    records, ledger = read(shared_data / file)
    assert (ledger.read, ledger.rejected) == REAL[file]
    for record in records[:: max(1, len(records) // 300)]:
        check(record)


def test_no_real_file_is_forgotten(shared_data: Path) -> None:
    found = {
        f"{folder}/{path.name}"
        for folder in ("dialogue", "instruct", "preference")
        for path in (shared_data / folder).iterdir()
    }
    assert found == REAL.keys() | {"dialogue/dirty_fastchat_dummy_merge_conflict.json"}


def test_rows_of_real_arrays_begin_where_they_are_said_to(shared_data: Path) -> None:
    path = shared_data / "instruct" / "alpaca_data.json"
    lines = path.read_text("utf-8").split("\n")
    values = json.loads("\n".join(lines))
    records, _ = read(path)
    kept = [value for value in values if value["output"].strip()]
    for record, value in zip(records, kept, strict=True):
        assert isinstance(record, Conversation)
        assert record.messages[-1].content == value["output"]
        assert lines[record.origin.line - 1].strip() == "{"
        assert json.loads("{" + lines[record.origin.line].rstrip(",") + "}") == {"instruction": value["instruction"]}


# -- fuzz -----------------------------------------------------------------------------------------------------------


def check(record: Record) -> None:
    """What every record promises, said once more and independently of the code that makes it."""
    match record:
        case Conversation(messages=messages) | Labelled(messages=messages):
            sound(messages)
            assert messages[-1].role == "assistant"
        case Preference(prompt=prompt, chosen=chosen, rejected=rejected):
            assert chosen != rejected
            for answer in (chosen, rejected):
                sound(prompt + answer)
                assert (prompt[-1].role, answer[0].role, answer[-1].role) != ("assistant", "assistant", "assistant")
                assert answer[-1].role == "assistant"
        case Ranked(prompt=prompt, answers=answers):
            sound(prompt)
            assert len(answers) > 1
            assert all(usable(answer) and answer.strip() for answer in answers)
        case MessageTree(root=root):
            tree(root)
            assert root.message.role == "user"
            assert root.replies
        case Text(text=text):
            assert usable(text)
            assert text.strip()


def sound(messages: tuple[Message, ...]) -> None:
    roles = "".join(message.role[0] for message in messages)
    assert re.fullmatch("s?u(at*)*((?<=[at])ua?|a|t)*", roles), roles
    for pair in ("uu", "aa", "ss", "ut"):
        assert pair not in roles, roles
    for message in messages:
        assert usable(message.content)
        assert message.content.strip() or message.role == "tool" or message.tool_calls


def tree(root: TreeMessage) -> None:
    assert usable(root.message.content)
    assert root.message.content.strip()
    for reply in root.replies:
        assert reply.message.role != root.message.role
        tree(reply)


def usable(text: str) -> bool:
    return bool(text.encode("utf-8") is not None) and "\x00" not in text  # encode raises on lone surrogates


JUNK: list[Any] = [
    None,
    True,
    0,
    -1.5,
    10**30,
    float("nan"),
    "",
    " ",
    "x",
    "\x00",
    "\ud800",
    "中文😀",
    [],
    {},
    [[]],
    [{}],
]
SPLICES = [
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\n",
    "\r",
    "\x00",
    "\\ud83d",
    "<<<<<<< HEAD\n",
    "\ufeff",
    "[" * 3000,
]


def hurt_value(chance: random.Random, row: Any) -> Any:
    """Replace, drop, or double something somewhere inside a row."""
    if isinstance(row, dict) and row and chance.random() < 0.9:
        key = chance.choice(list(row))
        if chance.random() < 0.1:
            return {k: v for k, v in row.items() if k != key}
        if chance.random() < 0.05:
            return {**row, chance.choice(["text", "messages", "chosen", "label", "tools", "history"]): row[key]}
        return {**row, key: hurt_value(chance, row[key])}
    if isinstance(row, list) and row and chance.random() < 0.9:
        i = chance.randrange(len(row))
        if chance.random() < 0.3:
            return [*row[:i], *row[i + chance.randrange(2) :], row[i]]
        return [*row[:i], hurt_value(chance, row[i]), *row[i + 1 :]]
    if isinstance(row, str) and row and chance.random() < 0.5:
        i = chance.randrange(len(row))
        return row[:i] + chance.choice(SPLICES) + row[i:]
    return chance.choice(JUNK)


def hurt_bytes(chance: random.Random, data: bytes) -> bytes:
    i = chance.randrange(len(data) + 1)
    match chance.randrange(5):
        case 0:
            return data[:i]
        case 1:
            return data[:i] + data[i + chance.randrange(1, 40) :]
        case 2:
            return data[:i] + chance.randbytes(chance.randrange(1, 9)) + data[i:]
        case 3:
            return data[:i] + chance.choice(SPLICES).encode("utf-8", "surrogatepass") + data[i:]
        case _:
            return data[:i] + b"\0" * chance.randrange(1, 200) + data[i:]


def lay_out(chance: random.Random, rows: list[Any]) -> tuple[str, bytes]:
    ascii_only = chance.random() < 0.5
    match chance.randrange(5):
        case 0:
            indent = chance.choice([None, 0, 2, "\t"])
            suffix, text = ".json", json.dumps(rows, ensure_ascii=ascii_only, indent=indent)
        case 1:
            lines = ",\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
            suffix, text = ".json", f"[\n{lines}\n]"
        case 2:
            cells = [json.dumps(row, ensure_ascii=ascii_only).replace('"', '""') for row in rows]
            suffix, text = ".csv", "text,label\n" + "".join(f'"{cell}",1\n' for cell in cells)
        case _:
            suffix, text = ".jsonl", "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
    encoding = chance.choices(["utf-8", "utf-16", "gb18030"], [8, 1, 1])[0]
    return suffix, text.encode(encoding, "surrogatepass" if encoding != "gb18030" else "replace")


def account(path: Path, chunk: int) -> tuple[Ledger, list[Rejection], str]:
    """What became of a file: its ledger, its rejections, and the refusal of the whole file if there was one."""
    ledger, seen = Ledger(), []
    try:
        for record in read_records(str(path), seed=0, ledger=ledger, on_reject=seen.append, chunk=chunk):
            check(record)
    except UserError as error:
        return replace(ledger, on_reject=None), seen, str(error)
    return replace(ledger, on_reject=None), seen, ""


def fuzz(folder: Path, seeds: list[Any], count: int) -> Iterator[Ledger]:
    """Read `count` rows in files of some fifty; two rows in three are hurt, and every other file's bytes."""
    chance = random.Random(8)
    while count > 0:
        rows = [chance.choice(seeds) for _ in range(min(count, chance.randrange(1, 100)))]
        rows = [hurt_value(chance, row) if chance.random() < 0.66 else row for row in rows]
        count -= len(rows)
        suffix, data = lay_out(chance, rows)
        for _ in range(chance.choice([0, 0, 1, 2, 5])):
            data = hurt_bytes(chance, data)
        path = folder / f"fuzz{suffix}"
        path.write_bytes(data)
        ledger, seen, refusal = account(path, 1 << 20)
        assert "\n" not in refusal
        assert (ledger, seen, refusal) == account(path, chance.choice([7, 64, 4096]))
        assert ledger.read == ledger.kept + ledger.rejected
        assert len(seen) == ledger.rejected
        for rejection in seen:
            assert rejection.reason
            assert rejection.line >= 1
            assert "\n" not in str(rejection) + rejection.excerpt
            assert (str(rejection) + rejection.excerpt).encode("utf-8")
        yield ledger


def case_rows() -> list[Any]:
    return [case["row"] for path in sorted(CASES.glob("*.json")) for case in json.loads(path.read_text("utf-8"))]


def test_fuzz(tmp_path: Path) -> None:
    ledgers = list(fuzz(tmp_path, case_rows(), 2_000))
    # The fuzz is worth something only if much is kept and much is rejected.
    assert sum(ledger.kept for ledger in ledgers) > 400
    assert sum(ledger.rejected for ledger in ledgers) > 400


@pytest.mark.slow
def test_fuzz_of_real_rows(tmp_path: Path, shared_data: Path) -> None:
    seeds = case_rows()
    for file in REAL:
        if not file.endswith((".csv", ".parquet")):
            text = (shared_data / file).read_text("utf-8")
            seeds += (json.loads(text) if file.endswith(".json") else [json.loads(x) for x in text.split("\n") if x])[
                :30
            ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = rejected = 0
    for ledger in fuzz(tmp_path, seeds, 100_000):
        kept, rejected = kept + ledger.kept, rejected + ledger.rejected
    assert kept > 20_000
    assert rejected > 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KiB


def test_huge_rows_and_a_long_file_stay_within_memory(tmp_path: Path) -> None:
    """Three rows of 10 MB, then 20,000 small ones behind a quote that was lost: little memory, one rejection."""
    path = tmp_path / "x.json"
    huge = json.dumps({"text": "中" * 3_300_000}, ensure_ascii=False)
    small = json.dumps({"text": "x" * 500})
    with path.open("w", encoding="utf-8") as file:
        file.write(f"[\n{huge},\n{huge},\n{huge},\n" + '{"text": "lost},\n')
        file.writelines(f"{small},\n" for _ in range(20_000))
        file.write(f"{A}]")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ledger = Ledger()
    count = sum(1 for _ in read_records(str(path), seed=0, ledger=ledger))
    assert (count, ledger.rejected) == (20_004, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024  # KiB
