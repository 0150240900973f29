"""The `camelid` program: every verb's options in one place; what a verb does is imported when it is called.

Importing this file imports neither torch nor pydantic, so `camelid --help` answers at once.
"""

from __future__ import annotations

import gc
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

import camelid
from camelid.cli.data.verbs import data
from camelid.cli.ending import Debug, Json, end

app = typer.Typer(
    name="camelid",
    help="Train your own ChatGPT, affordably, in Chinese and English: data, tune, align, judge, explain, serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data, name="data")

Recipe = Annotated[Path, typer.Argument(help="YAML recipe", metavar="RECIPE")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="fields to override, such as learning_rate=1e-4 lora.r=16", metavar="[KEY=VALUE]..."),
]
Compared = Annotated[
    list[str] | None,
    typer.Argument(
        help="methods='[lora, full, ptuning2 learning_rate=1e-2]', seeds=3, and fields to override for all",
        metavar="[KEY=VALUE]...",
    ),
]
Tuned = Annotated[
    list[str] | None,
    typer.Argument(
        help="trials=12, space.learning_rate='log 1e-5 1e-2', space.lora.r='[8, 32]', and fields to override for all",
        metavar="[KEY=VALUE]...",
    ),
]
Scaled = Annotated[
    list[str] | None,
    typer.Argument(
        help="shares='[0.1, 0.25, 0.5, 1]', seeds=2, and fields to override for all", metavar="[KEY=VALUE]..."
    ),
]
EngineName = Literal["auto", "local", "llamacpp"]
AdapterScale = Annotated[
    float,
    typer.Option(help="how much of a LoRA adapter: 0 is the base, 1 what was tuned; less of it forgets less", min=0),
]
License = Annotated[
    str | None, typer.Option("--accept-license", help="a licence that the base asks to accept, such as gemma")
]


class ExportForm(StrEnum):
    """What `camelid export` writes."""

    hf = "hf"
    gguf = "gguf"


@app.command()
def quickstart(
    name: Annotated[str, typer.Option(help="the assistant's name")] = "Camelid",
    maker: Annotated[str, typer.Option(help="who made it")] = "you",
    output_dir: Annotated[Path, typer.Option(help="run directory")] = Path("runs/quickstart"),
    base: Annotated[str, typer.Option(help="base to tune")] = "smollm2",
    accept_license: License = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tune a real model on bilingual skills, offline, in minutes; measure, show and report before and after."""
    from camelid.cli.quickstart import quickstart as run

    end(
        lambda: run(
            name=name, maker=maker, output_dir=output_dir, base=base, accept_license=accept_license, as_json=as_json
        ),
        debug,
    )


@app.command()
def train(
    recipe: Recipe,
    overrides: Overrides = None,
    attached: Annotated[
        bool,
        typer.Option("--attached", help="save and stop when standard input ends: for programs that start this one"),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train by a recipe: to answer, continue text or tell classes; LoRA, full or virtual tokens. Resumes by itself."""
    from camelid.cli.train import train as run

    end(lambda: run(recipe, overrides or [], as_json=as_json, attached=attached), debug)


@app.command()
def plan(
    recipe: Recipe,
    overrides: Overrides = None,
    gpu: Annotated[str | None, typer.Option(help="for a GPU of this name: RTX 4090, A100, ...")] = None,
    memory: Annotated[str | None, typer.Option(help="for this much memory: 8GB")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a recipe needs (memory, time, disk, download, money) before that; and what edit makes it fit."""
    from camelid.cli.plan import plan as run

    end(lambda: run(recipe, overrides or [], gpu=gpu, memory=memory, as_json=as_json), debug)


@app.command()
def inspect(
    recipe: Recipe,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(help="optimiser steps to show", min=1)] = 1,
    html: Annotated[Path | None, typer.Option(help="also write the coloured batches as a page")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the tokens of real batches: trained, context, shared, cut; decoded, coloured and counted."""
    from camelid.cli.inspect import inspect as run

    end(lambda: run(recipe, overrides or [], steps=steps, html=html, as_json=as_json), debug)


@app.command()
def verify(
    subject: Annotated[Path, typer.Argument(help="recipe or run directory", metavar="RUN-or-RECIPE")],
    overrides: Overrides = None,
    rows: Annotated[int, typer.Option(help="rows of data to check with", min=2)] = 32,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Prove, on your setup: render parity, tree = separate paths, resumed = uninterrupted, saved = trained."""
    from camelid.cli.verify import verify as run

    end(lambda: run(subject, overrides or [], rows=rows, as_json=as_json), debug)


@app.command()
def compare(recipe: Recipe, arguments: Compared = None, as_json: Json = False, debug: Debug = False) -> None:
    """Run several methods on the same data, some seeds each: one table of quality, size, memory, time, forgetting."""
    from camelid.cli.compare import compare as run

    end(lambda: run(recipe, arguments or [], as_json=as_json), debug)


@app.command()
def tune(recipe: Recipe, arguments: Tuned = None, as_json: Json = False, debug: Debug = False) -> None:
    """Search for learning rate, rank, length, epochs ... by short runs on held-out rows; the best becomes a recipe."""
    from camelid.cli.tune import tune as run

    end(lambda: run(recipe, arguments or [], as_json=as_json), debug)


@app.command()
def scale(recipe: Recipe, arguments: Scaled = None, as_json: Json = False, debug: Debug = False) -> None:
    """Train on growing shares of the rows, fit the curve, and say whether more data is worth it."""
    from camelid.cli.scale import scale as run

    end(lambda: run(recipe, arguments or [], as_json=as_json), debug)


@app.command(name="eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="run directory, or model as for chat", metavar="MODEL")],
    data: Annotated[
        str | None, typer.Argument(help="rows as for training, with the right classes for a task", metavar="[DATA]")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="which field is what, where its name is not a usual one: text=review")
    ] = None,
    max_length: Annotated[int, typer.Option(help="longest row, in tokens", min=2)] = 1024,
    predictions: Annotated[Path | None, typer.Option(help="write every prediction here, as JSON lines")] = None,
    template: Annotated[str, typer.Option(help="chat template: auto, or a name as in recipes")] = "auto",
    adapter_scale: AdapterScale = 1.0,
    accept_license: License = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score a model of a task, by head or answers; of one for chat, its loss on DATA and what it kept of its base."""
    from camelid.cli.eval import EvalOptions
    from camelid.cli.eval import evaluate as run

    options = EvalOptions(model, data, column or [], max_length, predictions, template, adapter_scale, accept_license)
    end(lambda: run(options, as_json=as_json), debug)


@app.command()
def chat(
    model: Annotated[
        str, typer.Argument(help="run directory, adapter, HF directory or id, GGUF file, or preset", metavar="MODEL")
    ],
    prompt: Annotated[str | None, typer.Option(help="answer this and exit")] = None,
    adapter: Annotated[Path | None, typer.Option(help="PEFT adapter or run directory to put on MODEL")] = None,
    adapter_scale: AdapterScale = 1.0,
    system: Annotated[str | None, typer.Option(help="system prompt")] = None,
    template: Annotated[str, typer.Option(help="chat template: auto, or a name as in recipes")] = "auto",
    compare: Annotated[bool, typer.Option("--compare", help="show the base's answer beside the tuned one's")] = False,
    max_new_tokens: Annotated[int, typer.Option(help="longest answer, in tokens", min=1)] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy", min=0)] = 0.0,
    top_p: Annotated[float, typer.Option(help="nucleus sampling", min=0, max=1)] = 1.0,
    top_k: Annotated[int, typer.Option(help="only the so many likeliest tokens; 0 is all", min=0)] = 0,
    min_p: Annotated[
        float, typer.Option(help="only tokens of this share of the likeliest's probability", min=0, max=1)
    ] = 0.0,
    repetition_penalty: Annotated[
        float, typer.Option(help="above 1 tokens that came already are less likely", min=0.01)
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="seed for sampling")] = 0,
    engine: Annotated[EngineName, typer.Option(help="what computes: auto takes llama.cpp for GGUF files")] = "auto",
    accept_license: License = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Talk to a model in the terminal (/reset, /save FILE, /system TEXT, /quit), or answer one --prompt."""
    from camelid.cli.chat import ChatOptions
    from camelid.cli.chat import chat as run
    from camelid.generate.base import Sampling

    sampling = Sampling(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    options = ChatOptions(model, adapter, system, template, compare, sampling, accept_license, engine, adapter_scale)
    end(lambda: run(options, prompt=prompt, as_json=as_json), debug)


@app.command()
def serve(
    model: Annotated[
        str, typer.Argument(help="run directory, adapter, HF directory or id, GGUF file, or preset", metavar="MODEL")
    ],
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="a further adapter of the same base, a model of its own", metavar="NAME=PATH"),
    ] = None,
    adapter_scale: AdapterScale = 1.0,
    host: Annotated[
        str, typer.Option(help="address to listen at; beyond this machine only with --api-key")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen at; 0 takes a free one", min=0, max=65535)] = 8000,
    api_key: Annotated[str | None, typer.Option(help="key that clients send; made and printed if left out")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="a further name under which clients reach this server", metavar="NAME")
    ] = None,
    engine: Annotated[Literal["auto", "local", "llamacpp", "vllm"], typer.Option(help="what computes")] = "auto",
    slots: Annotated[int | None, typer.Option(help="answers computed at a time", min=1, max=1024)] = None,
    max_queue: Annotated[int | None, typer.Option(help="answers that may wait; further ones hear 429", min=0)] = None,
    timeout: Annotated[float, typer.Option(help="seconds for one request", min=1)] = 600.0,
    drain_seconds: Annotated[float, typer.Option(help="seconds to finish answers in when told to end", min=0)] = 30.0,
    votes: Annotated[Path, typer.Option(help="file that the page's votes go to")] = Path("votes.jsonl"),
    template: Annotated[str, typer.Option(help="chat template: auto, or a name as in recipes")] = "auto",
    accept_license: License = None,
    debug: Debug = False,
) -> None:
    """Serve a model as OpenAI's API does, with a page to talk to it; the page's address is printed."""
    from camelid.cli.serve import ServeOptions
    from camelid.cli.serve import serve as run

    options = ServeOptions(
        model=model,
        adapters=tuple(adapter or ()),
        adapter_scale=adapter_scale,
        host=host,
        port=port,
        api_key=api_key,
        hosts=tuple(allow_host or ()),
        engine=engine,
        slots=slots,
        max_queue=max_queue,
        timeout=timeout,
        drain_seconds=drain_seconds,
        votes=votes,
        template=template,
        accept_license=accept_license,
    )
    end(lambda: run(options), debug)


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help="run directory, adapter, HF directory or id, GGUF file, or preset", metavar="MODEL")
    ],
    form: Annotated[ExportForm, typer.Option("--format", help="hf: merged Hugging Face directory; gguf: llama.cpp")],
    adapter: Annotated[Path | None, typer.Option(help="PEFT adapter or run directory to put on MODEL")] = None,
    adapter_scale: AdapterScale = 1.0,
    quantise: Annotated[
        str | None, typer.Option(help="f32, bf16, f16 (the usual for gguf), q8_0, q4_k_m, q5_k_m, q6_k, q4_0 ...")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="directory to write; default exports/NAME-FORMAT-TYPE")] = None,
    lora_only: Annotated[
        bool, typer.Option("--lora-only", help="gguf: the adapter alone, for a base of its own")
    ] = False,
    template: Annotated[str, typer.Option(help="chat template: auto, or a name as in recipes")] = "auto",
    check_prompts: Annotated[int, typer.Option(help="greedy answers to compare", min=0)] = 20,
    check_strings: Annotated[int, typer.Option(help="strings on which tokenizers are compared", min=0)] = 200,
    accept_license: License = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a model for others (merged HF directory; GGUF and Modelfile), and compare it in its own runtime."""
    from camelid.cli.export import ExportOptions
    from camelid.cli.export import export as run

    options = ExportOptions(
        model,
        form.value,
        adapter,
        quantise,
        output,
        lora_only,
        template,
        check_prompts,
        check_strings,
        accept_license,
        adapter_scale,
    )
    end(lambda: run(options, as_json=as_json), debug)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes."""
    from camelid.cli.console import print_json
    from camelid.config import Recipe as Model

    print_json(Model.model_json_schema())


@app.command()
def doctor(as_json: Json = False) -> None:
    """Report the environment, for bug reports."""
    from camelid.cli.doctor import doctor as run

    raise typer.Exit(run(as_json=as_json))


def _version(wanted: bool) -> None:
    if wanted:
        print(f"camelid {camelid.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Entry point of the `camelid` program."""
    # What importing makes never dies: looking through it for garbage is a fifth of the time until a verb begins.
    gc.disable()
    # A terminal or pipe that is not UTF-8 must not turn a Chinese answer into a crash.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # PEFT reads an attribute that transformers has renamed: nothing that a user could mend
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    app()


if __name__ == "__main__":
    main()
