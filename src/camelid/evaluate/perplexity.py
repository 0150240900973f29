"""Perplexity and bits per byte of running text.

No model is known here: `logprob(text)` gives the summed natural logarithm of the probabilities of the tokens of one
text, and how many tokens were predicted (each once). Bits per byte divide by the text's UTF-8 length and not by its
tokens, so that models with different vocabularies can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources

from camelid.errors import UserError


@dataclass(frozen=True, slots=True)
class TextScore:
    """Sums over all texts, and what follows from them."""

    tokens: int  # predicted tokens
    nats: float  # minus the summed natural log-probability
    utf8_bytes: int  # of the whole texts

    @property
    def perplexity(self) -> float:
        return math.exp(self.nats / self.tokens)

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.utf8_bytes


def perplexity(logprob: Callable[[str], tuple[float, int]], texts: Iterable[str]) -> TextScore:
    """The score of all texts together: a long text weighs more than a short one.

    `logprob` may leave out the first token of a text (where a model has no start token), but no other one.
    UserError: no token at all. ValueError: a sum above zero or not finite, which no probability gives.
    """
    tokens, nats, utf8_bytes = 0, 0.0, 0
    for text in texts:
        log_probability, predicted = logprob(text)
        if not math.isfinite(log_probability) or log_probability > 1e-6 * max(1, predicted):
            raise ValueError(f"a text's log-probability is {log_probability}: {text[:60]!r}")
        tokens, nats, utf8_bytes = tokens + predicted, nats - log_probability, utf8_bytes + len(text.encode())
    if tokens == 0:
        raise UserError("no text to measure perplexity on", mend="give at least one text of two tokens or more")
    return TextScore(tokens, nats, utf8_bytes)


def heldout_texts(language: str) -> list[str]:
    """The shipped general text that nothing is ever trained on: passages of Wikipedia, `en` or `zh`."""
    folder = resources.files("camelid") / "assets" / "general"
    return (folder / f"heldout_{language}.txt").read_text("utf-8").splitlines()
