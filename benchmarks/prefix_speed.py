"""P-tuning v2 beside PEFT's PREFIX_TUNING under Hugging Face's Trainer: useful tokens a second, and memory.

    python benchmarks/prefix_speed.py
    python benchmarks/prefix_speed.py --virtual-tokens 128 --rounds 3 --batch 4 --dtype bfloat16

SmolLM2-135M-Instruct, the same random rows of `alpaca_data.json` in Alpaca's template, the same token ids, an
optimiser step each 16 rows. Each runs in a process of its own, in turn, in this environment; the first step of each is
warm-up. `--batch` is what PEFT's micro-batches hold: 8, the Trainer's default, and 1, without padding its fastest.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import cpu_name
from peers.rows import model_directory, sample_rows, write_rows
from peers.settings import ROWS_A_STEP

from camelid.model.precision import measure_compute_dtype

HERE = Path(__file__).resolve().parent
WORK = HERE / "work"
DATA = HERE.parent.parent / "shared" / "data" / "instruct" / "alpaca_data.json"


def job_of(name: str, options: argparse.Namespace, folder: Path, rows: Path, model: Path) -> dict[str, Any]:
    """What a contestant is told."""
    job: dict[str, Any] = {
        "rows": str(rows),
        "model": str(model),
        "scratch": str(folder / name),
        "result": str(folder / f"{name}.json"),
        "steps": options.steps + 1,
        "rows_a_step": ROWS_A_STEP,
        "learning_rate": 1e-2,
        "virtual_tokens": options.virtual_tokens,
        "lora_r": 8,  # read by the driver, of no effect under this method
    }
    who, dtype = name.rsplit(".", 1)
    if who == "camelid":
        prefix = {"num_virtual_tokens": options.virtual_tokens}
        job["settings"] = {"method": "ptuning2", "dtype": dtype, "prefix": prefix, "retention": False}
    else:
        job |= {"batch": int(who.removeprefix("peft-b")), "bfloat16": dtype == "bfloat16"}
    return job


def measured(name: str, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a contestant and read what it left."""
    script = "drive_camelid.py" if name.startswith("camelid") else "drive_peft_prefix.py"
    file = folder / f"{name}.job.json"
    file.write_text(json.dumps(job))
    log = folder / f"{name}.log"
    with log.open("w") as output:
        command = [sys.executable, str(HERE / "peers" / script), str(file)]
        subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=True, env={**os.environ})
    return json.loads(Path(job["result"]).read_text())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--virtual-tokens", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4, help="timed optimiser steps a run")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 1], help="rows of PEFT's micro-batches")
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16"), help="both where bfloat16 is fast")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    if options.dtype is None:
        options.dtype = list(dict.fromkeys(["float32", str(measure_compute_dtype().dtype).removeprefix("torch.")]))
    folder = WORK / "prefix"
    folder.mkdir(parents=True, exist_ok=True)
    model = model_directory("smollm2", WORK)
    end = json.loads((model / "config.json").read_text())["eos_token_id"]
    rows = folder / "rows.json"
    write_rows(sample_rows(options.data, model / "tokenizer.json", end, (options.steps + 1) * ROWS_A_STEP, 0), rows)
    who = ["camelid", *(f"peft-b{batch}" for batch in options.batch)]
    names = [f"{one}.{dtype}" for dtype in options.dtype for one in who]
    rates: dict[str, list[float]] = {name: [] for name in names}
    memory: dict[str, int] = {}
    for _ in range(options.rounds):
        for name in names:
            result = measured(name, job_of(name, options, folder, rows, model), folder)
            timed = result["steps"][1:]
            rates[name].append(sum(s["useful"] for s in timed) / sum(s["seconds"] for s in timed))
            memory[name] = max(memory.get(name, 0), result["peak_rss"])
            print(f"{name}: {rates[name][-1]:.1f} useful tokens/s, losses {result['losses']}", file=sys.stderr)
    print(f"{cpu_name()}, {os.cpu_count()} cores")
    print("| contestant | useful tokens/s (median, range) | peak memory | Camelid in this type |")
    print("|---|---|---|---|")
    for name in names:
        middle = statistics.median(rates[name])
        spread = f"{middle:.0f} ({min(rates[name]):.0f}-{max(rates[name]):.0f})"
        ours = statistics.median(rates[f"camelid.{name.rsplit('.', 1)[1]}"])
        print(f"| {name} | {spread} | {memory[name] / 1e9:.2f} GB | {ours / middle:.2f}x |")


if __name__ == "__main__":
    main()
