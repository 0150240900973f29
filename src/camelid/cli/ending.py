"""What every verb of the command line shares: two options, and how it ends."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="one JSON object on standard output")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


def end(function: Callable[[], int | None], debug: bool) -> None:
    """Run a verb and leave the program with its exit code."""
    from camelid.cli.console import exit_code

    gc.freeze()
    gc.enable()
    raise typer.Exit(exit_code(function, debug=debug))
