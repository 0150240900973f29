"""Kill a training run with SIGKILL again and again until it finishes; print what happened as JSON.

Run as a program: `python kill_harness.py FOLDER BASE METHOD KILLS`. It imports everything once and forks, so a child
reaches its first step in a fraction of a second and the kills land in training and in saving, not in imports.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
from runs_for_tests import run, tiny_recipe

from camelid.config import Recipe
from camelid.train.checkpoint import list_checkpoints, load_checkpoint

STEPS = 10


def _recipe(folder: Path, base: str, method: str, name: str) -> Recipe:
    return tiny_recipe(
        folder,
        base=base,
        method=method,
        max_steps=STEPS,
        save_steps=1,
        learning_rate=1e-3,
        output_dir=str(folder / name),
        lora={"lora_dropout": 0.1},
    )


def _child(recipe: Recipe) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        run(recipe)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _saving(checkpoints: Path) -> bool:
    """Whether a save is under way: its staging directory exists."""
    return checkpoints.is_dir() and any(".partial-" in path.name for path in checkpoints.iterdir())


def _newest(checkpoints: Path) -> int:
    steps = [int(path.name.removeprefix("step-")) for path in list_checkpoints(checkpoints)]
    return max(steps, default=0)


def _kill_at_a_random_moment(pid: int, recipe: Recipe, chance: random.Random, before: int) -> tuple[bool, bool]:
    """(killed, inside a save). One kill in ten comes anywhere, even while loading; of the others, half wait for a save
    to begin and half for a moment after one was made, so that the run gets on between its deaths."""
    checkpoints = Path(recipe.output_dir) / "checkpoints"
    kind = chance.choice(["anywhere", *["save"] * 6, *["after"] * 3])
    anywhere = time.monotonic() + chance.uniform(0, 1.0)
    first_save = chance.random() < 0.2
    while True:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False, False
        if kind == "anywhere" and time.monotonic() >= anywhere:
            break
        if kind == "save" and _saving(checkpoints) and (first_save or _newest(checkpoints) > before):
            time.sleep(chance.uniform(0, 0.0005))
            break
        if kind == "after" and _newest(checkpoints) > before:
            time.sleep(chance.uniform(0, 0.03))
            break
        time.sleep(0.0002)
    inside = _saving(checkpoints)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True, inside


def main() -> None:
    folder, base, method, kills = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    chance = random.Random(f"{method}/{kills}")
    # in a child of its own: a parent that has computed cannot fork sound thread pools
    tiny_recipe(folder)
    _, status = os.waitpid(_child(_recipe(folder, base, method, "whole")), 0)
    if status:
        raise SystemExit("the uninterrupted run failed")
    whole = load_checkpoint(folder / "whole" / "checkpoints" / f"step-{STEPS}").tensors["weights"]
    report = {"kills": 0, "inside_save": 0, "wedged": 0, "resumed": 0, "finished": 0, "identical": 0, "lost": 0}
    number = 0
    while report["kills"] < kills:
        recipe = _recipe(folder, base, method, f"run{number}")
        checkpoints = Path(recipe.output_dir) / "checkpoints"
        while True:
            before = _newest(checkpoints)
            pid = _child(recipe)
            if report["kills"] >= kills:
                _, status = os.waitpid(pid, 0)
                report["wedged"] += status != 0
                break
            killed, inside = _kill_at_a_random_moment(pid, recipe, chance, before)
            if not killed:
                break
            report["kills"] += 1
            report["inside_save"] += inside
            report["resumed"] += before > 0
            # a checkpoint that was there before the kill, or a newer one, must be there after it
            report["lost"] += _newest(checkpoints) < before
        report["finished"] += 1
        final = load_checkpoint(checkpoints / f"step-{STEPS}").tensors["weights"]
        report["identical"] += all(np.array_equal(final[name].numpy(), whole[name].numpy()) for name in whole)
        number += 1
    print(json.dumps(report))


if __name__ == "__main__":
    main()
