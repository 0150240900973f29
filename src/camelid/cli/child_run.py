"""A training as a program of its own (`camelid train`), for verbs that train many times: its peak memory is its own, it
resumes by itself, and it never outlives its parent. What it came to is kept in `result.json` beside the run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from camelid.cli.console import say
from camelid.config import Recipe, load_recipe
from camelid.errors import UserError
from camelid.runs.durable import write_durably
from camelid.runs.lock import Lock
from camelid.runs.metrics import read_metrics
from camelid.train.interrupt import Interrupted, Interrupts

RESULT = "result.json"
_POLL_S = 0.2  # how often a child is looked at
NOTICE = "stopping; the same command goes on from here"


class Unwanted(Exception):
    """A run was ended, as by SIGTERM, because its parent no longer wanted it."""


def result_of(
    path: Path,
    overrides: Sequence[str],
    run: Path,
    interrupts: Interrupts,
    *,
    unwanted: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | str:
    """What the run in `run` came to, from its file or by running it; a line of text where it failed.

    Raises Unwanted where `unwanted`, which is asked all along, ended it, and Interrupted after a signal to this
    program, when the run has saved: the same call goes on from there.
    """
    recipe = load_recipe(path, overrides).model_dump(mode="json", exclude={"resume"})
    file = run / RESULT
    if file.is_file():
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["recipe"] == recipe:
            say("  done before")
            return known["result"]
        overrides = [*overrides, "resume=no"]  # the recipe was changed: what is there belongs to another run
    _wait_until_free(run, interrupts)
    command = [sys.executable, "-m", "camelid", "train", str(path), *overrides, "--json", "--attached"]
    code, out, err = _run(command, interrupts, unwanted)
    if interrupts.requested:
        raise Interrupted(interrupts.exit_code, NOTICE)
    if code is None:
        raise Unwanted
    if code in (130, 143):  # it got a signal that we did not send
        raise Interrupted(code, NOTICE)
    if code:
        lines = [line for line in err.strip().splitlines() if line.startswith("camelid:")]
        return lines[-1].removeprefix("camelid: ") if lines else _ended(code)
    result = json.loads(out)
    write_durably(file, json.dumps({"recipe": recipe, "result": result}, ensure_ascii=False).encode())
    return result


def require_held_out(recipe: Recipe, path: Path, what: str) -> None:
    """Raise UserError where a recipe holds nothing out to measure runs by. what: the study, as `a search`."""
    if not (recipe.eval_data or recipe.eval_fraction):
        raise UserError(
            f"{what} needs rows that no run is trained on",
            where=str(path),
            mend="add eval_fraction=0.1, or eval_data=FILE",
        )


def held_out_losses(run: Path) -> list[tuple[float, float]]:
    """(share of all steps done, loss) of each evaluation so far, that before training at 0."""
    rows = read_metrics(run / "metrics.jsonl")
    return [(row["progress"], row["eval_loss"]) for row in rows if "progress" in row]


def measure_of(recipe: Recipe) -> str:
    """What the quality of a run of this task is."""
    return {"chat": "held-out loss", "tag": "entity F1"}.get(recipe.task, "accuracy")


def quality_of(recipe: Recipe, result: dict[str, Any], run: Path) -> tuple[float, tuple[float, float] | None]:
    """(the quality of the weights in `final/`, its interval at 95% where one measurement has one)."""
    score = result.get("score")
    if score is not None:
        low, high = score["interval"]
        return (score["f1"] if "f1" in score else score["accuracy"]), (low, high)
    rows = read_metrics(run / "metrics.jsonl")
    losses = [row["eval_loss"] for row in rows if "eval_loss" in row and row["step"] > 0]
    return min(losses) if recipe.load_best_model_at_end else losses[-1], None


def _run(command: list[str], interrupts: Interrupts, unwanted: Callable[[], bool]) -> tuple[int | None, str, str]:
    """(exit code, or None where it was ended for being unwanted; standard output; standard error)."""
    told = ended = False
    with (
        _lifeline() as end,
        subprocess.Popen(
            command, stdin=end, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        ) as child,
    ):
        try:
            while True:
                try:
                    out, err = child.communicate(timeout=_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    ended = ended or (not told and unwanted())
                    if (ended or interrupts.requested) and not told:
                        child.terminate()
                        told = True
        except BaseException:
            child.terminate()  # or leaving this block would wait for its last step
            raise
    return (None if ended and child.returncode in (0, 143) else child.returncode), out, err


@contextmanager
def _lifeline() -> Iterator[int]:
    """The reading end of a pipe that ends when this process does, even by SIGKILL: a child's standard input."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def _wait_until_free(run: Path, interrupts: Interrupts) -> None:
    """A run whose parent was killed is still saving: its directory is ours when it has ended."""
    if not run.is_dir():
        return
    waited = False
    while True:
        try:
            Lock(run / ".lock", announce=say).release()
            return
        except UserError as busy:
            if not waited:
                say(f"  waiting: {busy.what} in {run}")
            waited = True
        if interrupts.requested:
            raise Interrupted(interrupts.exit_code, NOTICE)
        time.sleep(_POLL_S)


def _ended(code: int) -> str:
    return f"ended by signal {-code}{' (out of memory?)' if code == -9 else ''}" if code < 0 else f"exit code {code}"
