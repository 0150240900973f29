"""`camelid plan`: what a recipe needs of memory, time, disk and money, before anything is loaded or downloaded."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from camelid.cli.console import print_json, quiet, say
from camelid.config import load_recipe
from camelid.errors import UserError
from camelid.evaluate.general import asked_of, prompts_of
from camelid.model.load import trained_to_answer
from camelid.runs.report_words import size
from camelid.train.plan.draft import Drafter, Exam, Plan
from camelid.train.plan.edits import Edit, edits_that_fit
from camelid.train.plan.locate import located
from camelid.train.plan.machines import Machine, named_gpu, parse_memory, this_machine


def plan(path: Path, overrides: Sequence[str], *, gpu: str | None, memory: str | None, as_json: bool) -> int:
    """Print the plan. Raises UserError where it does not fit, with the edits that make it."""
    recipe = load_recipe(path, overrides)
    limit = parse_memory(memory) if memory is not None else None
    named = named_gpu(gpu) if gpu is not None else None
    speak = quiet if as_json else say
    with (
        located(recipe.base, accept_license=recipe.accept_license, announce=speak) as found,
        tempfile.TemporaryDirectory(prefix="camelid-plan-") as scratch,
    ):
        answers = trained_to_answer(found.source)
        prompts, sampling = prompts_of(asked_of(answers), answers)
        exam = Exam(prompts, sampling.max_new_tokens)

        def machine(rates: dict[Any, float]) -> Machine:
            return (named or this_machine(rates)).with_memory(limit)

        drafter = Drafter(found, machine, exam, speak, Path(scratch))
        made = drafter.plan(recipe)
        edits: list[Edit] = []
        if not made.fits:
            speak("it does not fit: looking for the smallest edits that make it fit ...")
            edits = edits_that_fit(made, partial(_again, drafter, path, overrides, made))
    if as_json:
        print_json(as_values(made, edits))
    else:
        _print(made, found.download)
    if not made.fits:
        raise UserError(
            f"needs {size(made.memory.peak)} ({made.memory.when}), {made.machine.name} has {size(made.machine.memory)}",
            where=str(path),
            mend=" | ".join(_told(edit, made) for edit in edits)
            if edits
            else "no edit of this recipe makes it fit: take a smaller base, or a machine with more memory",
        )
    return 0


def _again(drafter: Drafter, path: Path, overrides: Sequence[str], timed: Plan, change: tuple[str, ...]) -> Plan:
    return drafter.plan(load_recipe(path, [*overrides, *change]), timed=timed)


def as_values(plan: Plan, edits: Sequence[Edit]) -> dict[str, Any]:
    """The plan as JSON values: bytes, seconds, tokens."""
    return {
        "fits": plan.fits,
        "machine": {
            "name": plan.machine.name,
            "memory_bytes": round(plan.machine.memory),
            "dtype": str(plan.dtype).removeprefix("torch."),
        },
        "parameters": plan.sizes.parameters,
        "trained_parameters": plan.sizes.trained,
        "memory": {
            "peak_memory_bytes": round(plan.memory.peak),
            "when": plan.memory.when,
            "parts": {name: round(value) for name, value in plan.memory.parts.items() if value},
            "stretches": {name: round(value) for name, value in plan.memory.stretches.items()},
        },
        "time": {
            "seconds": plan.seconds,
            "evaluation_seconds": plan.evaluation,
            "measured": plan.pace.measured,
            "steps": plan.work.steps,
            "useful_tokens": round(plan.work.useful),
            "computed_tokens": round(plan.work.computed),
            "tokens_per_second": plan.work.useful / plan.seconds,
        },
        "disk": {
            "checkpoint_bytes": round(plan.disk.checkpoint),
            "checkpoints": plan.disk.kept,
            "final_bytes": round(plan.disk.final),
            "cache_bytes": plan.disk.cache,
            "total_bytes": round(plan.disk.total),
        },
        "download_bytes": plan.disk.download,
        "money": {"label": plan.machine.price.label, "amount": _cost(plan), "currency": plan.machine.price.currency},
        "edits": [
            {
                "overrides": list(edit.overrides),
                "peak_memory_bytes": round(edit.plan.memory.peak),
                "seconds": edit.plan.seconds,
            }
            for edit in edits
        ],
    }


def _cost(plan: Plan) -> float:
    return (plan.seconds + plan.evaluation) / 3600 * plan.machine.price.per_hour


def _told(edit: Edit, plan: Plan) -> str:
    change = edit.plan.seconds / plan.seconds - 1
    return f"{' '.join(edit.overrides)} ({size(edit.plan.memory.peak)}, time {change:+.0%})"


def _print(plan: Plan, download: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    kind = str(plan.dtype).removeprefix("torch.")
    table.add_row("machine", size(plan.machine.memory), f"{plan.machine.name}, {kind}")
    share = plan.sizes.trained / plan.sizes.parameters
    table.add_row("trained", f"{share:.2%}", f"{plan.sizes.trained:,} of {plan.sizes.parameters:,} parameters")
    table.add_row("memory", size(plan.memory.peak), f"at most, in: {plan.memory.when}")
    for name, value in plan.memory.parts.items():
        if value >= 1e6:
            table.add_row("", size(value), name)
    work = plan.work
    saved = 1 - work.computed / work.useful
    table.add_row("tokens", f"{work.useful:,.0f}", f"useful, {work.computed:,.0f} computed ({saved:.0%} shared)")
    how = "measured on a few layers" if plan.pace.measured else "reckoned from the data sheet: a guess within a factor"
    table.add_row(
        "time", _time(plan.seconds), f"{work.steps:,} steps, {work.useful / plan.seconds:,.0f} tokens/s ({how})"
    )
    if plan.evaluation:
        table.add_row("", _time(plan.evaluation), "evaluations besides")
    if plan.recipe.retention and not plan.recipe.from_scratch:
        table.add_row("", "", "measuring what is forgotten comes on top, twice (retention=false leaves it out)")
    table.add_row(
        "disk",
        size(plan.disk.total),
        f"{plan.disk.kept} checkpoints of {size(plan.disk.checkpoint)}, one more while it is written",
    )
    table.add_row("", size(plan.disk.final), "final/")
    if plan.disk.cache:
        table.add_row("", size(plan.disk.cache), "cache: the base's weights, converted once")
    table.add_row("download", size(download), "" if download else "nothing: the base is on this machine")
    price = plan.machine.price
    table.add_row(
        "money", f"{price.currency}{_cost(plan):.2f}", f"{price.label}, {price.currency}{price.per_hour:.2f} an hour"
    )
    Console().print(table)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
