"""How long until training starts: all rows of a file rendered, built into trees and packed; the first step; `--help`.

    .venv/bin/python benchmarks/start.py                       # ../shared/data/instruct/alpaca_data.json
    .venv/bin/python benchmarks/start.py --data my_rows.jsonl

Three measurements, each in processes of its own: seconds and peak memory for every row through reading, rendering,
tree building and packing (steps of 128 rows, one epoch); seconds from launching `camelid train` on that file to the end
of the first optimiser step of 16 rows, the base being converted already; `camelid --help`, median of five.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import cpu_name

DATA = Path(__file__).parents[2] / "shared" / "data" / "instruct" / "alpaca_data.json"
CAMELID = Path(sys.executable).parent / "camelid"


def main() -> None:
    """Measure and print one JSON object."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=DATA)
    options.add_argument("--only", choices=["rows"], help=argparse.SUPPRESS)  # in the child
    chosen = options.parse_args()
    if chosen.only:
        print(json.dumps(every_row(chosen.data)))
        return
    child = [sys.executable, __file__, "--only", "rows", "--data", str(chosen.data)]
    rows = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    result = {"processor": cpu_name(), "rows": rows, "first_step_seconds": first_step(chosen.data), "help": help_()}
    print(json.dumps(result, indent=1))


def every_row(path: Path) -> dict[str, float]:
    """Every row of the file, as `recipes/alpaca-lora.yaml` would train it, up to the packed trees."""
    from camelid.config import make_recipe
    from camelid.data.pack import pack_step
    from camelid.model.load import load_vocabulary, resolve
    from camelid.train.data import prepare_data

    values = {"base": "smollm2", "template": "alpaca", "data": str(path), "max_length": 512, "num_train_epochs": 1}
    recipe = make_recipe({**values, "per_device_train_batch_size": 128, "output_dir": "unused"})
    vocabulary = load_vocabulary(resolve("smollm2").directory)
    began, cpu = time.perf_counter(), time.process_time()
    data = prepare_data(recipe, vocabulary, say=lambda line: None)
    computed = useful = 0
    for step in range(data.schedule.total_steps):
        for row in pack_step(data.of_step(step), recipe.row_tokens):
            computed += len(row.tree)
            useful += row.useful
    seconds = time.perf_counter() - began
    data.close()
    return {
        "read": data.ledger.read,
        "kept": data.ledger.kept,
        "rejected": data.ledger.rejected,
        "useful_tokens": useful,
        "computed_tokens": computed,
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def first_step(path: Path) -> float:
    """Seconds from launch to the end of the first optimiser step."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(
            f"base: smollm2\ntemplate: alpaca\ndata: {path}\nmax_length: 512\nmax_steps: 2\nlogging_steps: 1\n"
            f"output_dir: {run}\n"
        )
        began = time.perf_counter()
        training = subprocess.Popen([CAMELID, "train", recipe], stderr=subprocess.DEVNULL)
        try:
            while training.poll() is None and not _has_a_line(run / "metrics.jsonl"):
                time.sleep(0.02)
            seconds = time.perf_counter() - began
            if not _has_a_line(run / "metrics.jsonl"):
                raise SystemExit(f"camelid train ended with {training.returncode} before its first step")
        finally:
            training.kill()
            training.wait()
    return seconds


def _has_a_line(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def help_() -> float:
    """Median seconds of `camelid --help`."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([CAMELID, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
