"""Conversations to token ids, once, for training, evaluation, chat and serving alike.

template.pieces (who wrote which characters) -> Encoder (ids; text never becomes a control token) -> cut.fit (length).
The same path makes training examples and prompts, so the prompt at chat time is a prefix of the ids in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from camelid.data.cut import Cut, Rendered, Row, fit
from camelid.data.encode import Encoded, Encoder
from camelid.data.records import EXCERPT_LENGTH, Conversation, Message, Origin, Rejection, Text
from camelid.data.templates.base import Piece, RowFault, Template, TrainOn
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

__all__ = ["Cut", "Rendered", "Renderer", "TrainOn"]


class Renderer:
    """One vocabulary, one template, one maximal length.

    `on_reject` hears of every row that is rejected (pass `ledger.reject`); without it a bad row raises UserError.
    `stop_ids`: the ids at which an answer ends, the template's own end token first.
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
        if max_length < 2:
            raise UserError(f"max_length is {max_length}: a target needs a token before it", mend="at least 2")
        self.vocabulary, self.template = vocabulary, template
        self.max_length, self.on_reject = max_length, on_reject
        self.train_on: TrainOn = train_on
        self.cut: Cut = cut
        self._encoder = Encoder(vocabulary, template.literals)
        ends = [self._encoder.control[token] for token in template.end_tokens]
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys([*ends, *vocabulary.eos_ids]))

    # -- training ------------------------------------------------------------------------------------------------

    def render(self, conversation: Conversation) -> list[Rendered]:
        """The examples of one conversation: none if it is rejected, several if it is split."""
        return self.render_batch([conversation])[0]

    def render_batch(self, conversations: Sequence[Conversation]) -> list[list[Rendered]]:
        """`render` for many at once, with one encode call; batches of about 1,000 are fast and small."""
        pieces = self.template.pieces_batch(conversations, train_on=self.train_on)
        encoded = iter(self._encoder.encode_batch([row for row in pieces if not isinstance(row, RowFault)]))
        results = []
        for conversation, row in zip(conversations, pieces, strict=True):
            try:
                if isinstance(row, RowFault):
                    raise row
                code = next(encoded)
                if isinstance(code, RowFault):
                    raise code
                whole = _row(row, code)
                results.append(fit(conversation, whole, self.max_length, self.cut, self.train_on, self._whole))
            except RowFault as fault:
                results.append(self._rejected(conversation.origin, str(fault), _texts(conversation.messages)))
        return results

    def _whole(self, conversation: Conversation) -> Row:
        pieces = self.template.pieces(conversation, train_on=self.train_on)
        return _row(pieces, self._encoder.encode(pieces))

    def _rejected(self, origin: Origin, reason: str, text: str) -> list[Rendered]:
        if self.on_reject is None:
            raise UserError(reason, where=f"{origin.file}:{origin.line}")
        self.on_reject(Rejection(origin.file, origin.line, reason, text[:EXCERPT_LENGTH]))
        return []

    def render_text(self, text: Text) -> list[Rendered]:
        """Running text, everything trained: bos where the tokenizer's convention says so, the text, eos.

        A long text is cut into windows that share one token, the context of the next window's first target: each
        token but the first is a target exactly once, and none is lost.
        """
        ends = [(self.vocabulary.leading_bos, "template"), (text.text, "content"), (self.vocabulary.eos, "template")]
        try:
            ids = self._encoder.encode([Piece(t, kind, True, 0) for t, kind in ends if t]).ids
            if len(ids) < 2:
                raise RowFault("no text")
        except RowFault as fault:
            return self._rejected(text.origin, str(fault), text.text)
        step = self.max_length - 1
        windows = [ids[start : start + self.max_length] for start in range(0, len(ids) - 1, step)]
        return [Rendered(w, np.arange(len(w)) > 0, 0, np.zeros(len(w), dtype=np.int32)) for w in windows]

    # -- generation ----------------------------------------------------------------------------------------------

    def prompt(self, conversation: Conversation) -> np.ndarray:
        """(T,) int32: the ids up to and including the generation prompt, whatever their number.

        Raises UserError where the template refuses the conversation.
        """
        try:
            pieces = self.template.pieces(conversation, add_generation_prompt=True)
            return self._encoder.encode(pieces).ids
        except RowFault as fault:
            raise UserError(str(fault), where=f"{conversation.origin.file}:{conversation.origin.line}") from fault

    def opening(self, text: Text) -> np.ndarray:
        """(T,) int32: running text that is to be continued, behind bos where the tokenizer's convention says so.

        Raises UserError for text that gives no ids.
        """
        bos = self.vocabulary.leading_bos
        pieces = [Piece(bos, "template", False, 0)] if bos else []
        pieces += [Piece(text.text, "content", False, 0)] if text.text else []
        try:
            ids = self._encoder.encode(pieces).ids if pieces else np.zeros(0, np.int32)
        except RowFault as fault:
            raise UserError(str(fault), where=f"{text.origin.file}:{text.origin.line}") from fault
        if not len(ids):
            raise UserError(
                "the prompt is empty: there is nothing to continue", mend="begin with at least one character"
            )
        return ids

    def fitting_prompt(self, conversation: Conversation, max_length: int) -> tuple[np.ndarray, int]:
        """(prompt of at most `max_length` ids, number of messages left out): the oldest exchanges of a chat go first,
        the system message and the last question always stay. Raises UserError where those two do not fit."""
        messages = list(conversation.messages)
        head = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
        num_left_out = 0
        while True:
            ids = self.prompt(replace(conversation, messages=tuple(messages)))
            if len(ids) <= max_length:
                return ids, num_left_out
            following = [i for i in range(head + 1, len(messages)) if messages[i].role == "user"]
            if not following:
                what = f"the last question takes {len(ids)} tokens, and there is room for {max_length}"
                raise UserError(what, mend="shorten it, or allow fewer new tokens")
            num_left_out += following[0] - head
            del messages[head : following[0]]


def _texts(messages: Sequence[Message]) -> str:
    return " | ".join(message.content for message in messages)


def _row(pieces: Sequence[Piece], code: Encoded) -> Row:
    trained = np.array([p.trained for p in pieces])[code.piece]
    trained[:1] = False
    answer = np.array([p.answer for p in pieces])[code.piece]
    turns = np.array([p.turn for p in pieces], dtype=np.int32)[code.piece]
    return Row(code.ids, trained, answer, turns)
