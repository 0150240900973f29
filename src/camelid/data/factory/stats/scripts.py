"""In which script and language texts are: by the share of their letters, and for English by its small words."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from camelid.data.factory.stats.lexicon import word_lists

# Letters of a script, by code points; what is none of these and a letter is "other".
_RANGES = {
    "Latin": "0041-005A 0061-007A 00AA 00BA 00C0-00D6 00D8-00F6 00F8-024F 1E00-1EFF FF21-FF3A FF41-FF5A",
    "Han": "3005 3007 3400-4DBF 4E00-9FFF F900-FAFF 20000-3FFFF",
    "Kana": "3041-309F 30A1-30FF 31F0-31FF FF66-FF9F",
    "Hangul": "1100-11FF 3131-318E AC00-D7A3",
    "Cyrillic": "0400-052F 1C80-1C8F 2DE0-2DFF A640-A69F",
    "Greek": "0370-03FF 1F00-1FFF",
    "Arabic": "0620-065F 066E-06DC 06FA-06FF 0750-077F 08A0-08FF FB50-FDFF FE70-FEFC",
    "Hebrew": "05D0-05EA",
    "Devanagari": "0900-0965 0971-097F",
    "Thai": "0E01-0E3A 0E40-0E4E",
    "other": "",
}
SCRIPTS = tuple(_RANGES)  # of letters
CLASSES = ("blank", "digit", "mark", *SCRIPTS)  # of characters: the number that `classes_of` gives is a place in it
FIRST_LETTER = 3
UNSPACED = frozenset(("Han", "Kana", "Thai"))  # no blanks between words: counted by the character
LANGUAGES = ("en", "zh", "mixed", "code", "other", "none")

_HAN = 2.5  # letters that a Chinese character stands for: a word of five letters is about two characters
_CLEAR, _PART = 0.8, 0.1
_SAMPLE = 2000  # characters by which a language is told
_WORDS_OF = 500  # characters by whose words English is
_LATIN_HAN_KANA = tuple(CLASSES.index(script) for script in ("Latin", "Han", "Kana"))
_SMALL_WORDS = word_lists("latin")
_ENGLISH, _OTHERS = frozenset(_SMALL_WORDS["english"]), frozenset(_SMALL_WORDS["others"])
_WORD = re.compile(r"[^\W\d_]+")
_FENCE = re.compile(r"^```.*?^```[^\n]*$", re.DOTALL | re.MULTILINE)
_CODE_HINT = re.compile(
    r"[{}=<>@$]|//|[):]\s*\n|:$|\)$|[A-Z]{4}|import|return|print|class|let |var |const |public |using "
)
_CODE_LINE = re.compile(
    r"^(?=.*\S)(?:.*[{}]\s*|.*[=(].*;\s*"
    r"|\s*(?:def |class \w+[:(]|import \w|from \w+ import |return\b.*[\w)\]]\s*$|#include|using \w|package "
    r"|public |private |if .*:\s*$|else:\s*$|for \w+ in .*:\s*$|while .*:\s*$|elif |try:\s*$|except|print\("
    r"|var |let |const |console\.|SELECT |INSERT |UPDATE .* SET |CREATE TABLE|FROM \w+|WHERE |</?[a-zA-Z][\w-]*[\s>/]"
    r"|//|\$ \w|>>> |@\w+).*|\s*[\w.\[\]]+ ?[-+*/]?= ?[^=\s].*[\w)\]\"']|\s+[\w.]+\(.*\)\s*)$",
    re.MULTILINE,
)


@cache
def _table() -> np.ndarray:
    """(0x110000,) uint8: the class of each code point."""
    classes = np.full(0x110000, CLASSES.index("mark"), np.uint8)
    for code in range(0x40000):
        character = chr(code)
        if character.isspace():
            classes[code] = CLASSES.index("blank")
        elif character.isdecimal():
            classes[code] = CLASSES.index("digit")
        elif character.isalpha():
            classes[code] = CLASSES.index("other")
    for script, ranges in _RANGES.items():
        for part in ranges.split():
            first, _, last = part.partition("-")
            classes[int(first, 16) : int(last or first, 16) + 1] = CLASSES.index(script)
    return classes


def classes_of(text: str) -> np.ndarray:
    """(len(text),) uint8: the place in CLASSES of each character."""
    return _table()[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")]


def counts_of(text: str) -> np.ndarray:
    """(len(CLASSES),): characters of each class."""
    return np.bincount(classes_of(text), minlength=len(CLASSES))


def language_of(text: str, counts: np.ndarray | None = None) -> str:
    """One of LANGUAGES, by the text's beginning. counts: those of its characters, where they are known.

    code: at least half of the characters stand in code; en, zh: at least four fifths of the letters are Latin (and the
    small words are not another language's) or Chinese, a character counting as 2.5 letters; mixed: these two
    together, a tenth or more of each; none: there is no letter
    """
    if counts is None or len(text) > _SAMPLE:
        text = text[:_SAMPLE]
        counts = counts_of(text)
    latin, plain_han, kana = (int(counts[place]) for place in _LATIN_HAN_KANA)
    han = _HAN * plain_han
    total = int(counts[FIRST_LETTER:].sum()) - plain_han + han
    if not total:
        return "none"
    if _code_share(text) >= 0.5:
        return "code"
    if kana * 10 > plain_han + kana:
        return "other"
    if han >= _PART * total and latin >= _PART * total and han + latin >= _CLEAR * total:
        return "zh" if han >= (1 - _PART) * total else "mixed"
    if han >= _CLEAR * total:
        return "zh"
    return "en" if latin >= _CLEAR * total and _is_english(text) else "other"


def _is_english(text: str) -> bool:
    """Whether a text in Latin letters has more of the small words of English than of other languages."""
    if text.isascii() and (" the " in text or " and " in text):
        return True
    words = set(_WORD.findall(text[:_WORDS_OF].lower()))
    others = len(words & _OTHERS)
    return others < 2 or others <= max(len(words & _ENGLISH), 0.2 * len(words))


def _code_share(text: str) -> float:
    if not _CODE_HINT.search(text):
        return 0.0
    if "```" in text:
        fenced = sum(match.end() - match.start() for match in _FENCE.finditer(text))
        text = _FENCE.sub("", text)
    else:
        fenced = 0
    lines = sum(match.end() - match.start() for match in _CODE_LINE.finditer(text))
    return (fenced + lines) / max(1, fenced + len(text.strip()))
