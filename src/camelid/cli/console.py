"""What the program says, and how it ends: progress and notes on standard error, results on standard output."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from camelid.errors import UserError

_WORD = re.compile(r"[^\s\u2e80-\uffff]+|[\u2e80-\uffff]")
_LONG_WORD, _BETWEEN = 24, 2  # cells of a terminal


def say(text: str) -> None:
    """One line for people, on standard error."""
    print(text, file=sys.stderr, flush=True)


def quiet(text: str) -> None:
    """Say nothing: ranks other than the first."""


def print_json(value: Any) -> None:
    """The one JSON object of `--json`, on standard output."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_table(heads: Sequence[str], body: Iterable[Sequence[str]], *, justify: str = "") -> None:
    """A table on standard output, one line a row where the terminal is wide enough.

    Where it is so narrow that words would be broken, rows become columns, as many side by side as there is room for.
    justify: `l` or `r` of each column; numbers (`r`) beyond it
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout)

    def show(heads: Sequence[str], rows: Sequence[Sequence[str]], justify: str) -> None:
        table = Table(box=None, pad_edge=False)
        for i, (head, width) in enumerate(zip(heads, _widths(heads, rows, console.width), strict=True)):
            side = "left" if justify[i : i + 1] == "l" else "right"
            table.add_column(head, justify=side, overflow="fold", width=width)
        for row in rows:
            table.add_row(*row)
        console.print(table)

    rows = list(body)
    if _has_room(heads, rows, console.width):
        show(heads, rows, justify)
        return
    while rows:
        numbers = range(len(rows), 1, -1)
        count = next((n for n in numbers if _has_room(*_turned(heads, rows[:n]), console.width)), 1)
        show(*_turned(heads, rows[:count]), "l")
        rows = rows[count:]
        if rows:
            console.print()


def _turned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[Sequence[str], list[Sequence[str]]]:
    columns: list[Sequence[str]] = list(zip(heads, *rows, strict=True))
    return columns[0], columns[1:]


def _has_room(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether every column is as wide as its words; a table of heads alone is never turned."""
    return not rows or sum(_word_widths(heads, rows)) + _BETWEEN * (len(heads) - 1) <= width


def _widths(heads: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> Sequence[int | None]:
    """Of each column: its words, and what room is left shared out to those that need it. None: rich may break words."""
    from rich.cells import cell_len

    widths = _word_widths(heads, rows)
    if not _has_room(heads, rows, room):
        return [None] * len(widths)
    left = room - sum(widths) - _BETWEEN * (len(widths) - 1)
    whole = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    while left > 0 and (needing := [i for i, width in enumerate(widths) if width < whole[i]]):
        for i in needing[:left]:
            widths[i] += 1
            left -= 1
    return widths


def _word_widths(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Of each column's longest word; a Chinese character is a word, and a very long word may be broken."""
    from rich.cells import cell_len

    columns = zip(heads, *rows, strict=True)
    widths = (max(cell_len(word) for cell in column for word in ["", *_WORD.findall(cell)]) for column in columns)
    return [min(width, _LONG_WORD) for width in widths]


def exit_code(function: Callable[[], int | None], *, debug: bool) -> int:
    """Run a command; turn what it raises into the contract's exit codes.

    0 done; 2 the user's input is at fault; 1 a fault of ours; 130 / 143 interrupted.
    """
    from camelid.train.interrupt import Interrupted

    try:
        return function() or 0
    except UserError as error:
        if debug:
            raise
        say(f"camelid: {error}")
        return 2
    except Interrupted as error:
        say(f"camelid: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("camelid: interrupted")
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            raise
        say(f"camelid: a fault of ours: {type(error).__name__}: {' '.join(str(error).split())[:500]}")
        say("camelid: run it again with --debug for the details, and `camelid doctor` for a bug report")
        return 1
