"""LoRA on a base in float, in 8 bits and in 4: memory, speed, and what it costs in held-out loss.

    python benchmarks/quantised_training.py --data ../shared/data/instruct/alpaca_data.json
    python benchmarks/quantised_training.py --data ... --bases smollm2 --dtypes bfloat16 --quantizations none,4bit

Every run is a process of its own, LoRA r=8 on all linear layers over the same rows in the same order. Counted are
useful tokens, those of the separate rows, a second of optimiser steps (the first is warm-up). Memory is the process's
largest resident set, and what that was before the first step, in the settings of somebody who is short of it: rows of
512 tokens and gradient checkpointing. Retention is not measured. Prints a line of JSON a run, and the table; exits with
1 where a held-out loss, before or after, is above the float base's by more than we state: 0.5% in 8 bits, 10% in 4.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STEPS, ROWS_A_STEP, HELD_OUT = 12, 16, 48
BASES, DTYPES, QUANTIZATIONS = ("smollm2", "gemma3-270m"), ("float32", "bfloat16"), ("none", "8bit", "4bit")
BOUNDS = {"8bit": 0.005, "4bit": 0.1}  # of the held-out loss, as a share of the float base's


def main() -> None:
    """Run every combination in a process of its own, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Alpaca rows (JSON)")
    parser.add_argument("--bases", default=",".join(BASES))
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--quantizations", default=",".join(QUANTIZATIONS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--one", action="store_true", help="measure the one combination given, in this process")
    options = parser.parse_args()
    chosen = [value.split(",") for value in (options.bases, options.dtypes, options.quantizations)]
    if options.one:
        base, dtype, quantization = (names[0] for names in chosen)
        print(json.dumps(measure(options.data, base, dtype, quantization, options.steps)))
        return
    results = []
    for base in chosen[0]:
        for dtype in chosen[1]:
            for quantization in chosen[2]:
                results.append(_in_a_process(options.data, base, dtype, quantization, options.steps))
                print(json.dumps(results[-1]), flush=True)
    print(table(results))
    for line in (beyond := outside(results)):
        print(line, file=sys.stderr)
    raise SystemExit(1 if beyond else 0)


def _in_a_process(data: Path, base: str, dtype: str, quantization: str, steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", "--data", str(data), "--bases", base, "--dtypes", dtype]
    command += ["--quantizations", quantization, "--steps", str(steps)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def measure(data: Path, base: str, dtype: str, quantization: str, steps: int) -> dict[str, Any]:
    """Train in this process, in a directory that is thrown away."""
    from camelid.config import make_recipe
    from camelid.runs.directory import RunDirectory
    from camelid.runs.memory import peak_memory_bytes
    from camelid.train.distributed import World
    from camelid.train.finish import save_final
    from camelid.train.interrupt import Interrupts
    from camelid.train.loop import SilentProgress, train
    from camelid.train.setup import prepare

    with tempfile.TemporaryDirectory(prefix="camelid-quantised-") as scratch:
        fields = {
            "base": base,
            "accept_license": "gemma" if base.startswith("gemma") else None,
            "data": f"{data}#{steps * ROWS_A_STEP + HELD_OUT}",
            "eval_fraction": HELD_OUT / (steps * ROWS_A_STEP + HELD_OUT),
            "template": "alpaca",
            "dtype": dtype,
            "quantization": quantization,
            "per_device_train_batch_size": ROWS_A_STEP,
            "max_steps": steps,
            "max_length": 512,
            "max_tokens_per_row": 512,
            "gradient_checkpointing": True,
            "learning_rate": 5e-4,
            "output_dir": f"{scratch}/run",
        }
        recipe = make_recipe(fields)
        setup = prepare(recipe, World(), say=lambda line: print(line, file=sys.stderr))
        loaded = peak_memory_bytes()
        with (
            RunDirectory.create(recipe.output_dir, recipe=recipe.model_dump(mode="json")) as run,
            Interrupts() as interrupts,
        ):
            outcome = train(setup, run, SilentProgress(), interrupts)
            if outcome.stopped != "done":
                raise SystemExit(f"stopped after {outcome.step} steps: {outcome.stopped}")
            peak = peak_memory_bytes()  # before the result is read back and compared
            saved = save_final(setup, run)
            lines = [json.loads(line) for line in run.metrics_file.read_text(encoding="utf-8").splitlines()]
        setup.data.close()
    rates = sorted(line["tokens_per_second"] for line in lines if "tokens_per_second" in line and line["step"] > 1)
    return {
        "base": base,
        "dtype": dtype,
        "quantization": quantization,
        "loaded_bytes": loaded,
        "peak_bytes": peak,
        "tokens_per_second": rates[len(rates) // 2],
        "eval_before": outcome.eval_losses[0][1],
        "eval_after": outcome.eval_losses[-1][1],
        "base_bytes": base_bytes(setup.trainable.lm),
        "adapter_bytes": saved.bytes,
    }


def base_bytes(model: Any) -> int:
    """What the frozen weights take in memory."""
    from camelid.model.quantised import QuantisedWeight

    frozen = [p for p in model.parameters() if not p.requires_grad]
    return sum(p.stored_bytes if isinstance(p, QuantisedWeight) else p.numel() * p.element_size() for p in frozen)


def table(results: list[dict[str, Any]]) -> str:
    """Markdown; changes of the loss against the float run of the same base and type."""
    lines = [
        "| base | type | base kept in | its weights, MB | peak when loaded, MB | peak in training, MB "
        "| useful tokens/s | held-out loss before | after | adapter, MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        own = _float_run(results, r)
        losses = [
            f"{r[key]:.4f}" + (f" ({r[key] / own[key] - 1:+.2%})" if own and own is not r else "")
            for key in ("eval_before", "eval_after")
        ]
        kept = {"none": r["dtype"], "8bit": "8 bits", "4bit": "4 bits"}[r["quantization"]]
        megabytes = " | ".join(f"{r[key] / 1e6:.0f}" for key in ("base_bytes", "loaded_bytes", "peak_bytes"))
        rate, size = r["tokens_per_second"], r["adapter_bytes"] / 1e6
        begin = f"| {r['base']} | {r['dtype']} | {kept} | {megabytes} | {rate:.0f}"
        lines.append(f"{begin} | {losses[0]} | {losses[1]} | {size:.1f} |")
    return "\n".join(lines)


def outside(results: list[dict[str, Any]]) -> list[str]:
    """A line for each held-out loss that is further above its float run's than `BOUNDS` say."""
    lines = []
    for r in results:
        own = _float_run(results, r)
        for key in ("eval_before", "eval_after"):
            if own and own is not r and (rise := r[key] / own[key] - 1) > BOUNDS[r["quantization"]]:
                lines.append(f"{r['base']} {r['dtype']} {r['quantization']}: {key} {rise:+.2%}")
    return lines


def _float_run(results: list[dict[str, Any]], run: dict[str, Any]) -> dict[str, Any] | None:
    same = (r for r in results if (r["base"], r["dtype"]) == (run["base"], run["dtype"]))
    return next((r for r in same if r["quantization"] == "none"), None)


if __name__ == "__main__":
    main()
