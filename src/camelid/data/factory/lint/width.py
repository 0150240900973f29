"""Full-width and half-width characters where the other is usual, and blanks and marks too many."""

from __future__ import annotations

import re

from camelid.data.factory.lint.patterns import HAN
from camelid.data.factory.lint.sample import Turn, around

_FULL_LETTER = re.compile("[０-９Ａ-Ｚａ-ｚ]")
_HALF_MARK = re.compile(
    r"(?<=[㐀-鿿》）])[,;!?](?=\s?[㐀-鿿《（“])|(?<=[㐀-鿿])[.,;](?=\s*$)|(?<=[㐀-鿿])\.(?=\s[㐀-鿿])", re.MULTILINE
)
_WIDE_MARK = re.compile("[，。；！？、]")
_FULL_MARK = re.compile(r"(?<=[A-Za-z][a-z])[，。；！？：、](?=\s?[A-Za-z]|\s*$)", re.MULTILINE)
_SPACED = re.compile("(?<=[㐀-鿿，。！？、]) (?=[㐀-鿿，。！？、])")
_DOUBLED = re.compile(
    "[，、；：]{2,}|(?<!。)。。(?!。)|，。|。，|、，|，、|(?<![,.])[,]{2,}(?![,.\\d])|[！!]{4,}|[？?]{4,}"
)


def fullwidth_letters(turn: Turn) -> str | None:
    """Latin letters and digits in the full width of East Asian type: to a tokenizer, other characters."""
    match = _FULL_LETTER.search(turn.text)
    return around(turn.text, match.start()) if match else None


def halfwidth_punctuation(turn: Turn) -> str | None:
    """ASCII punctuation between Chinese characters: twice, or beside full-width marks."""
    text = turn.prose
    match = _HALF_MARK.search(text)
    if match is None or turn.code:
        return None
    mixed = _WIDE_MARK.search(text) or _HALF_MARK.search(text, match.end())
    return around(text, match.start()) if mixed else None


def fullwidth_punctuation(turn: Turn) -> str | None:
    """Chinese punctuation in text without Chinese."""
    match = _FULL_MARK.search(turn.text)
    return around(turn.text, match.start()) if match and not HAN.search(turn.text) else None


def spaced_characters(turn: Turn) -> str | None:
    """Chinese with blanks between the words: it was cut up for another program."""
    spaces = list(_SPACED.finditer(turn.text))
    han = len(HAN.findall(turn.text)) if len(spaces) >= 4 else 0
    return around(turn.text, spaces[0].start()) if han and len(spaces) >= han / 3 else None


def doubled_punctuation(turn: Turn) -> str | None:
    """The same mark twice, or two marks that exclude each other."""
    text = turn.text
    if turn.ascii and ",," not in text and "!!!!" not in text and "????" not in text:
        return None
    match = _DOUBLED.search(turn.prose)
    return around(turn.prose, match.start(), match.end()) if match and not turn.code else None
