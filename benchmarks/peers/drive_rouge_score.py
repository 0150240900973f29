"""Alpaca's similarity filter: reads a JSON list of texts, prints {"seconds", "scores": of each text, None where kept}.

A new pool of processes for every candidate, each scored against all that were kept, as in stanford_alpaca's
generate_instruction.py (which asks for 16 processes; here as many as there are cores).
"""

import json
import os
import sys
import time
from functools import partial
from multiprocessing import Pool

from rouge_score import rouge_scorer  # pyright: ignore[reportMissingImports]


def main() -> None:
    """Filter."""
    texts = json.load(sys.stdin)
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    kept: list[list[str]] = []
    scores: list[float | None] = []
    begin = time.perf_counter()
    for text in texts:
        tokens = scorer._tokenizer.tokenize(text)
        with Pool(os.cpu_count()) as pool:
            rouge = pool.map(partial(rouge_scorer._score_lcs, tokens), kept)
        best = max((score.fmeasure for score in rouge), default=0.0)
        scores.append(best if best > 0.7 else None)
        if best <= 0.7:
            kept.append(tokens)
    print(json.dumps({"seconds": time.perf_counter() - begin, "scores": scores}))


if __name__ == "__main__":
    main()
