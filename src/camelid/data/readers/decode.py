"""Bytes to text: plain or compressed, UTF-8, UTF-16 with a byte-order mark, or GB18030.

A byte that the encoding does not allow becomes a lone surrogate (as Python's `surrogateescape` does), so that the row
which holds it can be rejected by itself while the rest of the file is read.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from pathlib import Path
from typing import BinaryIO

from camelid.data.readers.rows import CHUNK
from camelid.errors import UserError

COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
ASCII_PROBE = 64 << 20  # bytes of pure ASCII after which a file is taken for UTF-8


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: each offending byte becomes U+DC00 plus the byte, and decoding goes on behind it."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("camelid.mark", _mark)


class TextStream:
    """The text of one file, read forward.

    `damaged` turns True once a byte was not valid in `encoding`; `fault` tells, at the end, why a compressed file
    ended early.
    """

    def __init__(self, path: Path, chunk: int = CHUNK) -> None:
        self.chunk, self.damaged = chunk, False
        self.fault: str | None = None
        self._raw, self._file = _open(path)
        self._size = path.stat().st_size
        self._read = 0.0
        try:
            self.encoding = _detect(self._file, path)
            self._file.seek(0)
        except UserError:
            self._close_files()
            raise
        except _BROKEN as error:
            self._close_files()
            raise UserError(f"cannot be read: {error}", where=str(path), mend="fetch or compress it again") from error
        self._decoder = codecs.getincrementaldecoder(_CODECS[self.encoding])("strict")
        self._peeked = ""
        self._ended = False

    def read(self) -> str:
        """The next piece of text, "" at the end."""
        if self._peeked:  # in pieces, so that a small chunk is small for the beginning of the file too
            text, self._peeked = self._peeked[: self.chunk], self._peeked[self.chunk :]
            return text
        while not self._ended:
            text = self._decode(self._read_bytes())
            if text:
                return text
        return ""

    def peek(self, size: int) -> str:
        """The first `size` characters at least (fewer where the file ends), which `read` will still return."""
        while len(self._peeked) < size and not self._ended:
            self._peeked += self._decode(self._read_bytes())
        return self._peeked

    def share(self) -> float:
        """How much of the file, compressed as it may be, has been read: 0 to 1."""
        return self._read

    def close(self) -> None:
        """Release the file."""
        self._ended = True
        self._close_files()

    def _close_files(self) -> None:
        self._file.close()
        self._raw.close()

    def _read_bytes(self) -> bytes:
        data = b""
        try:
            data = self._file.read(self.chunk)
        except _BROKEN as error:
            self.fault = f"the file cannot be read further: {error}"
        else:
            self._read = self._raw.tell() / max(1, self._size)
        if not data:
            self.close()
        return data

    def _decode(self, data: bytes) -> str:
        state = self._decoder.getstate()
        try:
            return self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError:
            self.damaged = True
            self._decoder = codecs.getincrementaldecoder(_CODECS[self.encoding])("camelid.mark")
            self._decoder.setstate(state)
            return self._decoder.decode(data, final=self._ended)


_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
_CODECS = {"UTF-8": "utf-8-sig", "UTF-16": "utf-16", "GB18030": "gb18030"}


def _open(path: Path) -> tuple[BinaryIO, BinaryIO]:
    """The file itself, which tells how far it has been read, and what is in it."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot be opened: {error.strerror or error}", where=str(path)) from error
    opener = COMPRESSED.get(path.suffix.lower())
    return raw, opener(raw, "rb") if opener else raw  # type: ignore[return-value]


def _detect(file: BinaryIO, path: Path) -> str:
    sample = file.read(CHUNK)
    if sample.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise UserError("UTF-32 text is not read", where=str(path), mend=f"convert it: iconv -t UTF-8 {path.name}")
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    even, odd = sample[0:64:2].count(0), sample[1:64:2].count(0)
    if len(sample) >= 8 and max(even, odd) * 4 > len(sample[:64]) and min(even, odd) == 0:
        raise UserError(
            "looks like UTF-16 without a byte-order mark",
            where=str(path),
            mend=f"convert it: iconv -f UTF-16{'BE' if even else 'LE'} -t UTF-8 {path.name}",
        )
    probed = len(sample)
    while sample.isascii() and probed < ASCII_PROBE:
        more = file.read(CHUNK)
        if not more:
            return "UTF-8"
        sample, probed = more, probed + len(more)
    return "GB18030" if _is_gb18030(sample) else "UTF-8"


def _is_gb18030(sample: bytes) -> bool:
    """Whether the sample is GB18030, rather than UTF-8 in which some bytes went bad."""
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(sample)  # a character cut off by the end is no fault
        return False
    except UnicodeDecodeError:
        text = sample.decode("utf-8", "surrogateescape")
    bad = sum(0xDC80 <= ord(character) <= 0xDCFF for character in text)
    good = sum(ord(character) > 0x7F for character in text) - bad
    try:
        as_gb = codecs.getincrementaldecoder("gb18030")("strict").decode(sample)
    except UnicodeDecodeError:
        return False
    # In Chinese text both bytes of a character are nearly always above 0x7F; in Latin-1 (é) a letter of ASCII follows.
    high = sum(byte > 0x7F for byte in sample)
    return good < bad and high >= 1.7 * sum(character > "\x7f" for character in as_gb)
