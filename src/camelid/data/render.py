"""Conversations to token ids, once, for training, evaluation, chat and serving alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from camelid.data.encode import Encoded, Encoder
from camelid.data.records import EXCERPT_LENGTH, Conversation, Rejection, Text
from camelid.data.templates.base import Piece, RowFault, Template, TrainOn
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

Cut = Literal["split", "drop", "left"]


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """One training example. `trained[t]` says that token t is a target; `turns[t]` is the index, in the conversation
    as it came, of the message it belongs to (-1 = the template's preamble)."""

    ids: np.ndarray  # (T,) int32
    trained: np.ndarray  # (T,) bool; position 0 is never trained: nothing stands before it
    cut: int  # tokens of the conversation that are not here nor in another part of it
    turns: np.ndarray  # (T,) int32
    dropped: tuple[int, ...] = ()  # messages left out whole (their tokens are counted in `cut`)


class Renderer:
    """One vocabulary, one template, one maximal length.

    `on_reject` hears of every row that is rejected (pass `ledger.reject`); without it a bad row raises UserError.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        template: Template,
        max_length: int,
        train_on: TrainOn = "all",
        cut: Cut = "split",
        on_reject: Callable[[Rejection], None] | None = None,
    ) -> None:
        self.vocabulary, self.template = vocabulary, template
        self.max_length, self.on_reject = max_length, on_reject
        self.train_on: TrainOn = train_on
        self.cut: Cut = cut
        self._encoder = Encoder(vocabulary, template.literals)
        ends = [self._encoder.control[t] for t in template.end_tokens if t in self._encoder.control]
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys([*ends, *vocabulary.eos_ids]))

    def render(self, conversation: Conversation) -> list[Rendered]:
        return self.render_batch([conversation])[0]

    def render_batch(self, conversations: Sequence[Conversation]) -> list[list[Rendered]]:
        """One encode call for the batch. A rejected conversation gives []."""
        pieces = self.template.pieces_batch(conversations, train_on=self.train_on)
        encoded = iter(self._encoder.encode_batch([p for p in pieces if not isinstance(p, RowFault)]))
        results: list[list[Rendered]] = []
        for conversation, row in zip(conversations, pieces, strict=True):
            code = row if isinstance(row, RowFault) else next(encoded)
            if isinstance(row, RowFault) or isinstance(code, RowFault):
                results.append(self._rejected(conversation, str(row if isinstance(row, RowFault) else code)))
                continue
            results.append(self._fitted(conversation, row, code))
        return results

    def _fitted(self, conversation: Conversation, pieces: list[Piece], code: Encoded) -> list[Rendered]:
        whole = _rendered(pieces, code)
        if len(whole.ids) > self.max_length:
            return self._rejected(conversation, f"{len(whole.ids)} tokens, more than max_length {self.max_length}")
        if not whole.trained.any():
            return self._rejected(conversation, "no token to learn: no assistant turn with text")
        return [whole]

    def _rejected(self, conversation: Conversation, reason: str) -> list[Rendered]:
        origin = conversation.origin
        if self.on_reject is None:
            raise UserError(reason, where=f"{origin.file}:{origin.line}")
        excerpt = " | ".join(m.content for m in conversation.messages)[:EXCERPT_LENGTH]
        self.on_reject(Rejection(origin.file, origin.line, reason, excerpt))
        return []

    def prompt(self, conversation: Conversation) -> np.ndarray:
        """(T,) int32: the ids up to and including the generation prompt. Raises UserError."""
        origin = conversation.origin
        try:
            pieces = self.template.pieces(conversation, add_generation_prompt=True)
            return self._encoder.encode(pieces).ids
        except RowFault as fault:
            raise UserError(str(fault), where=f"{origin.file}:{origin.line}") from fault

    def render_text(self, text: Text) -> list[Rendered]:
        """Everything trained, bos first where the tokenizer's convention says so, eos last. A long text is cut into
        windows that share one token, the context of the first target: each token but the first is a target once."""
        bos = self.vocabulary.bos if self.vocabulary.adds_bos else None
        pieces = [Piece(token, "template", True) for token in (bos,) if token]
        pieces.append(Piece(text.text, "content", True))
        pieces += [Piece(token, "template", True) for token in (self.vocabulary.eos,) if token]
        try:
            ids = self._encoder.encode(pieces).ids
        except RowFault as fault:
            return self._rejected_text(text, str(fault))
        if len(ids) < 2:
            return self._rejected_text(text, "no text")
        step = self.max_length - 1
        windows = [ids[i : i + self.max_length] for i in range(0, len(ids) - 1, step)]
        return [Rendered(w, np.arange(len(w)) > 0, 0, np.zeros(len(w), dtype=np.int32)) for w in windows]

    def _rejected_text(self, text: Text, reason: str) -> list[Rendered]:
        if self.on_reject is None:
            raise UserError(reason, where=f"{text.origin.file}:{text.origin.line}")
        self.on_reject(Rejection(text.origin.file, text.origin.line, reason, text.text[:EXCERPT_LENGTH]))
        return []


def _rendered(pieces: Sequence[Piece], code: Encoded) -> Rendered:
    trained = np.array([p.trained for p in pieces], dtype=bool)[code.piece]
    trained[:1] = False
    turns = np.array([p.turn for p in pieces], dtype=np.int32)[code.piece]
    return Rendered(code.ids, trained, 0, turns)
