"""What must come through a translation letter by letter: code, addresses, placeholders, formulas, keys of JSON.

Each is taken out, a numbered mark in its place, and put back behind the teacher: what a teacher never saw it cannot
change. It can only lose, double or invent a mark, and that is seen.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_MARK = re.compile(r"⟦(\d+)⟧")
_INLINE = re.compile(
    r"(?P<fence>^(?P<ticks>`{3,}|~{3,})[^\n]*\n.*?^(?P=ticks)[`~]*[ \t]*$)"
    r"|`[^`\n]+`"
    r"|https?://[^\s<>\"'，。；：！？、（）《》“”]+[^\s<>\"'，。；：！？、（）《》“”.,;:!?)\]]"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|\$\$.+?\$\$|\\\(.+?\\\)|\\\[.+?\\\]"
    r"|\{\{[^{}\n]{1,60}\}\}|\$\{[^{}\n]{1,60}\}|(?<![\w{])\{[A-Za-z_][\w.]{0,40}\}"
    r"|%[sdif](?![\w%])|%\(\w+\)[sdif]"
    r"|</?[A-Za-z][\w-]*(?:\s[^<>\n]*)?/?>",
    re.DOTALL | re.MULTILINE,
)
_KEY = re.compile(r'"(?:[^"\\\n]|\\.)*"(?=\s*:)')
# A line that no prose has: how code begins or ends. Alpaca's answers hold code without fences.
_CODE_LINE = re.compile(
    r"^\s*(?:(?:def|class|import|from|return|elif|print|public|private|static|void|const|let|var|function|int|float|for|"
    r"while|if|try|else|case|switch|using|namespace|package|struct|SELECT|INSERT|UPDATE|DELETE|CREATE|FROM|WHERE|JOIN)\b"
    r".*[:;{}()=\[\]*]\s*$"
    r"|#include\b.*|@\w+(?:\(.*\))?|[\w.]+\s*(?:[-+*/|&]?=|\+\+|--)\s*\S.*[;)\]}\"'\d\w]|[\w.]+\(.*\)\s*;?"
    r"|[{}()\[\];]+,?|.*[;{]\s*(?://.*)?|</?\w[^<>]*>.*</?\w[^<>]*>|(?:import|from)\s+[\w.]+(?:\s+import\s.*)?"
    r"|return\b.*|(?:else|try|finally)\s*:)\s*$"
)
_DEFINITE = re.compile(
    r"^\s*(?:def \w+\(|class \w+[:({]|import \w|from [\w.]+ import |#include|public |private |function \w*\(|SELECT\b"
    r"|<html|<!DOCTYPE|(?:int|void|float|double|char) \w+\(|(?:const|let|var) \w+ ?=|INSERT INTO|CREATE TABLE"
    r"|package \w|using \w|console\.log\(|print\()",
)


@dataclass(frozen=True, slots=True)
class Protected:
    """text: with marks; kept: what stands behind each, from 0"""

    text: str
    kept: tuple[str, ...]

    @property
    def nothing_left(self) -> bool:
        """Whether no letter is left to translate."""
        return not any(letter.isalpha() for letter in without_marks(self.text))

    def restore(self, translated: str) -> str | None:
        """The translation with everything back in its place; None where a mark is lost, doubled or new."""
        marks = sorted(int(number) for number in _MARK.findall(translated))
        if marks != list(range(len(self.kept))):
            return None
        return _MARK.sub(lambda mark: self.kept[int(mark[1])], translated)


def without_marks(text: str) -> str:
    """The words alone."""
    return _MARK.sub("", text)


def protect(text: str) -> Protected:
    """Take out what must stay. A text that holds such marks itself keeps them behind marks."""
    kept: list[str] = []

    def take(found: str) -> str:
        kept.append(found)
        return f"⟦{len(kept) - 1}⟧"

    spans = sorted(_spans(text))
    parts, end = [], 0
    for start, stop in spans:
        if start < end:
            continue  # within what is taken already
        parts += [text[end:start], take(text[start:stop])]
        end = stop
    parts.append(text[end:])
    return Protected("".join(parts), tuple(kept))


def _spans(text: str) -> list[tuple[int, int]]:
    spans = [found.span() for found in _INLINE.finditer(text)]
    spans += [found.span() for found in _MARK.finditer(text)]
    if _is_json(text):
        spans += [found.span() for found in _KEY.finditer(text)]
    else:
        spans += _code_blocks(text)
    # the longest first where two begin together, so that a block of code hides what is within it
    return [(start, stop) for start, stop in sorted(spans, key=lambda span: (span[0], -span[1]))]


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _code_blocks(text: str) -> list[tuple[int, int]]:
    """Runs of lines that are code, one of which can be nothing else; without the line break at the end."""
    blocks: list[tuple[int, int]] = []
    start, sure, offset, last = -1, False, 0, 0
    for line in [*text.split("\n"), "."]:
        blank, code = not line.strip(), bool(_CODE_LINE.match(line) or _DEFINITE.match(line))
        inside = start >= 0 and (blank or (line[0] in " \t" and not blank))
        if code or inside:
            if start < 0:
                start, sure = offset, False
            sure = sure or bool(_DEFINITE.match(line))
            last = last if blank else offset + len(line)
        elif start >= 0:
            if sure:
                blocks.append((start, last))
            start = -1
        offset += len(line) + 1
    return blocks
