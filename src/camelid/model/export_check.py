"""An exported model against the one in memory: tokens, logits, greedy answers, running text.

The artefact is run by its own runtime (llama.cpp, transformers), a `Runner`. Its greedy answer is read by our model in
one pass: ours would have answered the same if, after each of its tokens, our most probable next token is the one that
it chose. So the comparison needs no decoding loop of ours, and where answers part it knows by how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import nn

from camelid.model.bars import no_progress_bars
from camelid.model.llama_runtime import Answer

Logits = Callable[[Sequence[int]], np.ndarray]  # ids (T,) -> (T, V) float32


class Runner(Protocol):
    """An artefact in its own runtime."""

    def tokens(self, text: str) -> list[int]: ...

    def logits(self, ids: Sequence[int]) -> np.ndarray: ...

    def greedy(self, prompt: Sequence[int], limit: int, stop_ids: Collection[int]) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """One result: whether it is within its bound, a line for people, and the figures behind it."""

    name: str
    holds: bool
    detail: str
    figures: dict[str, Any] = field(default_factory=dict)


def model_logits(lm: nn.Module) -> Logits:
    """A model in memory as a function of ids; its ordinary attention, no gradients."""

    def logits(ids: Sequence[int]) -> np.ndarray:
        with torch.inference_mode():
            return cast("Any", lm)(input_ids=torch.tensor([list(ids)])).logits[0].float().numpy()

    return logits


def compare_tokens(
    strings: Sequence[str], ours: Callable[[str], Sequence[int]], theirs: Callable[[str], Sequence[int]], what: str
) -> Comparison:
    """The ids of every string, one by one."""
    different = [text for text in strings if list(ours(text)) != list(theirs(text))]
    detail = f"{len(strings) - len(different):,} of {len(strings):,} strings give the same tokens"
    if different:
        detail += f"; first other: {different[0][:60]!r}"
    return Comparison(what, not different, detail, {"strings": len(strings), "different": len(different)})


@dataclass(slots=True)
class Parting:
    """Where two greedy answers part: `margin` = how much we prefer our own token to theirs, in logits."""

    prompt: int
    place: int
    margin: float


@dataclass(slots=True)
class AnswerReport:
    """Greedy answers of the artefact as our model reads them."""

    prompts: int = 0
    tokens: int = 0
    largest: float = 0.0  # difference of a logit, over all choices up to where answers part
    scale: float = 0.0  # our largest logit
    squared: float = 0.0
    values: int = 0
    partings: list[Parting] = field(default_factory=list)

    @property
    def identical(self) -> int:
        return self.prompts - len(self.partings)

    @property
    def relative(self) -> float:
        """The largest difference as a share of our largest logit."""
        return self.largest / self.scale if self.scale else 0.0

    @property
    def root_mean_square(self) -> float:
        return math.sqrt(self.squared / self.values) if self.values else 0.0

    def figures(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "prompts": self.prompts,
            "identical": self.identical,
            "tokens": self.tokens,
            "largest_logit_difference": self.largest,
            "relative_to_the_largest_logit": self.relative,
            "root_mean_square_logit_difference": self.root_mean_square,
            "margins_where_answers_part": [parting.margin for parting in self.partings],
        }


def read_answers(prompts: Sequence[Sequence[int]], answers: Iterable[Answer], ours: Logits) -> AnswerReport:
    """Compare the artefact's answers, and its logits at each choice, with what our model says there.

    The answers may come one at a time: their logits take a megabyte a token with a large vocabulary.
    """
    report = AnswerReport(prompts=len(prompts))
    for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        chosen = [*answer.ids] if answer.ended_by is None else [*answer.ids, answer.ended_by]
        rows = ours([*prompt, *answer.ids])[len(prompt) - 1 :][: len(chosen)]
        wrong = np.flatnonzero(rows.argmax(1) != np.array(chosen))
        compared = len(chosen) if not len(wrong) else int(wrong[0]) + 1
        gap = np.abs(rows[:compared, : answer.logits.shape[1]] - answer.logits[:compared, : rows.shape[1]])
        report.tokens += len(chosen)
        report.largest = max(report.largest, float(gap.max()))
        report.scale = max(report.scale, float(np.abs(rows[:compared]).max()))
        report.squared += float(np.square(gap, dtype=np.float64).sum())
        report.values += gap.size
        if len(wrong):
            place = int(wrong[0])
            margin = float(rows[place].max() - rows[place, chosen[place]])
            report.partings.append(Parting(index, place, margin))
    return report


def judge_answers(report: AnswerReport, bound: float, what: str, against: str) -> list[Comparison]:
    """Logits within `bound`, a share of the largest; answers that part nowhere but at near ties.

    A near tie: our two candidates are closer than twice the bound, so that logits within it may order them either way.
    """
    real = [parting for parting in report.partings if parting.margin > 2 * bound * report.scale]
    detail = f"{report.identical} of {report.prompts} greedy answers are identical ({report.tokens:,} tokens)"
    if report.partings:
        widest = max(parting.margin for parting in report.partings)
        detail += f"; the others part where our first two tokens are {widest:.1e} apart or less"
    return [
        Comparison(
            f"{what}: logits",
            report.relative <= bound,
            f"differ from {against} by at most {report.largest:.1e} (root mean square {report.root_mean_square:.1e}), "
            f"{report.relative:.1e} of the largest logit, bound {bound:.0e}",
            report.figures(),
        ),
        Comparison(f"{what}: greedy answers", not real, detail, report.figures()),
    ]


def judge_right(before: Sequence[bool], after: Sequence[bool], share: float) -> Comparison:
    """Answers to the same questions that are right before and after weights are rounded: `share` of them may be lost.

    A rounded model parts from the other at near ties, for better or worse, so beyond the share two standard deviations
    of that chance are allowed: of n answers that changed sides, sqrt(n).
    """
    lost = sum(was and not now for was, now in zip(before, after, strict=True))
    gained = sum(now and not was for was, now in zip(before, after, strict=True))
    detail = f"{sum(before)} of {len(before)} prompts were answered rightly, {sum(after)} are now"
    figures = {"before": sum(before), "after": sum(after), "lost": lost, "gained": gained, "asked": len(before)}
    passed = lost - gained <= share * sum(before) + 2 * math.sqrt(lost + gained)
    return Comparison("right answers", passed, detail, figures)


def log_probability(logits: Logits, ids: Sequence[int], bos: int | None, window: int) -> tuple[float, int]:
    """(summed log-probability in nats, predicted tokens) of running text, cut into windows of `window` tokens.

    Each begins with bos where the tokenizer's convention says so; else its first token is given, not predicted.
    """
    head = [] if bos is None else [bos]
    total, predicted = 0.0, 0
    for start in range(0, len(ids), window):
        part = [*head, *ids[start : start + window]]
        if len(part) < 2:
            continue
        rows = logits(part)
        for row, label in zip(rows, part[1:], strict=False):  # nothing follows the last row
            shifted = row - row.max()
            total += float(shifted[label]) - math.log(float(np.exp(shifted).sum(dtype=np.float64)))
        predicted += len(part) - 1
    return total, predicted


class TransformersRunner:
    """A Hugging Face directory in transformers, as anyone would load it; float32."""

    def __init__(self, directory: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        with no_progress_bars():
            model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True)
        self.model = model.eval()
        self._logits = model_logits(self.model)

    def tokens(self, text: str) -> list[int]:
        """The ids of a user's text: no bos, and control tokens that it spells stay text."""
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """(T, V) float32."""
        return self._logits(ids)

    def greedy(self, prompt: Sequence[int], limit: int, stop_ids: Collection[int]) -> Answer:
        """transformers' own `generate`, with the generation settings of the directory."""
        ids = torch.tensor([list(prompt)])
        out = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=limit,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        rows = np.stack([row[0].float().numpy() for row in out.logits])
        chosen = out.sequences[0, len(prompt) :].tolist()
        if chosen and chosen[-1] in stop_ids:
            return Answer(tuple(chosen[:-1]), chosen[-1], rows)
        return Answer(tuple(chosen), None, rows)
