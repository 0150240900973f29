"""Pieces to token ids: control tokens of the template become ids, text never does.

One encode call a conversation, on a private copy of the tokenizer in which

- every control token is flagged special and `encode_special_tokens` is on, so that a spelled `<|im_end|>` is text;
- a private *separator* stands for each control token, with the same stripping flags, and is replaced by the real id
  afterwards; one more, invisible, stands where an answer begins and ends, and is dropped afterwards. No token can
  straddle it, so the ids of the prompt at chat time are exactly the beginning of the ids in training;
- the blank that SentencePiece-style tokenizers put before each stretch of text is taken out and put in by us, where
  the original would have put it and not after an invisible separator.

The ids are those of `apply_chat_template` except where the original would have joined characters across the border of
prompt and answer into one token or merge (an answer that begins with a line break after a header that ends with one,
with byte-level tokenizers); there ours are what the model will really see when it answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer

from camelid.data.templates.base import Piece, RowFault
from camelid.data.vocabulary import Vocabulary

# A separator is one Unicode noncharacter, which no text should hold, and one character of plane 15 that numbers it.
# Text that does hold the noncharacter is encoded by another copy, with another one.
INTRODUCERS = [chr(c) for c in (*range(0xFDD0, 0xFDF0), 0xFFFE, 0xFFFF)]
_FIRST_NUMBER = 0xF0000
_BREAK_ROUNDS = 64  # times that a text may be cut to keep a control id out of it
_KEPT_LITERALS = 10_000
_LITERAL_LENGTH = 2_000  # characters; longer template text (tool descriptions) is not remembered


@dataclass(frozen=True, slots=True)
class Prefix:
    """What the tokenizer puts before a stretch of text (after a control token, or at the start): "" = nothing."""

    text: str = ""
    unless: tuple[str, ...] = ()  # not where the stretch begins with one of these


@dataclass(slots=True)
class Assembled:
    """One conversation as the private copy reads it; `starts[i]` is the first character of piece i."""

    text: str
    starts: list[int]
    introducer: str


@dataclass(frozen=True, slots=True)
class Encoded:
    ids: np.ndarray  # (T,) int32
    piece: np.ndarray  # (T,) int32: the piece that each token belongs to


class Encoder:
    """Encodes pieces over one vocabulary. `literals` is the template's own text (see `Template.literals`)."""

    def __init__(self, vocabulary: Vocabulary, literals: str = "") -> None:
        self.vocabulary = vocabulary
        spelled = [
            text
            for text in vocabulary.added
            if text in literals and not text.isspace() and text not in vocabulary.control
        ]
        self.control = {**vocabulary.control, **{text: vocabulary.id_of(text) for text in spelled}}
        self._numbers = {token: number for number, token in enumerate(self.control, start=1)}  # 0 is the invisible one
        self._pattern = re.compile("|".join(map(re.escape, sorted(self.control, key=len, reverse=True))) or "(?!)")
        self._strips_after = {t for t, added in vocabulary.added.items() if added.rstrip}
        self._source, self._prefix = _private_source(vocabulary.backend, self.control)
        self._copies: dict[str, Tokenizer] = {}
        self._literals: dict[str, list[tuple[bool, str]]] = {}
        self._copy(INTRODUCERS[0])
        # By id of the private copy: may text not become it; and the real id (-1: the invisible separator, dropped).
        self._forbidden = np.zeros(self._first_separator + 1 + len(self.control), dtype=bool)
        self._forbidden[list(self.control.values())] = True
        unknown = self.control.get(vocabulary.special.get("unk_token", ""))
        if unknown is not None:
            self._forbidden[unknown] = False  # what a tokenizer without bytes writes for any odd character
        self._real = np.array([*range(self._first_separator), -1, *self.control.values()], dtype=np.int32)

    def _copy(self, introducer: str) -> Tokenizer:
        if introducer not in self._copies:
            copy = Tokenizer.from_str(self._source)
            copy.encode_special_tokens = True
            self._first_separator = _next_id(copy, introducer)
            separators = [AddedToken(introducer + chr(_FIRST_NUMBER), normalized=False)]
            for token, number in self._numbers.items():
                added = self.vocabulary.added.get(token)
                flags = {"lstrip": added.lstrip, "rstrip": added.rstrip} if added is not None else {}
                separators.append(AddedToken(introducer + chr(_FIRST_NUMBER + number), normalized=False, **flags))
            copy.add_tokens(separators)  # at once: each call builds the tokenizer's trie anew (Gemma has 6,000 of them)
            last = copy.token_to_id(introducer + chr(_FIRST_NUMBER + len(self._numbers)))
            if last != self._first_separator + len(self._numbers):
                raise RuntimeError(f"the separators of {self.vocabulary.name} did not get the ids that follow its own")
            self._copies[introducer] = copy
        return self._copies[introducer]

    # -- assembling ----------------------------------------------------------------------------------------------

    def assemble(self, pieces: Sequence[Piece]) -> Assembled:
        """Raises RowFault where the text cannot be told from our separators."""
        introducer = INTRODUCERS[0]
        if any(introducer in piece.text for piece in pieces):
            held = set().union(*(piece.text for piece in pieces))
            free = [i for i in INTRODUCERS if i not in held]
            if not free:
                raise RowFault("the text holds every Unicode noncharacter: it is no text")
            introducer = free[0]
        writer = _Writer(introducer, self._prefix)
        answer = False
        for piece in pieces:
            if piece.answer is not answer:
                answer = piece.answer
                writer.invisible()
            writer.starts.append(writer.length)
            if piece.kind == "content":
                writer.words(piece.text)
            else:
                for is_control, text in self._parts(piece.text):
                    if is_control:
                        writer.control(self._numbers[text], text in self._strips_after)
                    else:
                        writer.words(text)
        return Assembled("".join(writer.parts), writer.starts, introducer)

    def _parts(self, literal: str) -> list[tuple[bool, str]]:
        """The literal cut at control tokens: (is a control token, text)."""
        known = self._literals.get(literal)
        if known is not None:
            return known
        parts, position = [], 0
        for match in self._pattern.finditer(literal):
            if match.start() > position:
                parts.append((False, literal[position : match.start()]))
            parts.append((True, match.group()))
            position = match.end()
        if position < len(literal):
            parts.append((False, literal[position:]))
        if len(literal) <= _LITERAL_LENGTH and len(self._literals) < _KEPT_LITERALS:
            self._literals[literal] = parts
        return parts

    # -- encoding ------------------------------------------------------------------------------------------------

    def encode(self, pieces: Sequence[Piece]) -> Encoded:
        result = self.encode_batch([pieces])[0]
        if isinstance(result, RowFault):
            raise result
        return result

    def encode_batch(self, batch: Iterable[Sequence[Piece]]) -> list[Encoded | RowFault]:
        rows: list[Assembled | RowFault] = []
        for pieces in batch:
            try:
                row = self.assemble(pieces)
                row.text.encode()
                rows.append(row)
            except RowFault as fault:
                rows.append(fault)
            except UnicodeEncodeError:
                rows.append(RowFault("the text holds half a UTF-16 surrogate pair: it is no valid Unicode"))
        plain = [row for row in rows if isinstance(row, Assembled) and row.introducer == INTRODUCERS[0]]
        encodings = iter(self._copy(INTRODUCERS[0]).encode_batch([row.text for row in plain], add_special_tokens=False))
        results: list[Encoded | RowFault] = []
        for row in rows:
            if isinstance(row, RowFault):
                results.append(row)
                continue
            if row.introducer == INTRODUCERS[0]:
                encoding = next(encodings)
            else:
                encoding = self._copy(row.introducer).encode(row.text, add_special_tokens=False)
            try:
                results.append(self._finished(row, encoding))
            except RowFault as fault:
                results.append(fault)
        return results

    def _finished(self, row: Assembled, encoding: Any) -> Encoded:
        ids = np.array(encoding.ids, dtype=np.intp)
        for _ in range(_BREAK_ROUNDS):
            bad = self._forbidden[ids].nonzero()[0]
            if not len(bad):
                break
            self._break(row, encoding.offsets[bad[0]])
            encoding = self._copy(row.introducer).encode(row.text, add_special_tokens=False)
            ids = np.array(encoding.ids, dtype=np.intp)
        else:
            raise RowFault("the tokenizer keeps making control tokens of this text")
        begins = np.array(encoding.offsets, dtype=np.intp).reshape(-1, 2)[:, 0]
        piece = np.array(row.starts).searchsorted(begins, side="right") - 1
        real = self._real[ids]
        kept = real >= 0
        return Encoded(real[kept], piece[kept].astype(np.int32))

    def _break(self, row: Assembled, span: tuple[int, int]) -> None:
        """Put an invisible separator into the text that became a control token."""
        start, end = span
        if end - start < 2:
            raise RowFault(f"the tokenizer makes a control token of the single character {row.text[start:end]!r}")
        separator = row.introducer + chr(_FIRST_NUMBER)
        row.text = row.text[: start + 1] + separator + row.text[start + 1 :]
        row.starts = [s + len(separator) if s > start else s for s in row.starts]


class _Writer:
    """Builds the string that the private copy reads."""

    def __init__(self, introducer: str, prefix: Prefix) -> None:
        self.introducer, self.prefix = introducer, prefix
        self.parts: list[str] = []
        self.starts: list[int] = []
        self.length = 0
        self._fresh = bool(prefix.text)  # the next text begins a stretch
        self._strip = False  # the last control token swallows the blanks after it

    def _write(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)

    def invisible(self) -> None:
        if self.length:  # nothing to keep apart at the very beginning
            self._write(self.introducer + chr(_FIRST_NUMBER))

    def control(self, number: int, strips_after: bool) -> None:
        self._write(self.introducer + chr(_FIRST_NUMBER + number))
        self._fresh, self._strip = bool(self.prefix.text), strips_after

    def words(self, text: str) -> None:
        if self._strip:
            text = text.lstrip()
        if not text:
            return
        self._strip = False
        if self._fresh:
            self._fresh = False
            if not text.startswith(self.prefix.unless or ("\0\0",)):
                self._write(self.prefix.text)
        self._write(text)


def _next_id(copy: Tokenizer, introducer: str) -> int:
    """The id that the next added token gets, and no token has.

    The library numbers added tokens by the *size* of the vocabulary. In one with gaps (ids up to 999, 500 tokens) that
    number may be taken, so fillers that no text can hold are added up to the end.
    """
    end = max(copy.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    copy.add_tokens([AddedToken(f"{introducer} filler", normalized=False)])
    first = copy.token_to_id(f"{introducer} filler")
    assert first is not None
    copy.add_tokens([AddedToken(f"{introducer} filler {i}", normalized=False) for i in range(first + 1, end)])
    return max(first + 1, end)


def _private_source(backend: Tokenizer, control: dict[str, int]) -> tuple[str, Prefix]:
    """The JSON of the private copy, and the prefix that was taken out of it."""
    source = json.loads(backend.to_str())
    source["post_processor"] = source["truncation"] = source["padding"] = None
    for token in source["added_tokens"]:
        if token["content"] in control:
            token["special"] = True
    prefix = _take_prepend(source) or _take_pre_tokenizer_prefix(source) or Prefix()
    return json.dumps(source), prefix


def _take_prepend(source: dict[str, Any]) -> Prefix | None:
    """SentencePiece conversions of the older kind: a normalizer `Prepend`."""
    normalizer = source.get("normalizer")
    if not normalizer:
        return None
    if normalizer["type"] == "Prepend":
        source["normalizer"] = None
        return Prefix(normalizer["prepend"])
    if normalizer["type"] == "Sequence":
        for i, step in enumerate(normalizer["normalizers"]):
            if step["type"] == "Prepend":
                del normalizer["normalizers"][i]
                return Prefix(step["prepend"])
    return None


def _take_pre_tokenizer_prefix(source: dict[str, Any]) -> Prefix | None:
    """`Metaspace` and `ByteLevel` put a blank before each stretch, unless it begins with one."""
    first = source.get("pre_tokenizer")
    if first and first["type"] == "Sequence":
        first = first["pretokenizers"][0] if first["pretokenizers"] else None
    if not first:
        return None
    if first["type"] == "Metaspace" and first.get("prepend_scheme") == "always":
        first["prepend_scheme"] = "never"
        return Prefix(first["replacement"], (" ", first["replacement"]))
    if first["type"] == "ByteLevel" and first.get("add_prefix_space"):
        first["add_prefix_space"] = False
        return Prefix(" ", (" ",))
    return None
