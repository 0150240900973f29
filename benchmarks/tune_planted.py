"""`camelid tune` against a planted bad default: how far twelve trials get, with a SIGKILL in the middle.

    .venv/bin/python benchmarks/tune_planted.py --work runs/tune-planted

SmolLM2-135M, LoRA, 200 Alpaca rows (40 of them held out, 20 measured), 12 steps of 8 rows; the recipe's learning rate
is planted at 1e-6. The search is killed with SIGKILL while its fourth trial runs, given the same command again, and
must go on: no trial that had ended may run a second time. Prints one JSON object; exits 1 if the best trial is not
better than the recipe as given, or if a trial ran twice.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from machine import cpu_name

DATA = Path(__file__).parents[2] / "shared" / "data" / "instruct" / "alpaca_data.json"
CAMELID = [sys.executable, "-m", "camelid"]
RECIPE = """\
base: smollm2
data: "{data}#200"
eval_fraction: 0.2
max_eval_examples: 20
method: lora
max_steps: 12
per_device_train_batch_size: 8
max_length: 128
learning_rate: 1.0e-6    # planted: two hundred times too small
output_dir: {work}/planted
"""


def main() -> None:
    """Search, kill, go on, and print what came of it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=DATA)
    options.add_argument("--work", type=Path, default=Path("runs/tune-planted"), help="a new directory")
    options.add_argument("--trials", type=int, default=12)
    chosen = options.parse_args()
    chosen.work.mkdir(parents=True)
    recipe = chosen.work / "planted.yaml"
    recipe.write_text(RECIPE.format(data=chosen.data, work=chosen.work), "utf-8")
    command = [*CAMELID, "tune", str(recipe), f"trials={chosen.trials}", "--json"]
    began = time.perf_counter()
    before = killed_in_trial(command, chosen.work / "planted-tune", 3)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    after = ended(chosen.work / "planted-tune")
    again = [name for name, made in before.items() if after[name] != made]
    states = [trial["state"] for trial in found["trials"]]
    print(
        json.dumps(
            {
                "processor": cpu_name(),
                "given": found["given"],
                "best": found["best"],
                "states": {state: states.count(state) for state in sorted(set(states))},
                "ended_before_the_kill": sorted(before),
                "run_again": again,
                "minutes": round((time.perf_counter() - began) / 60, 1),
            },
            indent=1,
        )
    )
    if again or not found["best"]["quality"] < found["given"]:
        raise SystemExit(1)


def killed_in_trial(command: list[str], folder: Path, number: int) -> dict[str, int]:
    """Run the search and kill it, as by a power cut, once this trial trains; the trials that had ended, with times."""
    running = folder / f"trial-{number:03d}" / "metrics.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as search:
        while not (running.exists() and running.read_text("utf-8").count("\n") >= 2):
            if search.poll() is not None:
                raise SystemExit(f"the search ended by itself with {search.returncode}")
            time.sleep(0.1)
        search.kill()
    return ended(folder)


def ended(folder: Path) -> dict[str, int]:
    """Trials that ended well, with the time at which they did."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("trial-*/result.json")}


if __name__ == "__main__":
    main()
