"""`camelid compare`: several methods on the same data with the same budget, several seeds each, in one honest table.

Each run is a program of its own (child_run.py): the same command goes on where it was stopped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from camelid.cli.arguments import read_value, whole_number
from camelid.cli.child_run import NOTICE, measure_of, quality_of, require_held_out, result_of
from camelid.cli.console import print_json, print_table, say
from camelid.config import Recipe, load_recipe
from camelid.errors import UserError
from camelid.runs.comparison import Cell, Comparison, Measured, Rise, as_csv, as_markdown, rows, shown
from camelid.runs.comparison_page import render_comparison
from camelid.runs.durable import write_durably
from camelid.train.interrupt import Interrupts

_METHODS = ("lora", "full", "ptuning2")


@dataclass(frozen=True)
class Planned:
    """One method as it was asked for: what it is called, and its overrides."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What is asked for: the recipe that all share, its methods, how many seeds, and the overrides for all."""

    recipe: Recipe
    methods: list[Planned]
    seeds: int
    overrides: list[str]


def plan(path: Path, arguments: Sequence[str]) -> Plan:
    """Read the command line. Raises UserError for every fault of a recipe, before the first minute is spent."""
    planned, seeds, overrides = _asked(arguments)
    recipe = load_recipe(path, overrides)
    require_held_out(recipe, path, "a comparison")
    for one in planned:
        load_recipe(path, [*overrides, *one.overrides])
    return Plan(recipe, planned, seeds, overrides)


def compare(path: Path, arguments: Sequence[str], *, as_json: bool) -> int:
    """Run every method and print the table; the exit code is 2 where a run failed."""
    asked = plan(path, arguments)
    recipe = asked.recipe
    folder = Path(f"{recipe.output_dir}-compare")
    with Interrupts(notice=NOTICE) as interrupts:
        cells = _cells(asked, path, folder, interrupts)
    comparison = Comparison(path.stem, measure_of(recipe), recipe.task == "chat", cells)
    _write(comparison, folder)
    if as_json:
        print_json({"directory": str(folder), "measure": comparison.measure, "methods": rows(comparison)})
    else:
        print_table(*shown(comparison), justify="l")
    say(f"table: {folder}/compare.md, compare.csv; page: {folder}/compare.html")
    return 2 if any(cell.failed for cell in cells) else 0


def _cells(asked: Plan, path: Path, folder: Path, interrupts: Interrupts) -> list[Cell]:
    """Every method with each seed."""
    cells = []
    for number, one in enumerate(asked.methods, start=1):
        measured, failed = [], []
        for seed in range(asked.recipe.seed, asked.recipe.seed + asked.seeds):
            run = folder / f"{_slug(one.name)}-seed{seed}"
            say(f"[{number}/{len(asked.methods)}] {one.name}, seed {seed}: {run}")
            changes = [*asked.overrides, *one.overrides, f"seed={seed}", f"output_dir={run}"]
            result = result_of(path, changes, run, interrupts)
            if isinstance(result, str):
                say(f"  failed: {result}")
                failed.append((seed, result))
            else:
                measured.append(_measured(asked.recipe, result, seed, run))
        cells.append(Cell(one.name, measured, failed))
    return cells


def _asked(arguments: Sequence[str]) -> tuple[list[Planned], int, list[str]]:
    """(methods, seeds, the overrides of the recipe)."""
    methods: list[Any] = list(_METHODS)
    seeds, overrides = 1, []
    for argument in arguments:
        key = argument.partition("=")[0]
        if key == "seeds":
            seeds = whole_number(argument, "how many seeds each method is run with")
        elif key == "methods":
            value = read_value(argument)
            methods = value if isinstance(value, list) else [value]
        else:
            overrides.append(argument)
    if not methods or not all(isinstance(item, str) and item.strip() for item in methods):
        raise UserError(
            "methods is a list of methods, each with its own fields behind it if it has any",
            mend="methods='[lora, lora lora.r=32 learning_rate=1e-3, ptuning2]'",
        )
    planned = [_planned(item) for item in methods]
    if len({one.name for one in planned}) < len(planned):
        raise UserError("a method is named twice", where="methods")
    return planned, seeds, overrides


def _planned(item: str) -> Planned:
    """`ptuning2 learning_rate=1e-2`: a method and fields of the recipe; `head` trains a task's head alone."""
    method, *fields = item.split()
    overrides = [f"method={'freeze' if method == 'head' else method}", *fields]
    return Planned(" ".join([method, *fields]), tuple(overrides))


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=-]+", "_", name)


def _measured(recipe: Recipe, result: dict[str, Any], seed: int, run: Path) -> Measured:
    quality, interval = quality_of(recipe, result, run)
    retention = result.get("retention", {})
    plain = retention.get("plain_questions", {})
    return Measured(
        seed=seed,
        quality=quality,
        interval=interval,
        trained=result["trained_parameters"],
        parameters=result["parameters"],
        memory_bytes=result["peak_memory_bytes"],
        seconds=result["seconds"],
        tokens_per_second=result["useful_tokens"] / max(result["seconds"], 1e-9),
        bytes=result["saved_bytes"],
        retention={
            language: Rise(change["rise"], change["low"], change["high"])
            for language, change in retention.get("perplexity", {}).items()
        },
        passages=retention.get("passages", {}),
        run=run.name,
        kept=(plain["still_right"], plain["right_before"]) if plain.get("right_before") else None,
        lost=frozenset(plain["lost"]) if "lost" in plain else None,
    )


def _write(comparison: Comparison, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / "compare.csv", as_csv(comparison).encode())
    write_durably(folder / "compare.md", as_markdown(comparison).encode())
    write_durably(folder / "compare.html", render_comparison(comparison).encode())
    cells = [asdict(cell) for cell in comparison.cells]
    write_durably(folder / "compare.json", json.dumps(cells, default=sorted, ensure_ascii=False).encode())  # sets
