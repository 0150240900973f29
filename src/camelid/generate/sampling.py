"""Choose the next token from logits. Each answer has its own seeded generator, so a batch does not change it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from camelid.generate.base import Sampling


class Sampler:
    """Greedy at temperature 0; otherwise temperature, then top-k, then top-p (nucleus, Holtzman et al. 2020)."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = torch.Generator().manual_seed(sampling.seed)

    def choose(self, logits_V: Tensor, prompt: np.ndarray, answer: list[int]) -> int:
        """The next token's id."""
        s = self._sampling
        if s.repetition_penalty != 1:
            seen = torch.tensor(sorted({*prompt.tolist(), *answer}), device=logits_V.device)
            scores = logits_V[seen]
            penalised = torch.where(scores > 0, scores / s.repetition_penalty, scores * s.repetition_penalty)
            logits_V = logits_V.index_copy(0, seen, penalised)
        if s.temperature == 0:
            return int(logits_V.argmax())
        logits = logits_V.cpu() / s.temperature
        if s.top_k:
            least = logits.topk(min(s.top_k, len(logits))).values[-1]
            logits = logits.masked_fill(logits < least, -torch.inf)
        probs, order = torch.softmax(logits, -1).sort(descending=True)
        if s.top_p < 1:
            # a token stays if what stands before it does not reach top_p yet; the first always stays
            probs = probs.masked_fill(probs.cumsum(0) - probs >= s.top_p, 0)
        return int(order[torch.multinomial(probs, 1, generator=self._random)])
