"""`camelid data VERB`: every verb's options in one place; what a verb does is imported when it is called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from camelid.cli.data.teacher_options import TeacherOptions
from camelid.cli.ending import Debug, Json, end

T = TypeVar("T")
Language = Literal["zh", "en"]

data = typer.Typer(help="Make, translate, clean and judge data sets.", no_args_is_help=True, rich_markup_mode=None)

Sources = Annotated[
    list[str], typer.Argument(help="files, globs, directories or ids; FILE#500 draws 500 rows", metavar="DATA...")
]
OutputFile = Annotated[Path, typer.Option("--output", "-o", help="JSON Lines file to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the output if it is there")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="ask nobody and write nothing: show the first question and what all cost")
]


def with_teacher(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with every option that says who the teacher is; it gets them as `teacher`, None where none is named."""

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        options = {name: given.pop(name) for name in _TEACHER}
        name = options.pop("teacher")
        verb(teacher=None if name is None else TeacherOptions(name, **options), **given)

    own = inspect.signature(verb, eval_str=True)
    parameters = [one for name, one in own.parameters.items() if name != "teacher"]
    place = next(i for i, one in enumerate(parameters) if one.name in ("overwrite", "as_json"))
    parameters[place:place] = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _TEACHER.items()
    ]
    named = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    command.__signature__ = own.replace(parameters=named)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in named}
    return command


_TEACHER: dict[str, tuple[Any, Any]] = {
    "teacher": (
        Annotated[
            str | None, typer.Option(help="URL#MODEL of an OpenAI-compatible endpoint, or what `camelid chat` takes")
        ],
        None,
    ),
    "minutes": (Annotated[float | None, typer.Option(help="end after so many minutes", min=0)], None),
    "max_cost": (Annotated[float | None, typer.Option(help="end before this many dollars are spent", min=0)], None),
    "price": (
        Annotated[
            str | None, typer.Option(help="dollars for a million tokens of prompts and of answers", metavar="IN,OUT")
        ],
        None,
    ),
    "prices": (Annotated[Path | None, typer.Option(help="table of prices of your own (YAML)")], None),
    "key_file": (
        Annotated[Path | None, typer.Option(help="file with the endpoint's key, in place of OPENAI_API_KEY")],
        None,
    ),
    "slots": (Annotated[int | None, typer.Option(help="questions at a time", min=1)], None),
    "per_minute": (Annotated[float | None, typer.Option(help="most questions a minute", min=0.01)], None),
    "timeout": (
        Annotated[float, typer.Option(help="seconds without a byte before a question is asked again", min=0.1)],
        120.0,
    ),
    "accept_license": (
        Annotated[str | None, typer.Option(help="name of the licence that a local teacher asks to accept")],
        None,
    ),
}


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
@with_teacher
def generate(
    output: OutputFile,
    teacher: TeacherOptions | None,
    strategy: Annotated[
        Literal["auto", "alpaca", "self-instruct"],
        typer.Option(
            help="alpaca: twenty whole tasks a call, as endpoints are asked; self-instruct: instructions, their kinds, "
            "then instances, as local models are"
        ),
    ] = "auto",
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
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make tasks from seed tasks with a teacher. Killed or ended, the same command goes on; no answer is lost."""
    from camelid.cli.data.generate import MakeOptions, rehearse
    from camelid.cli.data.generate import generate as run

    languages = ("en", "zh") if language == "both" else (language,)
    options = MakeOptions(strategy, languages, count, seed, seeds, per_call, temperature, form)
    if dry_run:
        end(lambda: rehearse(options, teacher, as_json=as_json), debug)
    end(lambda: run(options, _needed(teacher), output, overwrite=overwrite, as_json=as_json), debug)


@data.command()
@with_teacher
def translate(
    sources: Sources,
    output: OutputFile,
    teacher: TeacherOptions | None,
    to: Annotated[Language | None, typer.Option(help="language to translate into, with a teacher")] = None,
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
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Translate every text of every row, checked; what is wrong twice is set aside. Ended or killed, it goes on."""
    from camelid.cli.data.translate import convert_script, rehearse
    from camelid.cli.data.translate import translate as run

    if script is not None:
        alone = _alone("--script asks no teacher and needs no language", to, teacher, back_translate, dry_run or None)
        end(lambda: alone() or convert_script(sources, output, script, overwrite=overwrite, as_json=as_json), debug)

    def target() -> Language:
        return _given(to, "--to", "--to zh, --to en or --script simplified")

    if dry_run:
        end(lambda: rehearse(sources, target(), teacher, least_score=back_translate, as_json=as_json), debug)
    end(
        lambda: run(
            sources, output, target(), _needed(teacher), least_score=back_translate, overwrite=overwrite,
            as_json=as_json,
        ),
        debug,
    )  # fmt: skip


Longest = Annotated[int, typer.Option("--max-new-tokens", help="longest answer, in tokens", min=1)]
Temperature = Annotated[float, typer.Option(help="0 is greedy", min=0, max=2)]


@data.command()
@with_teacher
def answer(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="questions: rows of any format with or without an answer, or lines of text", metavar="DATA..."
        ),
    ],
    output: OutputFile,
    teacher: TeacherOptions | None,
    system: Annotated[str | None, typer.Option(help="system prompt where a question has none")] = None,
    max_new_tokens: Longest = 1024,
    temperature: Temperature = 0.0,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Have a teacher answer questions of yours; answers that were there are put aside."""
    from camelid.cli.data.answer import answer as run
    from camelid.cli.data.answer import rehearse
    from camelid.data.factory.answers.answer import Settings

    settings = Settings(max_new_tokens, temperature, system)
    if dry_run:
        end(lambda: rehearse(sources, teacher, settings, as_json=as_json), debug)
    end(lambda: run(sources, output, _needed(teacher), settings, overwrite=overwrite, as_json=as_json), debug)


@data.command()
@with_teacher
def replay(
    output: OutputFile,
    teacher: TeacherOptions | None,
    max_new_tokens: Longest = 64,
    temperature: Temperature = 0.7,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """A base's own answers to general prompts of ours in both languages, to be mixed in against forgetting."""
    from camelid.cli.data.answer import answer as run
    from camelid.data.factory.answers.answer import Settings

    settings = Settings(max_new_tokens, temperature)
    end(lambda: run([], output, _needed(teacher), settings, overwrite=overwrite, as_json=as_json), debug)


@data.command()
@with_teacher
def evolve(
    sources: Sources,
    output: OutputFile,
    teacher: TeacherOptions | None,
    direction: Annotated[
        Literal["harder", "broader", "both"],
        typer.Option(help="harder: one thing more is asked; broader: another task of the same field"),
    ] = "both",
    seed: Annotated[int, typer.Option(help="of what is asked of which task")] = 42,
    max_new_tokens: Longest = 1024,
    temperature: Temperature = 0.0,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Harder and other tasks made from yours (Evol-Instruct), each with its answer."""
    from camelid.cli.data.answer import evolved as run
    from camelid.data.factory.answers.answer import Settings

    settings = Settings(max_new_tokens, temperature)
    directions = ("harder", "broader") if direction == "both" else (direction,)
    end(
        lambda: run(
            sources, output, _needed(teacher), settings, directions, seed=seed, overwrite=overwrite, as_json=as_json
        ),
        debug,
    )


@data.command()
@with_teacher
def augment(
    sources: Sources,
    output: OutputFile,
    teacher: TeacherOptions | None,
    way: Annotated[
        list[str] | None,
        typer.Option(help="paraphrase, noise, format (these three if none is named), or back-translate with a teacher"),
    ] = None,
    copies: Annotated[int, typer.Option(help="new rows of each way, at most", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="of what is changed how")] = 42,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """More rows from yours: only questions change, and each new row says how it was made."""
    from camelid.cli.data.augment import augment as run
    from camelid.data.factory.augment import WAYS

    end(
        lambda: run(
            sources, output, tuple(way or WAYS), teacher, copies=copies, seed=seed, overwrite=overwrite, as_json=as_json
        ),
        debug,
    )


@data.command()
def mix(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="files, globs, directories or ids; =WEIGHT behind one makes its rows count more or less than once",
            metavar="DATA[=WEIGHT]...",
        ),
    ],
    output: OutputFile,
    count: Annotated[
        int | None,
        typer.Option(help="rows to write; without it as many as there are, or as the shares allow under --cap", min=1),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(help="shares are as WEIGHT * rows^T: 1 by size, 0 by the weights alone", min=0, max=10),
    ] = 1.0,
    cap: Annotated[int | None, typer.Option(help="no row more than so many times", min=1)] = None,
    replay: Annotated[str | None, typer.Option(help="general rows against forgetting", metavar="DATA")] = None,
    replay_share: Annotated[
        float | None, typer.Option(help="share of the result that is replay; 0.2 if not given", min=0.001, max=0.999)
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="name of a field to add to each row: which source it is from", metavar="FIELD")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the draw and the order")] = 42,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """One shuffled data set out of several, each with its share; the same rows and seed give the same file."""
    from camelid.cli.data.mix import MixOptions
    from camelid.cli.data.mix import mix as run

    options = MixOptions(count, temperature, cap, replay, replay_share, tag, seed)
    end(lambda: run(sources, output, options, overwrite=overwrite, as_json=as_json), debug)


@data.command()
def clean(
    sources: Sources,
    output: OutputFile,
    language: Annotated[
        list[str] | None,
        typer.Option(help="keep conversations in this language alone: en, zh, ... (or in one of several)"),
    ] = None,
    vendor: Annotated[
        Literal["drop", "rewrite", "keep"],
        typer.Option(help="answers that speak as another assistant: drop them, or rewrite what can be rewritten"),
    ] = "drop",
    name: Annotated[str, typer.Option(help="your assistant's, in place of another's (with rewrite)")] = "",
    maker: Annotated[str, typer.Option(help="yours, in place of another's (with rewrite)")] = "",
    max_length: Annotated[
        int | None,
        typer.Option(help="cut longer conversations between exchanges; in characters, with --base in its tokens"),
    ] = None,
    base: Annotated[str | None, typer.Option(help="what lengths are measured with, as `camelid chat` takes it")] = None,
    accept_license: Annotated[str | None, typer.Option(help="name of the licence that the base asks to accept")] = None,
    validation: Annotated[
        float, typer.Option(help="share of the rows for OUTPUT.validation.jsonl, by whole conversations")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="of which conversations are for validation")] = 42,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Conversations from the web made fit for training: no HTML, no noise, turns in order; each turn accounted for."""
    from camelid.cli.data.clean import CleanOptions
    from camelid.cli.data.clean import clean as run

    options = CleanOptions(
        tuple(language or ()), vendor, name, maker, max_length, base, accept_license, validation, seed
    )
    end(lambda: run(sources, output, options, overwrite=overwrite, as_json=as_json), debug)


@data.command()
def identity(
    output: OutputFile,
    name: Annotated[str, typer.Option(help="what the assistant is called")],
    maker: Annotated[str, typer.Option(help="who makes it")],
    name_en: Annotated[str | None, typer.Option(help="its name in English, where it is another")] = None,
    maker_en: Annotated[str | None, typer.Option(help="its maker in English")] = None,
    copies: Annotated[int, typer.Option(help="times that each question comes, with other answers", min=1)] = 2,
    seed: Annotated[int, typer.Option(help="of which answer and which other name")] = 42,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Rows that teach a model who it is, in Chinese and English, misleading questions included; and a held-out test."""
    from camelid.cli.data.identity import IdentityOptions
    from camelid.cli.data.identity import identity as run

    options = IdentityOptions(name, maker, name_en, maker_en, copies, seed)
    end(lambda: run(options, output, overwrite=overwrite, as_json=as_json), debug)


@data.command()
@with_teacher
def identity_test(
    test: Annotated[Path, typer.Argument(help="NAME.test.jsonl of `camelid data identity`")],
    teacher: TeacherOptions | None,
    least: Annotated[float, typer.Option(help="share that must be right, else exit 1", min=0, max=1)] = 0.95,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask a model (--teacher RUN) the held-out questions and count who it says it is."""
    from camelid.cli.data.identity import identity_test as run

    end(lambda: run(test, _needed(teacher), least=least, as_json=as_json), debug)


@data.command()
def lint(
    sources: Sources,
    html: Annotated[Path | None, typer.Option(help="write a page of what was found, too")] = None,
    base: Annotated[str | None, typer.Option(help="count tokens as this base does, not by a rough rate")] = None,
    max_length: Annotated[
        int | None, typer.Option(help="tokens, beyond which a row is too long; if not given, a recipe's default", min=1)
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="evaluation set that must not be in the data; may be given several times", metavar="DATA"),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="look for these alone", metavar="RULE")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="do not look for these", metavar="RULE")] = None,
    examples: Annotated[int, typer.Option(help="rows to show of each kind of fault", min=0)] = 3,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Faults of a data set, each with file, line and what mends it; nothing is changed. Exits with 1 for errors."""
    from camelid.cli.data.lint import LintOptions
    from camelid.cli.data.lint import lint as run

    options = LintOptions(base, max_length, tuple(against or ()), tuple(only or ()), tuple(ignore or ()), examples)
    end(lambda: run(sources, options, html=html, as_json=as_json), debug)


@data.command()
def stats(
    sources: Sources,
    base: Annotated[
        list[str] | None,
        typer.Option(help="lengths in tokens of this base, and how its tokenizer does; several stand side by side"),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="write a page with pictures, too")] = None,
    accept_license: Annotated[
        str | None, typer.Option(help="name of the licence that a base asks to accept", metavar="NAME")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What a data set is made of: languages, lengths, turns, what is asked for, repetition, tokenizers."""
    from camelid.cli.data.stats import stats as run

    end(lambda: run(sources, base or [], html, accept_license=accept_license, as_json=as_json), debug)


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
