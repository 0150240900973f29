"""`camelid data VERB`: every verb's options in one place; what a verb does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from camelid.cli.ending import Debug, Json, end

data = typer.Typer(help="Make, translate, clean and judge data sets.", no_args_is_help=True, rich_markup_mode=None)

Sources = Annotated[
    list[str], typer.Argument(help="files, globs, directories or ids; FILE#500 draws 500 rows", metavar="DATA...")
]
OutputFile = Annotated[Path, typer.Option("--output", "-o", help="JSON Lines file to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the output if it is there")]


@data.command()
def dedup(
    sources: Sources,
    output: OutputFile,
    method: Annotated[
        Literal["rouge", "exact", "minhash"],
        typer.Option(help="ROUGE-L, all in memory; equal text; or MinHash, an estimate for what exceeds memory"),
    ] = "rouge",
    threshold: Annotated[
        float, typer.Option(help="how much alike is too much, 0 to 1 (not for exact)", min=0.01, max=0.99)
    ] = 0.7,
    on: Annotated[
        Literal["instruction", "prompt", "answer", "all"],
        typer.Option(help="what rows are compared by; instruction: the first question without its input"),
    ] = "prompt",
    tokens: Annotated[
        Literal["units", "words"],
        typer.Option(help="units: words, and each Chinese character; words: a-z and 0-9 only, as rouge_score"),
    ] = "units",
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Drop every row that is like one before it; the others are written as they were."""
    from camelid.cli.data.dedup import dedup as run

    end(
        lambda: run(
            sources, output, method=method, threshold=threshold, on=on, tokens=tokens, overwrite=overwrite,
            as_json=as_json,
        ),
        debug,
    )  # fmt: skip
