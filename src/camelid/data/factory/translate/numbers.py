"""Whether a translation says the same numbers: in figures, in words, in 万 and 亿."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

_FIGURE = re.compile(r"(?<![\d.])\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
_SCALE = {"万": 10**4, "亿": 10**8, "千": 10**3, "百": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_SCALE |= {"trillion": 10**12, "k": 10**3, "m": 10**6, "万亿": 10**12, "百万": 10**6, "千万": 10**7, "十亿": 10**9}
_SCALED = re.compile(
    r"(\d+(?:,\d{3})*(?:\.\d+)?)\s*(万亿|百万|千万|十亿|万|亿|千|百|thousand|million|billion|trillion|k\b|m\b)",
    re.IGNORECASE,
)
_ITEM = re.compile(r"^[ \t]*(\d{1,3}|[一二三四五六七八九十]{1,3})[.)、．）](?!\d)", re.MULTILINE)  # of a list
_DECADE = re.compile(r"(\d{1,2})\s*世纪\s*(\d0)\s*年代")
_DIGITS = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_HAN = re.compile(r"[零〇一二两三四五六七八九十百千万亿]+")


def _list(words: str) -> list[str]:
    return words.split()


_ONES = _list(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TENS = _list("twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS = _list(
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth"
    " fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
_MONTHS = _list("january february march april may june july august september october november december")
_WORDS = {word: value for value, word in enumerate(_ONES)} | {word: 20 + 10 * n for n, word in enumerate(_TENS)}
_WORDS |= {word: value for value, word in enumerate(_ORDINALS)} | {word: n for n, word in enumerate(_MONTHS, 1)}
_WORDS |= {word[:3]: n for n, word in enumerate(_MONTHS, 1)}
_WORDS |= {"once": 1, "twice": 2, "dozen": 12, "half": 2, "double": 2, "pair": 2, "hundred": 100, "thousand": 1000}
_WORDS |= {
    "a": 1,
    "an": 1,
    "single": 1,
    "both": 2,
    "couple": 2,
    "quarter": 4,
    "triple": 3,
    "decade": 10,
    "century": 100,
}
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)?")


def missing_number(source: str, translation: str) -> str:
    """The first figure that one text says more often than the other, "" if none.

    A figure may be said in words or at another scale (3 million, 300 万), and words may become figures; a decade and an
    hour may be counted otherwise (the 1990s: 20 世纪 90 年代; 3 pm: 15 点).
    """
    source, translation = _with_decades(source), _with_decades(translation)
    for one, other in ((source, translation), (translation, source)):
        if missing := _not_said(list(_figures(one)), [values for _, values in _figures(other)], _in_words(other)):
            return missing
    items = Counter(_items(source))
    items.subtract(_items(translation))
    return next((f"{number}." for number, count in items.items() if count), "")


def _with_decades(text: str) -> str:
    """20 世纪 90 年代 is one number: 1990."""
    return _DECADE.sub(lambda found: f"{int(found[1]) - 1}{found[2]}年代", text)


def _items(text: str) -> Iterator[int]:
    """The numbers of a list's items."""
    for number in _ITEM.findall(text):
        yield int(number) if number.isdecimal() else int(next(_chinese(number)))


def _not_said(figures: list[tuple[str, list[float]]], others: list[list[float]], words: Iterator[float]) -> str:
    """The first of the figures that is left when each has been matched with a number of the other text."""
    by_value: dict[float, list[int]] = {}
    for place, values in enumerate(others):
        by_value.setdefault(values[0], []).append(place)
    left = []
    for figure in figures:
        places = by_value.get(figure[1][0])
        if places:
            others[places.pop()] = []
        else:
            left.append(figure)
    said = Counter(words)
    for figure, values in left:
        place = next((i for i, other in enumerate(others) if set(values) & set(other)), None)
        found = next((value for value in values if said[value] > 0), None)
        if place is not None:
            others[place] = []
        elif found is not None:
            said[found] -= 1
        else:
            return figure
    return ""


def _figures(text: str) -> Iterator[tuple[str, list[float]]]:
    """(as it stands, what it may mean) of each number in figures."""
    scaled = {
        found.start(1): float(found[1].replace(",", "")) * _SCALE[found[2].lower()] for found in _SCALED.finditer(text)
    }
    for found in _FIGURE.finditer(text):
        value = float(found[0].replace(",", ""))
        values = [scaled[found.start()]] if found.start() in scaled else []
        values.append(value)
        if 13 <= value <= 24:
            values += [value - 12]
        elif 1 <= value <= 12:
            values += [value + 12]
        yield found[0], values


def _in_words(text: str) -> Iterator[float]:
    """Every number that a text says in words."""
    for found in _HAN.finditer(text):
        yield from _chinese(found[0])
    words = [found[0] for found in _WORD.finditer(text.lower())]
    for place, word in enumerate(words):
        parts = [_WORDS.get(part) for part in word.split("-")]
        known = [part for part in parts if part is not None]
        yield from known
        if len(known) == 2:
            yield known[0] + known[1]
        scale = _SCALE.get(words[place + 1]) if place + 1 < len(words) else None
        scale = 100 if place + 1 < len(words) and words[place + 1] == "hundred" else scale
        if known and scale:
            yield sum(known) * scale


def _chinese(text: str) -> Iterator[float]:
    """A numeral's value; digit by digit where it has no unit (二〇二三)."""
    total = section = digit = 0
    for letter in text:
        if letter in _DIGITS:
            digit = _DIGITS[letter]
        elif letter in _UNITS:
            section += (digit or 1) * _UNITS[letter]
            digit = 0
        else:
            total += (section + digit or 1) * _SCALE[letter]
            section = digit = 0
    yield total + section + digit
    if len(text) > 1 and all(letter in _DIGITS for letter in text):
        yield int("".join(str(_DIGITS[letter]) for letter in text))
    yield from (_DIGITS[letter] for letter in text if letter in _DIGITS)
