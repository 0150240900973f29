"""What the program says, and how it ends: progress and notes on standard error, results on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from camelid.errors import UserError


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

    justify: `l` or `r` of each column; numbers (`r`) beyond it
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if justify[i : i + 1] == "l" else "right", overflow="fold")
    for row in body:
        table.add_row(*row)
    Console(file=sys.stdout).print(table)


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
