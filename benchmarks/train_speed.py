"""Training speed and memory, side by side with the peers, on this machine.

    python benchmarks/train_speed.py
    python benchmarks/train_speed.py --peers trl-default,llamafactory-b1,camelid --dtype both --rounds 3
    python benchmarks/train_speed.py --model qwen3-0.6b-shape --steps 4

LoRA r=8 on every linear layer of the blocks, the same 96 random rows of `alpaca_data.json` in Alpaca's template, the
same token ids, an optimiser step each 16 rows. Every contestant trains in its own process and, if it is a peer, in its
own environment under `benchmarks/venvs/` (made on first use; pip must reach a package index). In each round every
contestant runs once, in turn. Counted are useful tokens: those of the separate rows, without padding. The first steps
are warm-up. Prints a table and writes all figures, as JSON, below `benchmarks/work/`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from machine import DecoderShape, StepCounts, describe, train_flops
from peers.install import BENCHMARKS, install, python_of
from peers.rows import MODELS, model_directory, sample_rows, write_rows
from peers.settings import ALIASES, BY_NAME, CONTESTANTS, ROWS_A_STEP, TYPES, Contestant

LORA_R = 8
# LitGPT runs only shapes that it knows by name.
LITGPT_NAMES = {"smollm2": "SmolLM2-135M-Instruct", "qwen3-0.6b-shape": "Qwen3-0.6B"}
FAST_BFLOAT16 = 1.2  # bfloat16 counts as fast where its products beat float32's by this factor
COUNTED = ("useful", "computed", "head", "pairs")


@dataclass
class Entry:
    """A contestant in one number type, and what its runs gave."""

    contestant: Contestant
    dtype: str
    runs: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    @property
    def name(self) -> str:
        """As in the table and in file names."""
        return f"{self.contestant.name}.{self.dtype}"


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    name: str
    dtype: str
    rate: float  # useful tokens a second: the median over all timed steps of all rounds
    slowest: float
    fastest: float
    peak_rss: int  # bytes, the largest of the rounds
    train_peak_rss: int
    computed_share: float  # computed tokens per useful one
    limit_share: float  # floating-point operations needed, over what the machine's matrix rate could do in that time
    last_loss: float


def main() -> None:
    """Measure, print, write."""
    options = parse_arguments()
    work = BENCHMARKS / "work"
    home = work / options.model
    home.mkdir(parents=True, exist_ok=True)
    contestants = pick(options.peers)
    if options.model not in LITGPT_NAMES:
        contestants = [contestant for contestant in contestants if contestant.peer != "litgpt"]
    for peer in sorted({contestant.peer for contestant in contestants}):
        install(peer)
    if options.install_only:
        return
    model = model_directory(options.model, work)
    config = json.loads((model / "config.json").read_text())
    shape = DecoderShape.from_config(config)
    rows_file = home / f"rows-{options.rows}-{options.seed}.json"
    rows = sample_rows(options.data, model / "tokenizer.json", config["eos_token_id"], options.rows, options.seed)
    write_rows(rows, rows_file)
    if any(contestant.peer == "litgpt" for contestant in contestants):
        convert_for_litgpt(options.model, model, home)
    before = describe(shape, options.threads, options.limit_seconds)
    entries = entries_of(contestants, options.dtype, before["limit"])
    job = {
        "model": str(model),
        "litgpt_model": str(home / "litgpt"),
        "rows": str(rows_file),
        "rows_a_step": ROWS_A_STEP,
        "steps": options.warmup + options.steps,
        "lora_r": LORA_R,
        "learning_rate": 2e-4,
    }
    for round_number in range(options.rounds):
        for entry in entries:
            if not entry.error:
                measure(entry, job, home / "runs", options, round_number)
    after = describe(shape, options.threads, options.limit_seconds)
    limit = {dtype: max(before["limit"][dtype]["flops"], after["limit"][dtype]["flops"]) for dtype in TYPES}
    results = [summarise(entry, options, shape, limit[entry.dtype]) for entry in entries if entry.runs]
    useful = sum(len(row.input_ids) for row in rows)
    facts = {"rows": options.rows, "useful_tokens": useful, "limit": limit, "before": before, "after": after}
    print(table(results, entries, facts, options))
    target = home / f"train_speed-{time.strftime('%Y%m%d-%H%M%S')}.json"
    target.write_text(json.dumps(record(results, entries, facts, options), indent=1))
    print(f"\nwritten: {target.relative_to(BENCHMARKS.parent)}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="smollm2")
    parser.add_argument("--rows", type=int, default=96, help="random rows of the data")
    parser.add_argument("--seed", type=int, default=0, help="which rows")
    parser.add_argument("--peers", default="default", help=f"comma-separated, or: {', '.join(ALIASES)}; see --list")
    parser.add_argument("--dtype", choices=("auto", "both", *TYPES), default="auto", help="auto: this machine's faster")
    parser.add_argument("--steps", type=int, default=5, help="timed optimiser steps a run")
    parser.add_argument("--warmup", type=int, default=1, help="optimiser steps before them")
    parser.add_argument("--rounds", type=int, default=1, help="how often everyone runs, in alternation")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time, for a busy machine and 1 thread"
    )
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds after which a run is given up")
    parser.add_argument("--limit-seconds", type=float, default=10.0, help="time to measure the matrix rate a type")
    parser.add_argument("--data", type=Path, default=shared_data() / "instruct/alpaca_data.json")
    parser.add_argument("--install-only", action="store_true", help="make the environments and stop")
    parser.add_argument("--list", action="store_true", help="name the contestants and stop")
    options = parser.parse_args()
    if options.list:
        for contestant in CONTESTANTS:
            print(f"{contestant.name:28} {', '.join(contestant.types):20} {contestant.note}")
        parser.exit()
    if options.steps < 3:
        parser.error("--steps: at least 3 timed steps make a median")
    if not options.data.is_file():
        parser.error(f"no such data: {options.data} (set CAMELID_SHARED_DATA or --data)")
    return options


def shared_data() -> Path:
    """Where the real data lies: beside the project, or where CAMELID_SHARED_DATA says, as for the tests."""
    return Path(os.environ.get("CAMELID_SHARED_DATA") or BENCHMARKS.parent.parent / "shared/data")


def pick(names: str) -> list[Contestant]:
    """The contestants named on the command line; exits for an unknown one."""
    wanted = [part for name in names.split(",") for part in ALIASES.get(name, (name,))]
    unknown = [name for name in wanted if name not in BY_NAME]
    if unknown:
        raise SystemExit(f"unknown contestant {unknown[0]!r}: --list names them")
    return [BY_NAME[name] for name in dict.fromkeys(wanted)]


def entries_of(contestants: list[Contestant], dtype: str, limit: dict[str, Any]) -> list[Entry]:
    """Each contestant in each number type asked for, where it has that type."""
    if dtype == "auto":
        fast = limit["bfloat16"]["flops"] > FAST_BFLOAT16 * limit["float32"]["flops"]
        dtype = "bfloat16" if fast else "float32"
    types = TYPES if dtype == "both" else (dtype,)
    return [Entry(contestant, kind) for contestant in contestants for kind in types if kind in contestant.types]


def convert_for_litgpt(model_name: str, source: Path, home: Path) -> None:
    """LitGPT reads its own layout only."""
    target = home / "litgpt"
    if (target / "lit_model.pth").exists():
        return
    driver = str(BENCHMARKS / "peers/drive_litgpt.py")
    command = [str(python_of("litgpt")), driver, "convert", str(source), str(target), LITGPT_NAMES[model_name]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure(entry: Entry, job: dict[str, Any], runs: Path, options: argparse.Namespace, round_number: int) -> None:
    """One run of one contestant in its own process; a failure is kept as the last line that it wrote."""
    scratch = runs / entry.name
    scratch.mkdir(parents=True, exist_ok=True)
    result, log, job_file = (scratch / name for name in ("result.json", "log.txt", "job.json"))
    result.unlink(missing_ok=True)
    settings = entry.contestant.in_type(entry.dtype)
    own = {"settings": settings, "scratch": str(scratch / "scratch"), "result": str(result)}
    job_file.write_text(json.dumps({**job, **own}, indent=1))
    driver = BENCHMARKS / "peers" / f"drive_{entry.contestant.peer}.py"
    # The ecosystem's switches: nothing is fetched while the clock runs, and the cores are those that we say.
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    environment = {**os.environ, **offline, "OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    print(f"round {round_number + 1}: {entry.name} ...", end=" ", file=sys.stderr, flush=True)
    with log.open("w") as output:
        try:
            subprocess.run(
                [str(python_of(entry.contestant.peer)), str(driver), str(job_file)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                check=True,
                timeout=options.timeout,
            )
        except subprocess.TimeoutExpired:
            entry.error = f"given up after {options.timeout:.0f} s"
        except subprocess.CalledProcessError as error:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
            entry.error = f"exit {error.returncode}: {lines[-1][:200]}"
    if entry.error:
        print(entry.error, file=sys.stderr)
        return
    run = json.loads(result.read_text())
    entry.runs.append(run)
    rates = step_rates(run, options)
    print(f"{statistics.median(rates):.1f} useful tokens/s", file=sys.stderr)


def step_rates(run: dict[str, Any], options: argparse.Namespace) -> list[float]:
    """Useful tokens a second of each timed step of a run."""
    clock = "seconds" if options.clock == "wall" else "cpu_seconds"
    return [step["useful"] / step[clock] for step in run["steps"][options.warmup :]]


def summarise(entry: Entry, options: argparse.Namespace, shape: DecoderShape, limit: float) -> Result:
    """The medians over an entry's runs. `limit`: FLOP/s of the machine in the entry's number type."""
    rates = [rate for run in entry.runs for rate in step_rates(run, options)]
    steps = [step for run in entry.runs for step in run["steps"][options.warmup :]]
    total = StepCounts(**{key: sum(step[key] for step in steps) for key in COUNTED})
    rate = statistics.median(rates)
    losses = entry.runs[-1]["losses"]
    return Result(
        name=entry.contestant.name,
        dtype=entry.dtype,
        rate=rate,
        slowest=min(rates),
        fastest=max(rates),
        peak_rss=max(run["peak_rss"] for run in entry.runs),
        train_peak_rss=max(run["train_peak_rss"] for run in entry.runs),
        computed_share=total.computed / total.useful,
        limit_share=train_flops(shape, total, LORA_R) / total.useful * rate / limit,
        last_loss=losses[-1] if losses else float("nan"),
    )


def table(results: list[Result], entries: list[Entry], facts: dict[str, Any], options: argparse.Namespace) -> str:
    """The comparison as Markdown."""
    machine = facts["before"]
    rates = ", ".join(f"{dtype} {facts['limit'][dtype] / 1e9:.0f} GFLOP/s" for dtype in TYPES)
    peers = [result for result in results if result.name != "camelid"]
    best = max((result.rate for result in peers), default=float("nan"))
    defaults = next((result for result in results if result.name == "trl-default"), None)
    lines = [
        f"{options.model}, LoRA r={LORA_R} on all linear layers, {facts['rows']} rows, "
        f"{facts['useful_tokens']:,} useful tokens, {ROWS_A_STEP} rows a step",
        f"{machine['cpu']}, {machine['cores']} cores, {options.threads} thread(s), {options.clock} clock, "
        f"torch {machine['torch']}, matrix limit: {rates}, load {machine['load_average']:.1f}",
        "",
        "| contestant | type | useful tokens/s | slowest - fastest step | x fastest peer | x TRL defaults | "
        "peak RSS, GB | x TRL defaults | computed / useful | share of limit | loss |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in sorted(results, key=lambda result: -result.rate):
        to_trl = f"{result.rate / defaults.rate:.2f}" if defaults else "-"
        memory_to_trl = f"{result.peak_rss / defaults.peak_rss:.2f}" if defaults else "-"
        lines.append(
            f"| {result.name} | {result.dtype} | {result.rate:.1f} | {result.slowest:.1f} - {result.fastest:.1f} | "
            f"{result.rate / best:.2f} | {to_trl} | {result.peak_rss / 1e9:.2f} | {memory_to_trl} | "
            f"{result.computed_share:.2f} | {result.limit_share:.0%} | {result.last_loss:.3f} |"
        )
    lines += [f"| {entry.name} | failed: {entry.error} |" + " |" * 9 for entry in entries if entry.error]
    return "\n".join(lines)


def record(results: list[Result], entries: list[Entry], facts: dict[str, Any], options: argparse.Namespace) -> dict:
    """Everything measured, for the file."""
    return {
        "command": sys.argv,
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "commit": commit(),
        "options": {key: str(value) for key, value in vars(options).items()},
        "facts": facts,
        "results": [asdict(result) for result in results],
        "runs": {entry.name: entry.runs for entry in entries},
        "failures": {entry.name: entry.error for entry in entries if entry.error},
    }


def commit() -> str:
    """The commit measured; a dirty tree says so."""
    command = ["git", "-C", str(BENCHMARKS.parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
