"""Which stretches of a Markdown text are code, so that no rule ever touches them; and code written as Markdown.

Real answers open fences behind words, never close them, and close them with more than they opened with. What is in
doubt counts as code: a rule that does not reach its noise does less harm than one that changes a program.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

# A fence may stand behind words ("as follows: ```python"), one of tildes may not: compilers underline with them.
_OPENING = re.compile(r"(?:[^`]|`(?!``))*?(`{3,})([^`]*)|[ \t>]*(~{3,})(.*)", re.DOTALL)
_CLOSING = re.compile(r"[ \t>]*(`{3,}|~{3,})[ \t]*[\r\n]*")
_TICKS = re.compile("`+")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
# As highlighters name them.
LANGUAGES = frozenset(
    "python javascript typescript java js ts jsx tsx c cpp c++ c# csharp go rust ruby php swift kotlin scala perl lua r"  # noqa: SIM905
    " matlab sql html css scss less json yaml xml bash shell sh powershell makefile dockerfile vbnet vb arduino"
    " markdown latex diff graphql objectivec plaintext glsl mathematica".split()
)
_RECENT = 8  # texts: each rule asks anew about the one that it is given


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a text. kind: "prose"; "fence": whole lines with their delimiters; "span": `code` in a line"""

    kind: str
    text: str


@lru_cache(maxsize=_RECENT)
def segments(text: str) -> tuple[Segment, ...]:
    """All of a text, in order."""
    found: list[Segment] = []
    for segment in fences(text):
        found += [segment] if segment.kind == "fence" else _spans(segment.text)
    return tuple(found)


@lru_cache(maxsize=_RECENT)
def fences(text: str) -> tuple[Segment, ...]:
    """All of a text, in order; `code` within a line is left in the prose."""
    if "```" not in text and "~~~" not in text:
        return (Segment("prose", text),) if text else ()
    found: list[Segment] = []
    lines = _LINE.findall(text)
    prose: list[str] = []
    hopeless = dict.fromkeys("`~", len(text) + 1)  # runs of this length or more are not closed from here on
    i = 0
    while i < len(lines):
        opening = _opening(lines[i])
        end = None
        if opening is not None and len(opening[0]) < hopeless[opening[0][0]]:
            end = _closing(lines, i + 1, opening[0])
            if end is None:
                hopeless[opening[0][0]] = len(opening[0])
        if opening is None or (end is None and (opening[0][0] == "~" or opening[1])):
            prose.append(lines[i])
            i += 1
            continue
        end = len(lines) if end is None else end + 1  # an answer that was cut off in its code
        if opening[1]:
            prose.append(lines[i][: opening[1]])
        if prose:
            found.append(Segment("prose", "".join(prose)))
            prose = []
        found.append(Segment("fence", lines[i][opening[1] :] + "".join(lines[i + 1 : end])))
        i = end
    if prose:
        found.append(Segment("prose", "".join(prose)))
    return tuple(found)


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with `change` made to what is no code."""
    return "".join(change(part.text) if part.kind == "prose" else part.text for part in segments(text))


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """The text with `change` made to what stands in no fence; `code` within a line is left in its place."""
    return "".join(change(part.text) if part.kind == "prose" else part.text for part in fences(text))


def prose_of(text: str) -> str:
    """The text without its code."""
    return " ".join(part.text for part in segments(text) if part.kind == "prose")


def fence(code: str, language: str = "") -> str:
    """A code block: a fence longer than any in the code, whose bytes stay as they are."""
    longest = max((len(run) for run in _TICKS.findall(code)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{code}{'' if code.endswith(chr(10)) else chr(10)}{ticks}"


def span(code: str) -> str:
    """Code within a line."""
    runs = {len(run) for run in _TICKS.findall(code)}
    ticks = "`" * next(length for length in range(1, len(runs) + 2) if length not in runs)
    pad = " " if code[:1] == "`" or code[-1:] == "`" else ""
    return f"{ticks}{pad}{code}{pad}{ticks}"


def _opening(line: str) -> tuple[str, int] | None:
    """(the run that opens a fence, where it begins; 0 where only blanks stand before it)."""
    if "```" not in line and "~~~" not in line:
        return None
    match = _OPENING.fullmatch(line)
    if match is None:
        return None
    run = match[1] or match[3]
    begin = match.start(1) if match[1] else match.start(3)
    return run, begin if line[:begin].strip(" \t>") else 0


def _closing(lines: list[str], begin: int, run: str) -> int | None:
    for i in range(begin, len(lines)):
        match = _CLOSING.fullmatch(lines[i])
        if match and match[1][0] == run[0] and len(match[1]) >= len(run):
            return i
    return None


def _spans(text: str) -> list[Segment]:
    """`code` as CommonMark pairs its ticks: two runs of one length, no blank line between them."""
    runs = list(_TICKS.finditer(text))
    if len(runs) < 2:
        return [Segment("prose", text)] if text else []
    breaks = [match.start() for match in _BLANK_LINE.finditer(text)]
    found: list[Segment] = []
    done = i = 0
    while i < len(runs):
        length, paragraph = len(runs[i][0]), bisect_right(breaks, runs[i].start())
        limit = breaks[paragraph] if paragraph < len(breaks) else len(text)
        ends = (j for j in range(i + 1, len(runs)) if runs[j].start() >= limit or len(runs[j][0]) == length)
        close = next(ends, None)
        if close is None or runs[close].start() >= limit:
            i += 1
            continue
        if runs[i].start() > done:
            found.append(Segment("prose", text[done : runs[i].start()]))
        done = runs[close].end()
        found.append(Segment("span", text[runs[i].start() : done]))
        i = close + 1
    if done < len(text):
        found.append(Segment("prose", text[done:]))
    return found
