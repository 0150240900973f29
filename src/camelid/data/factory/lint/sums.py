"""Plain sums in answers, worked out again."""

from __future__ import annotations

import re

from camelid.data.factory.lint.patterns import either
from camelid.data.factory.lint.sample import Exchange, around

_NUMBER = r"((?!0\d)\d{1,6}(?:\.\d{1,4})?)"
_SUM = re.compile(
    r"(?<![\d.,/^*×x÷+\-−=(\w$€£¥√])[$€£¥]?" + _NUMBER + r" ?([+\-−×*x÷/]) ?[$€£¥]?" + _NUMBER + r" ?= ?"
    r"[$€£¥]?(-?(?!0\d)\d{1,9}(?:,\d{3})*(?:\.\d{1,6})?)"
    # what follows makes it another number, or the left side of another sum
    r"(?!\s?[+\-−×*x÷/=^%(:：]|\s\d+/\d| \d{3}\b|\s?(?:r\d|R|rem|余|mod|…|\.\.\.|and \d)|[\d,.]*\d|[A-Za-z²³°√!π])"
)
_LONGER = re.compile(r"(?:[+\-−×*x÷/=^()\d]|\band|\w[:：])[ $€£¥]*$")  # the end of a longer one, or of a mixed number
_OTHER_SUMS = either(
    r"binary|base|modul|mod\b|octal|hex|clock|puzzle|riddle|pattern|if \d|wrong|incorrect|mistake|error|code|matrix"
    r"|vector",
    r"approx|≈|进制|模|找规律|错误|如果\d|脑筋|谜|约等",
)


def wrong_sum(exchange: Exchange) -> str | None:
    """A plain sum in an answer whose result is false."""
    answer = exchange.answer
    if "=" not in answer.text:
        return None
    text = answer.prose
    for match in _SUM.finditer(text):
        if _LONGER.search(text[max(0, match.start() - 8) : match.start()]):
            continue
        exact = _result(float(match[1]), match[2], float(match[3]))
        if exact is None or _rounds_to(exact, match[4].replace(",", "")):
            continue
        if answer.code or exchange.asks(_OTHER_SUMS) or _OTHER_SUMS.search(text):
            return None
        return around(text, match.start(), match.end())
    return None


def _result(first: float, sign: str, second: float) -> float | None:
    if sign == "+":
        return first + second
    if sign in "-−":
        return first - second
    if sign in "×*x":
        return first * second
    return first / second if second else None


_UNITS = (100.0, 0.01, 1000.0, 0.001, 1e6)  # dollars and cents, kilograms, thousands


def _rounds_to(exact: float, written: str) -> bool:
    """Whether a number is what is written: rounded or cut off at its digits or at a hundredth, or in another unit."""
    value = float(written)
    if exact and value and any(abs(value / exact - unit) < 1e-9 for unit in _UNITS):
        return True
    digits = len(written.partition(".")[2])
    scaled = exact * 10**digits
    slack = 0.0 if abs(scaled - round(scaled)) < 1e-6 else max(10.0**-digits, 0.01 * abs(exact))
    return abs(exact - value) <= slack + 1e-9 * max(1.0, abs(exact))
