"""Bits per byte on held-out Chinese and English: nano against n-gram models with back-off trained on the same text.

    .venv/bin/python benchmarks/make_nano.py prepare      # once: corpus and split, from ../shared/data
    .venv/bin/python benchmarks/nano_vs_trigram.py        # [--model DIRECTORY] [--json]

Both see the same token ids and predict every token of every held-out document, the end of the text included. The
n-gram models (interpolated modified Kneser-Ney) count all of the training text, which is at least what nano has seen.
nano reads windows as long as those it was trained on, each begun half a window early, so that every token is predicted
once and has at least half a window before it, where there is that much. Exit code 1 if nano loses to the trigram.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from make_nano import ASSETS, WORK
from transformers import LlamaForCausalLM

from camelid.data.bpe import END_OF_TEXT
from camelid.data.ngram import NgramModel
from camelid.data.vocabulary import Vocabulary

WINDOW = 256
BATCH = 16
ORDERS = (1, 2, 3, 4, 5)


def read_documents(file: Path) -> list[tuple[str, str]]:
    """(source, text) of each document."""
    with file.open(encoding="utf-8") as lines:
        return [(row["source"], row["text"]) for row in map(json.loads, lines)]


def encode(vocabulary: Vocabulary, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids of each text and the end of the text; what is not a control token never becomes one."""
    end = vocabulary.id_of(END_OF_TEXT)
    vocabulary.backend.encode_special_tokens = True
    encodings = vocabulary.backend.encode_batch_fast(list(texts), add_special_tokens=False)
    return [np.array([*encoding.ids, end]) for encoding in encodings]


@torch.no_grad()
def model_nats(model: LlamaForCausalLM, documents: Iterable[np.ndarray], start: int) -> list[float]:
    """Minus the summed log-probability of each document."""
    nats: list[float] = []
    for document in documents:
        ids = torch.from_numpy(np.array([start, *document]))
        total, begin = 0.0, 0  # targets below `begin` + 1 are done
        windows = []
        for first in range(0, max(1, len(ids) - 1 - WINDOW // 2), WINDOW // 2):
            window = ids[first : first + WINDOW + 1]
            windows.append((window, begin - first))
            begin = first + len(window) - 1
        for at in range(0, len(windows), BATCH):
            part = windows[at : at + BATCH]
            padded = torch.nn.utils.rnn.pad_sequence([w for w, _ in part], batch_first=True)
            logits = model(input_ids=padded[:, :-1]).logits.float()
            loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), padded[:, 1:], reduction="none")
            for row, (window, skip) in enumerate(part):
                total += float(loss[row, skip : len(window) - 1].double().sum())
        nats.append(total)
    return nats


def by_source(held_out: Sequence[tuple[str, str, str]], nats: Sequence[float]) -> dict[str, float]:
    """Bits per UTF-8 byte of each source and each language; `held_out` rows are (language, source, text)."""
    sums: dict[str, list[float]] = {}
    for (language, source, text), value in zip(held_out, nats, strict=True):
        for key in (source, language):
            total = sums.setdefault(key, [0.0, 0.0])
            total[0] += value / math.log(2)
            total[1] += len(text.encode())
    return {key: bits / size for key, (bits, size) in sorted(sums.items())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ASSETS, help="a Hugging Face directory")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    vocabulary = Vocabulary.from_directory(arguments.model)
    held_out = [(lang, *d) for lang in ("zh", "en") for d in read_documents(WORK / f"heldout_{lang}.jsonl")]
    trained = [text for lang in ("zh", "en") for _, text in read_documents(WORK / f"train_{lang}.jsonl")]
    train_ids, held_ids = encode(vocabulary, trained), encode(vocabulary, [text for _, _, text in held_out])

    results: dict[str, dict[str, float]] = {}
    for order in ORDERS:
        model = NgramModel.count(train_ids, vocabulary_size=vocabulary.size, order=order)
        results[f"{order}-gram"] = by_source(held_out, [-float(model.score(ids).sum()) for ids in held_ids])
    began = time.perf_counter()
    nano = LlamaForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    results["nano"] = by_source(held_out, model_nats(nano, held_ids, vocabulary.id_of(END_OF_TEXT)))
    report = {
        "bits_per_byte": results,
        "train_tokens": sum(map(len, train_ids)),
        "train_bytes": sum(len(text.encode()) for text in trained),
        "heldout_tokens": sum(map(len, held_ids)),
        "nano_seconds": round(time.perf_counter() - began, 1),
    }
    if arguments.json:
        print(json.dumps(report))
    else:
        print(f"trained on {report['train_tokens']:,} tokens; held out {report['heldout_tokens']:,} tokens")
        keys = list(results["nano"])
        print("| model | " + " | ".join(keys) + " |\n|---" * 1 + "|---" * len(keys) + "|")
        for name, row in results.items():
            print(f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in keys) + " |")
    return 0 if all(results["nano"][lang] < results["3-gram"][lang] for lang in ("zh", "en")) else 1


if __name__ == "__main__":
    sys.exit(main())
