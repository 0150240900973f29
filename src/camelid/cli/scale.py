"""`camelid scale`: train on growing shares of the rows, fit the curve, and say whether more data is worth it.

Each point is a run of its own (child_run.py) with `train_fraction`, in `{output_dir}-scale/`; what has ended is not
run again. All shares get the same number of epochs and the same held-out rows; of one seed, the smaller sets of rows
lie in the larger ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from camelid.cli.arguments import read_value, whole_number
from camelid.cli.child_run import NOTICE, measure_of, quality_of, require_held_out, result_of
from camelid.cli.console import print_json, print_table, say
from camelid.config import Recipe, load_recipe
from camelid.errors import UserError
from camelid.runs.durable import make_directory, write_durably
from camelid.runs.manifest import differences, read_manifest
from camelid.runs.scaling import Point, Scaling, fit_curve
from camelid.runs.scaling_page import render_scaling
from camelid.runs.scaling_words import rows, sentence, shown
from camelid.train.interrupt import Interrupts

_SHARES = (0.1, 0.25, 0.5, 1.0)
_SEEDS = 2  # with one alone, noise could not be told from the curve


@dataclass(frozen=True)
class Plan:
    """What is asked for: the recipe, its overrides, the shares ascending, how many seeds each."""

    recipe: Recipe
    overrides: list[str]
    shares: list[float]
    seeds: int


def plan(path: Path, arguments: Sequence[str]) -> Plan:
    """Read the command line. Raises UserError for every fault, before the first minute is spent."""
    shares: Any = list(_SHARES)
    seeds, overrides = _SEEDS, []
    for argument in arguments:
        key = argument.partition("=")[0]
        if key == "shares":
            shares = read_value(argument)
        elif key == "seeds":
            seeds = whole_number(argument, "how many seeds each share is run with")
        else:
            overrides.append(argument)
    numbers = isinstance(shares, list) and all(
        isinstance(s, int | float) and not isinstance(s, bool) and 0 < s <= 1 for s in shares
    )
    if not numbers or len(set(shares)) < 2:
        raise UserError(
            f"shares={shares}: at least two shares of the rows, above 0 and at most 1",
            where="command line",
            mend="shares='[0.1, 0.25, 0.5, 1]'",
        )
    recipe = load_recipe(path, overrides)
    require_held_out(recipe, path, "a scaling curve")
    if recipe.max_steps is not None:
        raise UserError(
            "max_steps gives a small share more epochs than a large one; all shares are to have the same",
            where=str(path),
            mend="add max_steps=null, and num_train_epochs=... if need be",
        )
    if recipe.train_fraction != 1:
        raise UserError("train_fraction is what is varied here", where=str(path), mend="leave it out; see shares=...")
    return Plan(recipe, overrides, sorted({float(s) for s in shares}), seeds)


def scale(path: Path, arguments: Sequence[str], *, as_json: bool) -> int:
    """Run every share with every seed; print the table and the answer. The exit code is 2 where a run failed."""
    asked = plan(path, arguments)
    folder = Path(f"{asked.recipe.output_dir}-scale")
    make_directory(folder)
    with Interrupts(notice=NOTICE) as interrupts:
        points, untrained, failed = _points(asked, path, folder, interrupts)
    if not points:
        raise UserError(f"every run failed, the last one so: {failed[-1]}", where=str(path))
    scaling = Scaling(path.stem, measure_of(asked.recipe), points, fit_curve(points), untrained)
    found = _object(scaling)
    write_durably(folder / "scale.json", json.dumps(found, ensure_ascii=False, indent=1).encode())
    write_durably(folder / "scale.html", render_scaling(scaling).encode())
    if as_json:
        print_json({"directory": str(folder), **found})
    else:
        print_table(*shown(scaling))
    answer = sentence(scaling)
    say(answer.en)
    say(answer.zh)
    say(f"page: {folder}/scale.html; all figures: {folder}/scale.json")
    return 2 if failed else 0


def _points(
    asked: Plan, path: Path, folder: Path, interrupts: Interrupts
) -> tuple[list[Point], float | None, list[str]]:
    """(every run, the base's own loss where it has one, why runs failed)."""
    recipe, points, failed = asked.recipe, [], []
    untrained: float | None = None
    first: dict[str, Any] | None = None
    retention = [] if "retention" in recipe.model_fields_set else ["retention=false"]
    runs = [(share, recipe.seed + i) for share in asked.shares for i in range(asked.seeds)]
    for number, (share, seed) in enumerate(runs, start=1):
        run = folder / f"share-{share:g}-seed{seed}"
        say(f"[{number}/{len(runs)}] {share:.0%} of the rows, seed {seed}: {run}")
        varied = [f"train_fraction={share}", f"seed={seed}", f"split_seed={recipe.rows_seed}", f"output_dir={run}"]
        result = result_of(path, [*asked.overrides, *retention, *varied], run, interrupts)
        if isinstance(result, str):
            say(f"  failed: {result}")
            failed.append(result)
            continue
        manifest = {**read_manifest(run / "manifest.json"), "seed": None}
        first = first or manifest
        if changed := differences(first, manifest):
            raise UserError(
                f"the inputs changed between the runs ({'; '.join(changed[:3])})",
                where=str(run),
                mend="put them back, or choose another output_dir",
            )
        quality, _ = quality_of(recipe, result, run)
        badness = quality if recipe.task == "chat" else 1 - quality
        points.append(Point(result["train_rows"], badness, seed, share, run.name))
        if recipe.task == "chat" and untrained is None and result["eval_losses"] and result["eval_losses"][0][0] == 0:
            untrained = result["eval_losses"][0][1]
        say(f"  {measure_of(recipe)} {quality:.4f}, {result['train_rows']:,} rows")
    return points, untrained, failed


def _object(scaling: Scaling) -> dict[str, Any]:
    answer = sentence(scaling)
    return {
        "measure": scaling.measure,
        "answer": scaling.answer,
        "en": answer.en,
        "zh": answer.zh,
        "untrained": scaling.untrained,
        "fit": None if scaling.fit is None else asdict(scaling.fit),
        "shares": rows(scaling),
        "points": [asdict(point) for point in scaling.points],
    }
