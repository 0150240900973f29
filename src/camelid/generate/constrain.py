"""Answers that obey a JSON schema: before each choice, tokens that would break it are ruled out (llguidance).

A schema alone does not end an answer: a small model can go on inside a string for ever. So near the end of its budget a
token is only taken if a short way to a whole answer still fits behind it; else the answer goes that way. An answer is
whole JSON therefore whenever the way from its beginning fits.
"""

from __future__ import annotations

import json
from typing import Any, final

import llguidance
import numpy as np
import torch
from torch import Tensor

from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

_LOOK_AHEAD = 128  # tokens beyond twice the first way out, from which on an answer is made to close in time
# what ends a value soonest, in this order
_CLOSING = ('"}', '"]', '"', "}", "]", '",', ",", "0", "1", "null", "true", "a")
# as json.dumps writes: where any space may stand, a small model can write spaces for ever
_OPTIONS: Any = {
    "item_separator": ", ",
    "key_separator": ": ",
    "whitespace_flexible": False,
    "coerce_one_of": True,
}


@final
class Grammars:
    """Makes constraints for one vocabulary; rows: of the model's logits (V may be more than the tokenizer has)."""

    def __init__(self, vocabulary: Vocabulary, rows: int, stop_ids: tuple[int, ...]) -> None:
        self._tokenizer = llguidance.LLTokenizer(
            vocabulary.backend.to_str(), n_vocab=rows, eos_token=list(stop_ids), slices=None
        )
        closing = [vocabulary.backend.encode(text, add_special_tokens=False).ids for text in _CLOSING]
        self._closing = [ids[0] for ids in closing if len(ids) == 1]
        self._rows = rows

    def utf8(self, token: int) -> bytes:
        """The bytes that a token stands for, which need not be whole characters."""
        return self._tokenizer.decode_bytes([token])

    def schema(self, schema: str) -> Constraint:
        """A constraint for one answer. Raises UserError for what is no schema, or one that cannot be kept to."""
        try:
            if not isinstance(json.loads(schema), dict | bool):
                raise ValueError("a schema is an object")
            grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, overrides=_OPTIONS)
        except (ValueError, RecursionError) as error:
            raise UserError(f"not a JSON schema: {error}") from None
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise UserError(f"this JSON schema cannot be kept to: {matcher.get_error().splitlines()[0][:300]}")
        return Constraint(matcher, self._rows, self._closing)


@final
class Constraint:
    """The state of one constrained answer."""

    def __init__(self, matcher: llguidance.LLMatcher, rows: int, closing: list[int]) -> None:
        self._matcher, self._rows, self._closing = matcher, rows, closing
        self._near = _LOOK_AHEAD + 2 * len(self._way_out(matcher, 1000))

    @property
    def done(self) -> bool:
        """The answer is whole and can only end."""
        return self._matcher.is_stopped()

    def restrict(self, logits_V: Tensor) -> None:
        """Rule out, in place, what breaks the schema."""
        logits_V.masked_fill_(torch.from_numpy(~self._allowed(self._matcher)), -torch.inf)

    def settle(self, token: int, remaining: int) -> int:
        """`token`, or another if that would leave no room to end in the `remaining` tokens, its own included."""
        if remaining > self._near:
            return token
        after = self._matcher.deep_copy()
        after.consume_token(token)
        if len(self._way_out(after, remaining)) < remaining:
            return token
        way = self._way_out(self._matcher, remaining)
        return way[0] if way else token

    def accept(self, token: int) -> None:
        """`token` has been chosen. Raises RuntimeError where it was ruled out."""
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"a token broke the schema: {self._matcher.get_error()}")

    def _allowed(self, matcher: llguidance.LLMatcher) -> np.ndarray:
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        return np.unpackbits(bits, bitorder="little")[: self._rows].astype(bool)

    def _way_out(self, matcher: llguidance.LLMatcher, limit: int) -> list[int]:
        """A short way to a whole answer from a state, looked for up to about `limit` tokens."""
        matcher, way = matcher.deep_copy(), []
        while not matcher.is_accepting() and not matcher.is_stopped() and len(way) <= limit:
            forced = matcher.compute_ff_tokens()
            if not forced:
                closing = next((token for token in self._closing if matcher.validate_tokens([token])), None)
                forced = [int(np.flatnonzero(self._allowed(matcher))[0])] if closing is None else [closing]
            matcher.consume_tokens(forced)
            way += forced
        return way
