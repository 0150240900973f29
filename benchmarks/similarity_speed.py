"""The similarity filter beside Alpaca's own: the same decisions on the same instructions, and the time for them.

    python benchmarks/similarity_speed.py
    python benchmarks/similarity_speed.py --rows 500

Alpaca (stanford_alpaca, generate_instruction.py) scores each candidate against all that were kept with rouge_score, in
a pool of processes that it makes for each candidate. That is done here on the first `--rows` instructions of
`alpaca_data.json`, in an environment of its own; ours on the same, and on all 52,002. Exits with 1 where one decision
or score differs.
"""

import argparse
import json
import resource
import subprocess
import time
from pathlib import Path

from machine import cpu_name
from peers.install import install, python_of

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data" / "instruct" / "alpaca_data.json"
BLOCK = 4096


def main() -> None:
    """Ours on all rows, then both on the first ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rows", type=int, default=3000)
    options = parser.parse_args()
    instructions = [row["instruction"] for row in json.loads(options.data.read_text(encoding="utf-8"))]

    seconds, scores = ours(instructions)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    dropped = sum(score is not None for score in scores)
    print(f"{cpu_name()}: {len(instructions):,} instructions, {dropped:,} dropped: {seconds:.1f} s, {memory:.2f} GB")

    # Alpaca's rows are what such a filter left, so that none would be dropped: every tenth comes again, changed.
    first = instructions[: options.rows]
    first = [f"{first[i - 1]} Please." if i % 10 == 9 else text for i, text in enumerate(first)]
    mine, scores = ours(first)
    install("rouge_score")
    command = [str(python_of("rouge_score")), str(HERE / "peers" / "drive_rouge_score.py")]
    answer = subprocess.run(command, input=json.dumps(first), stdout=subprocess.PIPE, text=True, check=True)
    theirs = json.loads(answer.stdout)
    dropped = sum(score is not None for score in scores)
    ratio = theirs["seconds"] / mine
    print(
        f"first {len(first):,}, {dropped:,} dropped: {mine:.3f} s, rouge_score {theirs['seconds']:.0f} s, {ratio:,.0f}x"
    )
    different = [i for i, pair in enumerate(zip(scores, theirs["scores"], strict=True)) if pair[0] != pair[1]]
    if different:
        raise SystemExit(f"{len(different)} decisions or scores differ, first that of row {different[0]}")


def ours(texts: list[str]) -> tuple[float, list[float | None]]:
    """(seconds, of each text ROUGE-L with what it is dropped for, or None)."""
    from camelid.data.factory.similar import SimilarityPool, words

    begin = time.perf_counter()
    pool = SimilarityPool(tokens=words)
    found = [near for i in range(0, len(texts), BLOCK) for near in pool.admit(texts[i : i + BLOCK])]
    return time.perf_counter() - begin, [near and near.score for near in found]


if __name__ == "__main__":
    main()
