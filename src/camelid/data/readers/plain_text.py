"""Running text in pieces: a document each where the file marks them, and pieces of bounded length otherwise.

Documents end at a line that is `<|endoftext|>` (the convention of GPT-2's corpora). A longer document is divided at
the first blank line behind PIECE characters, or at the first line end behind LONG_PIECE; nothing is lost: the pieces
of a document joined are the document.
"""

from __future__ import annotations

from collections.abc import Iterator

from camelid.data.readers.decode import TextStream
from camelid.data.readers.lines import read_lines
from camelid.data.readers.rows import HEAD, Damage, RawRow

PIECE = 16_384  # characters; long beside any context, and short enough that shuffling and sampling mean something
LONG_PIECE = 65_536
END_OF_DOCUMENT = "<|endoftext|>"


def read_plain_text(stream: TextStream) -> Iterator[RawRow | Damage]:
    """Yield rows {"text": piece}; pieces of white space alone are no rows."""
    piece: list[str] = []
    begin, length = 1, 0
    for line in read_lines(stream):
        if isinstance(line, Damage):
            yield line
            continue
        number, text = line
        if not piece:
            begin = number
        ends = text.strip() == END_OF_DOCUMENT
        if not ends:
            piece.append(text + "\n")
            length += len(text) + 1
        if ends or length >= LONG_PIECE or (length >= PIECE and not text.strip()):
            yield from _row(begin, piece)
            piece, length = [], 0
    yield from _row(begin, piece)


def _row(begin: int, piece: list[str]) -> Iterator[RawRow]:
    text = "".join(piece)
    if text.strip():
        yield RawRow(begin, {"text": text}, text[:HEAD], True)
