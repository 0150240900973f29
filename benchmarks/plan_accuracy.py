"""`camelid plan` against what a run then measures: peak memory and seconds on 12 combinations.

    python benchmarks/plan_accuracy.py
    python benchmarks/plan_accuracy.py --only 1 2 3

Each combination is planned, then trained for a few optimiser steps, each in a process of its own: three times as many
where rows are short, for the first steps touch memory that nobody had, at a price that varies fourfold (dev/LOG.md).
Prints a Markdown table and exits with 1 if a peak is off by more than 10% or a time by more than 25%. The third base
has the shape of Qwen3-0.6B and random weights; it is made under `benchmarks/work/` at the first run.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml
from peers.rows import QWEN3_SHAPE

BENCHMARKS = Path(__file__).resolve().parent
DATA = Path(os.environ.get("CAMELID_SHARED_DATA") or BENCHMARKS.parent.parent / "shared/data")
SHORT, LONG = "instruct/alpaca_data.json#256", "dialogue/sharegpt_zh_1k.jsonl#64"
MEMORY_BOUND, TIME_BOUND = 0.10, 0.25


@dataclass(frozen=True)
class Combination:
    """What is planned and run; `retention`: the default, which measures what is forgotten, or without."""

    method: str
    base: str
    length: int
    dtype: str
    retention: bool = False

    def __str__(self) -> str:
        extra = ", retention" if self.retention else ""
        return f"{self.method}, {self.base}, {self.length}, {self.dtype}{extra}"


COMBINATIONS = (
    Combination("lora", "smollm2", 256, "float32", retention=True),
    Combination("lora", "smollm2", 1024, "auto"),
    Combination("full", "smollm2", 256, "auto", retention=True),
    Combination("full", "smollm2", 1024, "float32"),
    Combination("ptuning2", "smollm2", 1024, "auto"),
    Combination("freeze", "smollm2", 256, "float32"),
    Combination("lora", "gemma3-270m", 256, "auto", retention=True),
    Combination("full", "gemma3-270m", 256, "float32"),
    Combination("freeze", "gemma3-270m", 1024, "auto"),
    Combination("lora", "qwen3-0.6b-shape", 256, "auto"),
    Combination("ptuning2", "qwen3-0.6b-shape", 256, "float32"),
    Combination("freeze", "qwen3-0.6b-shape", 1024, "auto"),
)


def main() -> None:
    """Plan, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of combinations, from 1 on")
    parser.add_argument("--steps", type=int, default=4, help="optimiser steps of a run with rows of 1,024 tokens")
    options = parser.parse_args()
    chosen = options.only or range(1, len(COMBINATIONS) + 1)
    print("| | combination | peak, planned | measured | ratio | seconds, planned | measured | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    missed = 0
    for number in chosen:
        combination = COMBINATIONS[number - 1]
        plan, run = compare(combination, options.steps)
        memory = plan["memory"]["peak_memory_bytes"], run["peak_memory_bytes"]
        seconds = plan["time"]["seconds"], run["seconds"]
        ratios = memory[0] / memory[1], seconds[0] / seconds[1]
        missed += abs(ratios[0] - 1) > MEMORY_BOUND or abs(ratios[1] - 1) > TIME_BOUND
        print(
            f"| {number} | {combination} | {memory[0] / 1e9:.2f} GB ({plan['memory']['when']}) | "
            f"{memory[1] / 1e9:.2f} GB | {ratios[0]:.2f} | {seconds[0]:.1f} | {seconds[1]:.1f} | {ratios[1]:.2f} |",
            flush=True,
        )
    sys.exit(1 if missed else 0)


def compare(combination: Combination, steps: int) -> tuple[dict, dict]:
    """(the plan, the summary of the run)."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = {
            "base": str(qwen_shape()) if "qwen" in combination.base else combination.base,
            "accept_license": "gemma",
            "data": f"{DATA}/{SHORT if combination.length == 256 else LONG}",
            "method": combination.method,
            "freeze": {"last_layers": 4},
            "max_length": combination.length,
            "max_tokens_per_row": combination.length,
            "per_device_train_batch_size": 8 if combination.length == 256 else 2,
            "learning_rate": 1e-4,
            "max_steps": steps if combination.length == 1024 else 3 * steps,
            "dtype": combination.dtype,
            "retention": combination.retention,
            "max_rejected": 0.2,
            "output_dir": f"{folder}/run",
        }
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return camelid("plan", path), camelid("train", path)


def camelid(verb: str, recipe: Path) -> dict:
    """What a verb says with --json, in a process of its own; exits where it fails."""
    command = [sys.executable, "-W", "ignore", "-m", "camelid", verb, str(recipe), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{verb} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[0])


def qwen_shape() -> Path:
    """The shape of Qwen3-0.6B with random weights and SmolLM2's tokenizer, whose ids fit."""
    target = BENCHMARKS / "work/plan/qwen3-0.6b-shape"
    if (target / "chat_template.jinja").is_file():
        return target
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from camelid.model.resolve import resolve

    torch.manual_seed(0)
    Qwen3ForCausalLM(Qwen3Config(**QWEN3_SHAPE)).bfloat16().save_pretrained(target)  # as such models are published
    tokenizer = resolve("smollm2").directory
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tokenizer / name, target / name)
    return target


if __name__ == "__main__":
    main()
