"""JSON lines: torn lines are cut, whole ones never lost, any text goes in and comes out."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.runs.durable import DiskFull
from camelid.runs.jsonlines import JsonLines, read_lines

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
rows = st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=6)


@given(rows, st.integers(0, 400))
def test_whatever_is_torn_off_the_rows_before_it_stay_and_writing_goes_on(
    tmp_path_factory: pytest.TempPathFactory, written: list[dict], cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "torn.jsonl"
    with JsonLines(path, fresh=True) as lines:
        for row in written:
            lines.write(row)
    content = path.read_bytes()
    torn = content[: max(0, len(content) - cut)]
    path.write_bytes(torn)
    whole = torn.count(b"\n")
    assert list(read_lines(path)) == written[:whole]
    with JsonLines(path) as lines:
        lines.write({"next": True})
    assert list(read_lines(path)) == [*written[:whole], {"next": True}]


def test_lone_surrogates_and_line_separators_survive(tmp_path: Path) -> None:
    row = {"excerpt": "半\ud83d个\u2028表情\r\n", "\udc00": 1}
    with JsonLines(tmp_path / "a.jsonl") as lines:
        lines.write(row)
    assert list(read_lines(tmp_path / "a.jsonl")) == [row]
    assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("row", [{"x": float("nan")}, {"x": {1, 2}}, {"x": object()}], ids=["nan", "set", "object"])
def test_what_is_no_json_is_refused_and_leaves_no_trace(tmp_path: Path, row: dict) -> None:
    with JsonLines(tmp_path / "a.jsonl") as lines, pytest.raises((ValueError, TypeError)):
        lines.write(row)
    assert (tmp_path / "a.jsonl").read_bytes() == b""


def test_a_full_disk_leaves_the_line_before_as_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    real = os.write

    def filling(descriptor: int, data: bytes) -> int:
        if len(data) <= 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:8])

    with JsonLines(path) as lines:
        lines.write({"good": 1})
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", filling)
            with pytest.raises(DiskFull, match=r"a\.jsonl"):
                lines.write({"too long for this disk": 2})
        lines.write({"after": 3})
    assert list(read_lines(path)) == [{"good": 1}, {"after": 3}]


DAMAGE = [b"garbage\n", b"[1]\n", b"\xff\xfe\n", b"\n", b"[" * 100_000 + b"\n"]


@pytest.mark.parametrize("line", DAMAGE, ids=["garbage", "list", "not UTF-8", "empty", "nested"])
def test_a_damaged_line_in_the_middle_is_told_and_skipped(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'{"b": 2}\n')
    told: list[int] = []
    assert list(read_lines(path, on_damage=lambda number, reason: told.append(number))) == [{"a": 1}, {"b": 2}]
    assert told == [2]
    with pytest.raises(ValueError, match=r"a\.jsonl:2"):
        list(read_lines(path))
    with JsonLines(path) as lines:  # a writer leaves it alone
        assert lines.cut_from(lambda row: "b" in row) == 1
    assert path.read_bytes() == b'{"a": 1}\n' + line


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "none.jsonl")) == []


def test_a_closed_file_says_so(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "a.jsonl")
    lines.close()
    lines.close()
    with pytest.raises(ValueError, match="closed"):
        lines.write({})


def test_each_line_is_on_the_disk_when_write_returns(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "a.jsonl") as lines:
        lines.write({"a": 1})
        assert json.loads((tmp_path / "a.jsonl").read_text()) == {"a": 1}
        lines.sync()
