"""How well a model tells classes apart: accuracy, F1, Matthews' correlation; entities by the rules of seqeval.

Shape legend: N texts, C classes, W words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from camelid.data.pack import EVALUATION_ROW_TOKENS, Example, pack_step
from camelid.data.tasks.schemes import OUTSIDE, entities
from camelid.model.class_head import class_logits
from camelid.model.layout import hidden_states
from camelid.model.task_info import TaskInfo
from camelid.runs.interval import Share

RESAMPLES = 1000  # of the bootstrap


@dataclass(frozen=True)
class ClassScore:
    """Scores of a classifier on N texts. interval: of the accuracy, at 95%."""

    texts: int
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    matthews: float
    by_class: dict[str, dict[str, float]]  # precision, recall, f1, support

    main: str = "accuracy"

    def __str__(self) -> str:
        share = Share(round(self.accuracy * self.texts), self.texts)
        return f"accuracy {share}, macro F1 {self.macro_f1:.3f}, Matthews {self.matthews:.3f}"


@dataclass(frozen=True)
class TagScore:
    """Scores of a tagger on N sentences, over whole entities. interval: of the F1, at 95%, by bootstrap."""

    texts: int
    precision: float
    recall: float
    f1: float
    interval: tuple[float, float]
    word_accuracy: float
    by_class: dict[str, dict[str, float]]

    main: str = "entity F1"

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"entity F1 {self.f1:.3f} [{low:.3f}, {high:.3f}], precision {self.precision:.3f}, "
            f"recall {self.recall:.3f}, {self.word_accuracy:.1%} of the words"
        )


@torch.no_grad()
def predict(
    model: nn.Module,
    examples: Sequence[Example],
    layout: str,
    *,
    row_tokens: int = EVALUATION_ROW_TOKENS,
    autocast: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> list[np.ndarray]:
    """The likeliest class at each place of each example that has one, (M,) int64 by example.

    autocast: weights that are kept in float32 are cast to bfloat16 for the products, as in training
    """
    numbered = [Example(e.ids, e.weight, i, e.cut, labels=e.labels) for i, e in enumerate(examples)]
    room = max([row_tokens, *(len(e.ids) for e in numbered)])
    found: list[np.ndarray] = [np.empty(0, np.int64)] * len(examples)
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    done = 0
    for row in pack_step(numbered, room, share=layout == "tree"):
        assert row.classes is not None
        with torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext():
            hidden = hidden_states(model, row.tree, layout)
        nodes = torch.from_numpy(row.classes.nodes).to(device)
        chosen = class_logits(model, hidden, nodes).argmax(-1).cpu().numpy()
        start = 0
        for source in row.sources:
            count = int(np.count_nonzero(_labels(numbered[source]) >= 0))
            found[source] = chosen[start : start + count]
            start += count
        done += len(row.sources)
        progress(done)
    model.train(was_training)
    return found


def score(info: TaskInfo, examples: Sequence[Example], predicted: Sequence[np.ndarray]) -> ClassScore | TagScore:
    """Compare predictions with the examples' own classes. Words that were cut off count as outside of any entity."""
    truth = [_labels(e)[_labels(e) >= 0] for e in examples]
    if info.task == "tag":
        names = np.array(info.labels)
        return score_tags([names[t].tolist() for t in truth], [names[p].tolist() for p in predicted])
    return score_classes(np.concatenate(truth), np.concatenate(list(predicted)), info.labels)


def score_classes(truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str]) -> ClassScore:
    """truth and predicted: (N,) numbers of classes."""
    table = np.zeros((len(labels), len(labels)), np.int64)  # [true, predicted]
    np.add.at(table, (truth, predicted), 1)
    right, total = int(np.trace(table)), int(table.sum())
    by_class = {
        name: _figures(int(table[i, i]), int(table[:, i].sum()), int(table[i].sum())) for i, name in enumerate(labels)
    }
    present = [f["f1"] for name, f in by_class.items() if f["support"] or f["predicted"]]
    # Matthews' correlation for C classes (Gorodkin 2004)
    t, p = table.sum(1).astype(float), table.sum(0).astype(float)
    below = np.sqrt(float(total**2 - p @ p) * float(total**2 - t @ t))
    matthews = (right * total - float(t @ p)) / below if below else 0.0
    share = Share(right, total)
    return ClassScore(total, share.value, share.interval, float(np.mean(present)), matthews, by_class)


def score_tags(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> TagScore:
    """By sentence, tags of any scheme; precision, recall and F1 over entities of all types (micro), as seqeval does."""
    pairs, words, same = [], 0, 0
    for wanted, given in zip(truth, predicted, strict=True):
        given = [*given, *[OUTSIDE] * (len(wanted) - len(given))]
        pairs.append((set(entities(wanted)), set(entities(given))))
        words += len(wanted)
        same += sum(a == b for a, b in zip(wanted, given, strict=True))
    return score_spans(pairs, words=words, same=same)


def score_spans(pairs: Sequence[tuple[set[Any], set[Any]]], *, words: int, same: int) -> TagScore:
    """By sentence the true entities and those that were found, as tuples that begin with their type.

    words, same: words in all, and those with the right tag
    """
    counts: list[tuple[int, int, int]] = []  # by sentence: right, predicted, true
    kinds: dict[str, Counter[str]] = {}
    for true, made in pairs:
        counts.append((len(true & made), len(made), len(true)))
        for name, group in (("right", true & made), ("predicted", made), ("support", true)):
            for kind, *_ in group:
                kinds.setdefault(kind, Counter())[name] += 1
    by_sentence = np.array(counts, np.int64).reshape(-1, 3)
    right, made, true = by_sentence.sum(0).tolist()
    overall = _figures(right, made, true)
    # resampling sentences with replacement, the seed fixed: the same answers have the same interval
    drawn = np.random.default_rng(0).integers(len(by_sentence), size=(RESAMPLES, len(by_sentence)))
    sums = by_sentence[drawn].sum(1)
    f1 = 2 * sums[:, 0] / np.maximum(sums[:, 1] + sums[:, 2], 1)
    low, high = np.quantile(f1, (0.025, 0.975)).tolist()
    by_class = {kind: _figures(c["right"], c["predicted"], c["support"]) for kind, c in sorted(kinds.items())}
    accuracy = same / words if words else 0.0
    precision, recall = overall["precision"], overall["recall"]
    return TagScore(len(by_sentence), precision, recall, overall["f1"], (low, high), accuracy, by_class)


def _figures(right: int, predicted: int, true: int) -> dict[str, float]:
    return {
        "precision": right / predicted if predicted else 0.0,
        "recall": right / true if true else 0.0,
        "f1": 2 * right / (predicted + true) if predicted + true else 0.0,
        "support": true,
        "predicted": predicted,
    }


def _labels(example: Example) -> Any:
    assert example.labels is not None
    return example.labels
