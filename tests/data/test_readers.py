"""Readers: read in tiny pieces or at once, compressed or not, in any encoding, the rows are the same."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.data.readers import open_rows
from camelid.data.readers.decode import TextStream
from camelid.data.readers.lines import read_lines
from camelid.data.readers.plain_text import LONG_PIECE, PIECE
from camelid.data.readers.rows import Damage, RawRow, bad_text, excerpt
from camelid.errors import UserError

Item = tuple[Any, ...]


def read(path: Path, chunk: int = 1 << 20) -> list[Item]:
    source = open_rows(path, chunk)
    try:
        return [
            (item.line, item.value) if isinstance(item, RawRow) else (item.line, "damage", item.reason)
            for item in source.rows
        ]
    finally:
        source.close()


def read_or_refuse(path: Path, chunk: int = 1 << 20) -> list[Item] | str:
    """The rows, or the one line that says why the file cannot be read."""
    try:
        return read(path, chunk)
    except UserError as error:
        return str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readers")


strings = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
rows = st.lists(
    st.dictionaries(strings, st.none() | st.integers() | strings | st.lists(strings, max_size=3), max_size=3),
    max_size=5,
)
layouts = st.sampled_from(["lines", "array", "indented", "indented ascii", "tabs", "one a line in an array"])


def lay_out(values: list[dict[str, Any]], layout: str) -> tuple[str, str]:
    if layout == "lines":
        return ".jsonl", "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    if layout == "one a line in an array":
        return ".json", "[\n" + ",\n".join(json.dumps(value) for value in values) + "\n]\n"
    indent = {"array": None, "indented": 2, "indented ascii": 4, "tabs": "\t"}[layout]
    return ".json", json.dumps(values, ensure_ascii="ascii" in layout, indent=indent)


@given(rows, layouts, st.integers(1, 40))
@settings(max_examples=60)
def test_json_in_pieces_equals_json_at_once(
    folder: Path, values: list[dict[str, Any]], layout: str, chunk: int
) -> None:
    suffix, text = lay_out(values, layout)
    path = folder / f"rows{suffix}"
    path.write_text(text, "utf-8")
    items = read(path, chunk)
    assert [item[1] for item in items] == values
    assert items == read(path)
    lines = [item[0] for item in items]
    assert lines == sorted(lines)
    for line, value in zip(lines, values, strict=True):  # each row begins on the line that is told
        first = json.dumps(value, ensure_ascii="ascii" in layout or "one" in layout)[:1]
        assert first in text.split("\n")[line - 1]


@given(st.binary(max_size=300), st.sampled_from([".json", ".jsonl", ".csv", ".tsv", ".txt"]), st.integers(1, 40))
def test_bytes_in_pieces_equal_bytes_at_once(folder: Path, data: bytes, suffix: str, chunk: int) -> None:
    path = folder / f"bytes{suffix}"
    path.write_bytes(data)
    expected = read_or_refuse(path)
    assert read_or_refuse(path, chunk) == expected


broken_json = st.text(st.sampled_from('[]{},:"\\\n\t 1ae\u4e2d'), max_size=80)


@given(broken_json, st.sampled_from([".json", ".jsonl"]), st.integers(1, 9))
@settings(max_examples=400)
def test_broken_json_in_pieces_equals_broken_json_at_once(folder: Path, text: str, suffix: str, chunk: int) -> None:
    path = folder / f"broken{suffix}"
    path.write_text(text, "utf-8")
    assert read(path, chunk) == read(path)


@given(st.lists(st.lists(strings.map(lambda s: s.replace("\r", "")), min_size=2, max_size=2), max_size=5))
def test_csv_and_tsv_come_back_as_written(folder: Path, records: list[list[str]]) -> None:
    import csv

    for suffix, delimiter in ((".csv", ","), (".csv", ";"), (".tsv", "\t")):
        path = folder / f"table{suffix}"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
            writer.writerows([["first", "second"], *records])
        kept = [{"first": record[0], "second": record[1]} for record in records]
        # A byte-order mark at the beginning of a line is dropped; hypothesis finds that if it is not said here.
        expected = [{k: v.replace("\n\ufeff", "\n") for k, v in record.items()} for record in kept]
        assert [item[1] for item in read(path, 7)] == expected


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_encodings_and_compression(tmp_path: Path, suffix: str, encoding: str) -> None:
    values = [
        {"instruction": f"介绍一下第{i}个城市的名胜古迹。", "output": "好的，请看下面的介绍。"} for i in range(50)
    ]
    text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    opener = {"": Path.open, ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[suffix]
    path = tmp_path / f"rows.jsonl{suffix}"
    with opener(path, "wb") as file:  # type: ignore[operator]
        file.write(text.encode(encoding))
    for chunk in (5, 1 << 20):
        source = open_rows(path, chunk)
        assert [item.value for item in source.rows if isinstance(item, RawRow)] == values
        assert source.encoding == {"utf-8-sig": "UTF-8", "gb18030": "GB18030"}.get(encoding, encoding.upper())


def test_utf8_with_a_few_bad_bytes_is_not_taken_for_gb18030(tmp_path: Path) -> None:
    good = [json.dumps({"text": "今天天气很好，我们去公园。"}, ensure_ascii=False).encode() for _ in range(20)]
    good[3] = good[3].replace("很".encode(), b"\xb0")
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(good))
    source = open_rows(path)
    items = list(source.rows)
    assert source.encoding == "UTF-8"
    suspects = [item for item in items if isinstance(item, RawRow) and item.suspect and bad_text(item.value)]
    assert [item.line for item in suspects] == [4]


def test_latin_1_is_not_taken_for_gb18030(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    # The second file happens to be valid GB18030: each accented letter stands before a letter.
    for text in ('{"text": "le café est prêt"}\n{"text": "naïve façade élève"}\n', '{"text": "les cafés prêts"}\n'):
        path.write_bytes(text.encode("latin-1"))
        source = open_rows(path)
        assert source.encoding == "UTF-8"
        assert all(bad_text(item.value) for item in source.rows if isinstance(item, RawRow))


def test_utf8_that_happens_to_be_valid_gb18030_is_not_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    data = '{"text": "中国"}\n'.encode() * 5 + b'{"text": "\xb0\xb0"}\n'
    data.decode("gb18030")  # valid, and nonsense
    path.write_bytes(data)
    source = open_rows(path)
    items = [item for item in source.rows if isinstance(item, RawRow)]
    assert source.encoding == "UTF-8"
    assert [bad_text(item.value) is None for item in items] == [True] * 5 + [False]


def test_gb18030_behind_a_megabyte_of_ascii(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    tail = json.dumps({"text": "这是一个例子，后面的内容是中文。"}, ensure_ascii=False).encode("gb18030")
    path.write_bytes(b'{"text": "plain ascii"}\n' * 60_000 + tail)
    source = open_rows(path)
    assert source.encoding == "GB18030"
    *_, last = source.rows
    assert isinstance(last, RawRow)
    assert last.value == {"text": "这是一个例子，后面的内容是中文。"}


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ('{"a": 1}'.encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        ('{"a": 1}'.encode("utf-16-be"), "UTF-16 without a byte-order mark"),
        ('{"a": 1}'.encode("utf-32"), "UTF-32"),
    ],
)
def test_encodings_that_are_not_read_are_named(tmp_path: Path, data: bytes, match: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(UserError, match=match):
        open_rows(path)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.json", '{"text": "a"}\n{"text": "b"}\n', [1, 2]),  # JSON Lines under the wrong name
        ("a.jsonl", '[\n {"text": "a"},\n {"text": "b"}\n]\n', [2, 3]),  # an array under the wrong name
        ("a.jsonl", '{\n "text": "a"\n}\n{\n "text": "b"\n}\n', [1, 4]),  # objects spread over lines
        ("a.json", '[[{"role": "user"}],\n[{"role": "user"}]]', [1, 2]),  # an array of lists of messages
        ("a.jsonl", '[{"role": "user"}]\n[{"role": "user"}]', [1, 2]),  # a list of messages a line
        ("a.jsonl", '[{"role": "user"}]', [1]),  # one line: an array
        ("a.jsonl", '{"text": "a"}{"text": "b"},\n{"text": "c"},\n', [1, 1, 2]),  # a lost line break, commas
        ("a.txt", '{"text": "a"}\n{"text": "b"}\n', [1, 2]),  # JSON Lines as .txt
        ("a.txt", "[1] Smith, 1998\n[2] Jones, 2001\n", [1]),  # text that begins like a list
        ("train", '{"text": "a"}\n', [1]),  # no extension
        ("a.json", '\ufeff[{"text": "a"}\r\n,{"text": "b"}]', [1, 2]),
        ("a.json", "[]", []),
        ("a.json", "", []),
        ("a.jsonl", "\n\n \n", []),
        ("a.csv", "text,label\n\na,1\n", [3]),
    ],
)
def test_layout_is_told_by_content(tmp_path: Path, name: str, text: str, expected: list[int]) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    items = read(tmp_path / name)
    assert [item[0] for item in items] == expected
    assert not any("damage" in item for item in items)


def test_unknown_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\x00\x01\x02")
    with pytest.raises(UserError, match=r"known kinds: .*jsonl"):
        open_rows(tmp_path / "weights.bin")


def test_lines_are_split_at_line_feeds_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("a\u2028b\x0bc\x85d\r\ne\rf\n\ng".encode())
    assert list(read_lines(TextStream(path, 3))) == [(1, "a\u2028b\x0bc\x85d"), (2, "e\rf"), (3, ""), (4, "g")]


def test_a_line_beyond_the_limit_is_one_damage_and_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("short\n" + "x" * 5000 + "\nend\n")
    items = list(read_lines(TextStream(path, 100), limit=1000))
    assert items[0] == (1, "short")
    assert isinstance(items[1], Damage)
    assert items[1].line == 2
    assert len(items[1].head) <= 200
    assert items[2:] == [(3, "end")]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\x00\ufeff"), max_size=50), max_size=30))
def test_plain_text_loses_nothing(folder: Path, lines: list[str]) -> None:
    path = folder / "a.txt"
    text = "".join(line.replace("<|endoftext|>", "") + "\n" for line in lines)
    path.write_text(text, "utf-8", newline="")
    joined = "".join(item[1]["text"] for item in read(path, 50))
    assert joined == (text if text.strip() else "")


def test_plain_text_is_cut_at_documents_paragraphs_and_lines(tmp_path: Path) -> None:
    paragraph, endless = "word " * 2000 + "\n\n", "line\n" * 20_000
    text = f"first\n<|endoftext|>\n{paragraph * 6}<|endoftext|>\n{endless}"
    (tmp_path / "a.txt").write_text(text)
    items = read(tmp_path / "a.txt")
    assert items[0] == (1, {"text": "first\n"})
    pieces = [item[1]["text"] for item in items]
    assert pieces[1:4] == [paragraph * 2] * 3
    assert PIECE < len(pieces[1]) < LONG_PIECE
    assert all(len(piece) <= LONG_PIECE + 5 for piece in pieces)
    assert "".join(pieces) == text.replace("<|endoftext|>\n", "")
    for line, row in items:
        assert text.split("\n")[line - 1] == row["text"].split("\n")[0]


def test_excerpts_are_short_and_printable() -> None:
    assert excerpt("a\n  b\x1b[31m\ud800\u202e") == "a b\\u001b[31m\\ud800\\u202e"
    assert len(excerpt("x" * 1000)) <= 120
    nested: Any = 1
    for _ in range(100_000):
        nested = [nested]
    assert excerpt({"a": nested, "b": {"c": 1}, "d": None}) == "a: [1 items], b: {c}, d: None"
    assert bad_text(nested) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": ["x", {"b": "y\x00"}]}, "NUL"),
        ({"\ud800": "x"}, "lone surrogate"),
        ({"a": "b\udcb0"}, "\\xb0"),
        ({"a": "😀", "b": [1, None, True]}, None),
    ],
)
def test_bad_text(value: Any, expected: str | None) -> None:
    found = bad_text(value)
    assert found is None if expected is None else expected in (found or "")
