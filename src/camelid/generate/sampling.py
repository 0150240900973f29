"""Choose next tokens from logits, for all answers of a step at once; each answer keeps its own random numbers.

Everything is computed row by row, so a row's choice depends on its logits, its sampling and its own random numbers.

Shape legend: n answers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from camelid.generate.base import Sampling

_LIKELIEST = 256  # tokens in which a nucleus is looked for before the whole vocabulary is sorted


@final
class Chooser:
    """The state of one answer's sampling: its random numbers and what its penalties count.

    prompt: (T,) ids; answer: which answer to the same prompt and seed
    """

    def __init__(self, sampling: Sampling, prompt: np.ndarray, answer: int) -> None:
        self.sampling = sampling
        # Philox counts: two keys give unrelated streams, whatever else is drawn (Salmon et al. 2011)
        self._random = np.random.Generator(np.random.Philox(key=np.array([sampling.seed % 2**64, answer], np.uint64)))
        self._seen = {int(i) for i in prompt} if sampling.repetition_penalty != 1 else None
        self._counts: dict[int, int] = {}

    def draw(self) -> float:
        """The next number in [0, 1)."""
        return self._random.random()

    def count(self, token: int) -> None:
        """`token` is now of the answer."""
        self._counts[token] = self._counts.get(token, 0) + 1
        if self._seen is not None:
            self._seen.add(token)

    def penalise(self, logits_V: Tensor) -> None:
        """Apply the penalties in place."""
        s = self.sampling
        if self._seen:
            seen = torch.tensor(sorted(self._seen))
            scores = logits_V[seen]
            logits_V[seen] = torch.where(scores > 0, scores / s.repetition_penalty, scores * s.repetition_penalty)
        if self._counts and (s.presence_penalty or s.frequency_penalty):
            tokens = torch.tensor(list(self._counts))
            counts = torch.tensor(list(self._counts.values()), dtype=logits_V.dtype)
            logits_V[tokens] -= s.presence_penalty + s.frequency_penalty * counts


def choose(logits_nV: Tensor, choosers: Sequence[Chooser]) -> list[int]:
    """The next token of each answer; logits already penalised and constrained. They are not changed."""
    chosen = [0] * len(choosers)
    greedy = [i for i, c in enumerate(choosers) if c.sampling.temperature == 0]
    if greedy:
        rows = logits_nV if len(greedy) == len(choosers) else logits_nV[greedy]
        for i, token in zip(greedy, rows.argmax(-1).tolist(), strict=True):
            chosen[i] = token
    for i, chooser in enumerate(choosers):
        if chooser.sampling.temperature > 0:
            chosen[i] = _sampled(logits_nV[i], chooser.sampling, chooser.draw())
    return chosen


def _sampled(logits_V: Tensor, sampling: Sampling, drawn: float) -> int:
    """The token at which the cumulative distribution reaches the drawn number."""
    scaled = logits_V / sampling.temperature
    if sampling.top_k == 0 and sampling.top_p == 1:
        odds = (scaled - scaled.max()).exp_().double()
        if sampling.min_p:
            odds[odds < sampling.min_p] = 0  # the likeliest token's odds are 1
        return _inverse(odds, drawn)
    total = scaled.logsumexp(-1)
    if sampling.top_k:
        values, tokens = scaled.topk(min(sampling.top_k, len(scaled)))
        total = values.logsumexp(-1)
    else:
        values, tokens = scaled.topk(min(_LIKELIEST, len(scaled)))
        if (values - total).exp_().sum() < sampling.top_p:
            values, tokens = scaled.sort(descending=True, stable=True)
    probs = (values - total).double().exp_()
    # a token stays if what stands before it does not reach top_p yet; the first always stays
    probs[1:][probs.cumsum(0)[:-1] >= sampling.top_p] = 0
    probs[probs < sampling.min_p * probs[0]] = 0
    return int(tokens[_inverse(probs, drawn)])


def _inverse(weights_V: Tensor, drawn: float) -> int:
    """The first index at which the sum of the weights passes `drawn` times their whole."""
    sums = weights_V.cumsum(0)
    at = int(torch.searchsorted(sums, float(sums[-1]) * drawn, right=True))
    if at >= len(weights_V) or weights_V[at] == 0:  # rounding at the very end
        return int(weights_V.nonzero()[-1])
    return at
