"""Answers that obey a JSON schema: before each choice, tokens that would break it are ruled out (llguidance).

A schema alone does not end an answer: a small model can go on inside a string for ever. So the shortest way to a whole
answer is looked up while there is still room for it, and taken when there is only just room.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, final

import llguidance
import numpy as np
import torch
from torch import Tensor

from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

if TYPE_CHECKING:
    from llguidance import JsonCompileOptions

_LOOK_AHEAD = 128  # tokens before the end of its budget from which on an answer is made to close in time
# what ends a value soonest, in this order
_CLOSING = ('"}', '"]', '"', "}", "]", '",', ",", "0", "1", "null", "true", "a")
# as json.dumps writes: where any space may stand, a small model can write spaces for ever
_OPTIONS: JsonCompileOptions = {
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

    @property
    def done(self) -> bool:
        """The answer is whole and can only end."""
        return self._matcher.is_stopped()

    def restrict(self, logits_V: Tensor, remaining: int) -> None:
        """Rule out, in place, what breaks the schema or leaves no room to end in the `remaining` tokens."""
        allowed = self._allowed(self._matcher)
        if remaining <= _LOOK_AHEAD:
            way = self._way_out(remaining)
            if way and len(way) >= remaining:
                allowed = np.zeros(self._rows, bool)
                allowed[way[0]] = True
        logits_V.masked_fill_(torch.from_numpy(~allowed), -torch.inf)

    def accept(self, token: int) -> None:
        """`token` has been chosen. Raises RuntimeError where it was ruled out."""
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"a token broke the schema: {self._matcher.get_error()}")

    def _allowed(self, matcher: llguidance.LLMatcher) -> np.ndarray:
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        return np.unpackbits(bits, bitorder="little")[: self._rows].astype(bool)

    def _way_out(self, limit: int) -> list[int]:
        """A short way to a whole answer from here, of at most about `limit` tokens."""
        matcher, way = self._matcher.deep_copy(), []
        while not matcher.is_accepting() and not matcher.is_stopped() and len(way) <= limit:
            forced = matcher.compute_ff_tokens()
            if not forced:
                closing = next((token for token in self._closing if matcher.validate_tokens([token])), None)
                forced = [int(np.flatnonzero(self._allowed(matcher))[0])] if closing is None else [closing]
            matcher.consume_tokens(forced)
            way += forced
        return way
