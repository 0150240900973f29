"""What a run computes, known from the data and the tokenizer alone: its steps, and the rows that packing makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camelid.config import Recipe
from camelid.data.pack import Row, learnt_tokens, pack_step
from camelid.train.data import TrainingData

_STEPS = 200  # looked at; of more, these are drawn evenly


@dataclass(frozen=True)
class Workload:
    """steps: of the whole run. rows: those of the steps that were looked at, the longest first; seen: how many steps

    tokens: of the whole run, useful (of the separate examples), computed and trained; lengths: different row lengths
    """

    steps: int
    seen: int
    rows: list[Row]
    several: bool  # some step has more than one row
    useful: float
    computed: float
    trained: float
    lengths: int
    held_out: int  # tokens of one evaluation


def workload(recipe: Recipe, data: TrainingData, layout: str) -> Workload:
    """Pack as the loop does, over every step or an even sample of them."""
    total = data.schedule.total_steps
    chosen = np.unique(np.linspace(0, total - 1, min(total, _STEPS)).round().astype(int)).tolist()
    rows: list[Row] = []
    several, useful = False, 0
    for step in chosen:
        examples = data.of_step(step)
        packed = pack_step(examples, recipe.row_tokens, share=layout == "tree")
        rows += packed
        several = several or len(packed) > 1
        useful += sum(len(example.ids) for example in examples)
    scale = total / len(chosen)
    rows.sort(key=lambda row: -len(row.tree))
    held = data.evaluation(recipe.max_eval_examples)
    return Workload(
        steps=total,
        seen=len(chosen),
        rows=rows,
        several=several,
        useful=useful * scale,
        computed=sum(len(row.tree) for row in rows) * scale,
        trained=learnt_tokens(rows) * scale,
        lengths=len({len(row.tree) for row in rows}),
        held_out=sum(len(example.ids) for example in held),
    )


def sample_of(rows: list[Row], count: int) -> list[Row]:
    """`count` rows spread over all lengths."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))
    return [rows[place] for place in places.tolist()]
