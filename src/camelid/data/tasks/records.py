"""What rows of labelled text are read into."""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.records import Origin


@dataclass(frozen=True, slots=True)
class Classified:
    """A text, or a pair of texts, with its class."""

    texts: tuple[str, ...]
    label: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Tagged:
    """Words with their tags in the scheme BIO (IOB2). `spaced`: blanks stand between the words, as in English."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    spaced: bool
    origin: Origin


TaskRecord = Classified | Tagged
