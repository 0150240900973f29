"""How well a model tells classes apart by answering: label words by their probability, JSON as it is written.

* words: of each text the class whose answer is the likeliest, end of the turn included; exact, nothing is generated.
  One token tree holds a question once, and each class as a branch of it.
* json: the answer is generated greedily and obeys a JSON schema. Entities are counted as (type, text), without regard
  to where the text stands: the second mention of a name is another one than the first. Their places, for tags, are the
  first words that read so and that no mention before took.

The measures are those of classifiers and taggers with a head, so that the two stand side by side.
Shape legend: N texts, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from camelid.data.pack import EVALUATION_ROW_TOKENS, pack_step
from camelid.data.tasks.asking import Asker
from camelid.data.tasks.entities import Mention, mentions, numbered, tags_of
from camelid.data.tasks.records import Classified, Tagged, TaskRecord
from camelid.evaluate.tasks import ClassScore, TagScore, score_classes, score_spans
from camelid.generate.base import Sampling
from camelid.generate.local import LiveGenerator
from camelid.model.layout import edges_of, hidden_states

ROWS_AT_ONCE = 64
_MOST_NEW = 512  # tokens of an answer in JSON


@dataclass(frozen=True)
class Answered:
    """What was said of each record: the class (None: an answer that names none), or the entities."""

    labels: list[str | None]
    mentions: list[list[Mention]]

    def as_rows(self, records: Sequence[TaskRecord]) -> list[Any]:
        """By record the class, or the tags of its words."""
        if self.mentions:
            return [tags_of(r, m) for r, m in zip(records, self.mentions, strict=True) if isinstance(r, Tagged)]
        return list(self.labels)


def answer_records(
    model: nn.Module,
    asker: Asker,
    records: Sequence[TaskRecord],
    layout: str,
    *,
    row_tokens: int = EVALUATION_ROW_TOKENS,
    autocast: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Answered:
    """Ask about every record, in the asker's form."""
    labels: list[str | None] = []
    found: list[list[Mention]] = []
    for start in range(0, len(records), ROWS_AT_ONCE):
        some = records[start : start + ROWS_AT_ONCE]
        if asker.form == "words":
            logp = class_logprobs(model, asker, some, layout, row_tokens=row_tokens, autocast=autocast)
            labels += [asker.labels[i] for i in logp.argmax(1).tolist()]
        else:
            answers = _in_json(model, asker, some, layout)
            if asker.task == "tag":
                found += [asker.read_mentions(answer) for answer in answers]
            else:
                labels += [asker.read_label(answer) for answer in answers]
        progress(len(some))
    return Answered(labels, found)


@torch.no_grad()
def class_logprobs(
    model: nn.Module,
    asker: Asker,
    records: Sequence[TaskRecord],
    layout: str,
    *,
    row_tokens: int = EVALUATION_ROW_TOKENS,
    autocast: bool = False,
) -> np.ndarray:
    """(N, C) float64: log-probability in nats of each class as the answer to each record's question."""
    examples = asker.choices(records)
    device, was_training = next(model.parameters()).device, model.training
    total = np.zeros(len(examples))
    model.eval()
    for row in pack_step(examples, max([row_tokens, *(len(e.ids) for e in examples)]), share=layout == "tree"):
        with torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext():
            out = edges_of(model, hidden_states(model, row.tree, layout), row.tree)
        # an edge by its child: parents are sorted, so edges are too but where a parent has several
        edges = row.tree.trained_edges()
        order = np.argsort(row.tree.parent[edges], kind="stable")
        logp = np.zeros(len(row.tree))
        logp[edges[order]] = out.logp.double().cpu().numpy()
        for leaf, source in zip(row.tree.leaves, row.sources, strict=True):
            answer = examples[source].weight > 0
            total[source] = logp[row.tree.path(int(leaf))][answer].sum()
    model.train(was_training)
    return total.reshape(len(records), len(asker.labels))


def score_answered(asker: Asker, records: Sequence[TaskRecord], said: Answered) -> ClassScore | TagScore:
    """Compare what was said with the records."""
    if asker.task == "tag":
        tagged = [record for record in records if isinstance(record, Tagged)]
        pairs = [
            (numbered(mentions(record)), numbered(found)) for record, found in zip(tagged, said.mentions, strict=True)
        ]
        tags = [(record.tags, tags_of(record, found)) for record, found in zip(tagged, said.mentions, strict=True)]
        same = sum(a == b for wanted, given in tags for a, b in zip(wanted, given, strict=True))
        return score_spans(pairs, words=sum(len(wanted) for wanted, _ in tags), same=same)
    number = {label: i for i, label in enumerate(asker.labels)}
    truth = np.array([number[record.label] for record in records if isinstance(record, Classified)])
    # what names no class is a class of its own, which is never right
    found = np.array([number.get(label or "", len(number)) for label in said.labels])
    unread = (found == len(number)).any()
    return score_classes(truth, found, [*asker.labels, *(["(no class)"] if unread else [])])


def _in_json(model: nn.Module, asker: Asker, records: Sequence[TaskRecord], layout: str) -> list[str]:
    """Greedy answers that obey the schema. They may be twice as long as the text and a little more."""
    generator = LiveGenerator(model, asker.renderer, layout=layout)
    asked = [asker.question(record) for record in records]
    room = [min(_MOST_NEW, 64 + 2 * asker.tokens(record)) for record in records]
    samplings = [Sampling(max_new_tokens=limit, schema=asker.schema) for limit in room]
    return [completion.text for completion in generator.generate_each(asked, samplings)]
