"""Tables of the terminal: readable at every width."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from camelid.cli.console import print_table

HEADS = ["method", "held-out loss", "peak memory", "general English"]
BODY = [
    ["lora", "2.643 [1.792, 3.495]", "3.64 GiB", "+18.3% [-35.0%, +71.6%]"],
    ["full learning_rate=5e-5", "2.8", "11.20 GiB", ""],
    ["微调只学最后四层", "2.9", "1.10 GiB", "+1.0%"],
]


def _shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(HEADS, BODY, justify="l")
    return capsys.readouterr().out


def test_a_row_is_a_line_where_there_is_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = _shown(capsys, monkeypatch, 120).splitlines()
    assert len(lines) == 1 + len(BODY)
    assert lines[0].split() == " ".join(HEADS).split()
    assert lines[1].startswith("lora  ")


@pytest.mark.parametrize("width", [38, 50, 64, 80])
def test_no_word_is_broken_where_it_is_narrow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    out = _shown(capsys, monkeypatch, width)
    assert all(cell_len(line) <= width for line in out.splitlines())
    words = out.split()
    for cell in [*HEADS, *(cell for row in BODY for cell in row)]:
        for word in cell.split():
            assert word in words or not word.isascii(), word


def test_rows_become_columns_side_by_side(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _shown(capsys, monkeypatch, 40).split("\n\n")
    assert "learning_rate=5e-5" in first
    assert "lora" in first
    assert [line.split() for line in second.splitlines()] == [
        ["method", "微调只学最后四层"],
        ["held-out", "loss", "2.9"],
        ["peak", "memory", "1.10", "GiB"],
        ["general", "English", "+1.0%"],
    ]


@given(st.lists(st.lists(st.text("ab微调 .%", max_size=40), min_size=3, max_size=3), max_size=4), st.integers(12, 90))
def test_every_letter_is_shown(body: list[list[str]], width: int) -> None:
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setenv("COLUMNS", str(width))
        print_table(["one", "two", "three"], body, justify="l")
    letters = out.getvalue()
    for letter in "ab微调.%":
        assert letters.count(letter) == sum(cell.count(letter) for row in body for cell in row)
