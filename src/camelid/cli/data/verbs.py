"""`camelid data VERB`: every verb's options in one place; what a verb does is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from camelid.cli.ending import Debug, Json, end

if TYPE_CHECKING:
    from camelid.cli.data.teacher import TeacherOptions

T = TypeVar("T")

data = typer.Typer(help="Make, translate, clean and judge data sets.", no_args_is_help=True, rich_markup_mode=None)

Sources = Annotated[
    list[str], typer.Argument(help="files, globs, directories or ids; FILE#500 draws 500 rows", metavar="DATA...")
]
OutputFile = Annotated[Path, typer.Option("--output", "-o", help="JSON Lines file to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the output if it is there")]

# What every verb with a teacher says of it.
TeacherName = Annotated[
    str | None,
    typer.Option("--teacher", help="URL#MODEL of an OpenAI-compatible endpoint, or what `camelid chat` takes"),
]
KeyFile = Annotated[Path | None, typer.Option(help="file with the endpoint's key, in place of OPENAI_API_KEY")]
Slots = Annotated[int | None, typer.Option(help="questions at a time", min=1)]
PerMinute = Annotated[float | None, typer.Option(help="most questions a minute", min=0.01)]
MaxCost = Annotated[float | None, typer.Option(help="end before this many dollars are spent", min=0)]
OnePrice = Annotated[
    str | None, typer.Option(help="dollars for a million tokens of prompts and of answers", metavar="IN,OUT")
]
Prices = Annotated[Path | None, typer.Option(help="table of prices of your own (YAML)")]
Minutes = Annotated[float | None, typer.Option(help="end after so many minutes", min=0)]
Timeout = Annotated[float, typer.Option(help="seconds without a byte before a question is asked again", min=0.1)]
License = Annotated[str | None, typer.Option(help="name of the licence that a local teacher asks to accept")]


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


@data.command()
def generate(
    output: OutputFile,
    teacher: TeacherName = None,
    strategy: Annotated[
        Literal["alpaca", "self-instruct"],
        typer.Option(
            help="alpaca: twenty whole tasks a call; self-instruct: instructions, their kinds, then instances"
        ),
    ] = "alpaca",
    language: Annotated[Literal["en", "zh", "both"], typer.Option(help="of the tasks")] = "both",
    count: Annotated[int, typer.Option(help="tasks to make", min=1)] = 100,
    seeds: Annotated[
        Path | None, typer.Option(help="seed tasks of your own (JSON Lines), in place of 180 in each language")
    ] = None,
    per_call: Annotated[int | None, typer.Option(help="tasks asked for in one call", min=1)] = None,
    temperature: Annotated[float | None, typer.Option(help="in place of the published one", min=0, max=2)] = None,
    form: Annotated[
        Literal["auto", "chat", "text"],
        typer.Option(help="chat asks as one asks a chat model; text is gone on with, which small models do better"),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="of the prompts")] = 42,
    minutes: Minutes = None,
    max_cost: MaxCost = None,
    price: OnePrice = None,
    prices: Prices = None,
    key_file: KeyFile = None,
    slots: Slots = None,
    per_minute: PerMinute = None,
    timeout: Timeout = 120.0,
    accept_license: License = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="ask nobody and write nothing: show the first question and what all cost")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make tasks from seed tasks with a teacher. Killed or ended, the same command goes on; no answer is lost."""
    from camelid.cli.data.generate import MakeOptions, rehearse
    from camelid.cli.data.generate import generate as run

    languages = ("en", "zh") if language == "both" else (language,)
    options = MakeOptions(strategy, languages, count, seed, seeds, per_call, temperature, form)
    asked = _teacher(
        teacher, key_file=key_file, slots=slots, per_minute=per_minute, max_cost=max_cost, price=price, prices=prices,
        minutes=minutes, timeout=timeout, accept_license=accept_license,
    )  # fmt: skip
    if dry_run:
        end(lambda: rehearse(options, asked, as_json=as_json), debug)
    end(lambda: run(options, _needed(asked), output, overwrite=overwrite, as_json=as_json), debug)


@data.command()
def translate(
    sources: Sources,
    output: OutputFile,
    to: Annotated[Literal["zh", "en"] | None, typer.Option(help="language to translate into, with a teacher")] = None,
    script: Annotated[
        Literal["simplified", "traditional", "taiwan", "hongkong"] | None,
        typer.Option(help="Chinese script to convert into, by OpenCC, without a teacher"),
    ] = None,
    back_translate: Annotated[
        float | None,
        typer.Option(
            help="have each translated back too; set aside what is less like its source (ROUGE-L)", min=0, max=1
        ),
    ] = None,
    teacher: TeacherName = None,
    minutes: Minutes = None,
    max_cost: MaxCost = None,
    price: OnePrice = None,
    prices: Prices = None,
    key_file: KeyFile = None,
    slots: Slots = None,
    per_minute: PerMinute = None,
    timeout: Timeout = 120.0,
    accept_license: License = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Translate every text of every row, checked; what is wrong twice is set aside. Ended or killed, it goes on."""
    from camelid.cli.data.translate import convert_script
    from camelid.cli.data.translate import translate as run

    if script is not None:
        alone = _alone("--script asks no teacher and needs no language", to, teacher, back_translate)
        end(lambda: alone() or convert_script(sources, output, script, overwrite=overwrite, as_json=as_json), debug)
    asked = _teacher(
        teacher, key_file=key_file, slots=slots, per_minute=per_minute, max_cost=max_cost, price=price, prices=prices,
        minutes=minutes, timeout=timeout, accept_license=accept_license,
    )  # fmt: skip
    end(
        lambda: run(
            sources, output, _given(to, "--to", "--to zh, --to en or --script simplified"), _needed(asked),
            least_score=back_translate, overwrite=overwrite, as_json=as_json,
        ),
        debug,
    )  # fmt: skip


def _teacher(name: str | None, **options: Any) -> TeacherOptions | None:
    from camelid.cli.data.teacher import TeacherOptions

    return None if name is None else TeacherOptions(name, **options)


def _needed(options: TeacherOptions | None) -> TeacherOptions:
    return _given(options, "--teacher", "--teacher smollm2, or --teacher URL#MODEL")


def _alone(words: str, *others: object) -> Callable[[], None]:
    """Raises UserError where one of the other options is given."""
    from camelid.errors import UserError

    def check() -> None:
        if any(other is not None for other in others):
            raise UserError(words, where="command line", mend="leave the others out")

    return check


def _given(value: T | None, option: str, mend: str) -> T:
    from camelid.errors import UserError

    if value is None:
        raise UserError("is needed", where=option, mend=mend)
    return value
