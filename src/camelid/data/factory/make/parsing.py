"""Numbered lists and numbered fields out of what a teacher wrote.

Alpaca's own parser looks for one exact number before each field and loses what is numbered otherwise; here the fields
of a task must agree with each other, whatever number they bear, and what cannot be read is a candidate with a reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from camelid.data.factory.faults import CUT_OFF, Fault
from camelid.data.factory.make.rules import Task

_NONE = re.compile(
    r"[<(\[（【]?\s*(?:no ?input|none|n/?a|empty|无|无输入|不需要输入)\s*[>)\]）】]?[.。]?", re.IGNORECASE
)
_FIELDS = {"instruction": 0, "指令": 0, "input": 1, "输入": 1, "output": 2, "输出": 2}
_LABEL = re.compile(
    r"^[ \t>#*-]*(?:(?P<number>\d{1,3})[ \t]*[.、．):）：]?[ \t]*)?[*]{0,2}[ \t]*"
    r"(?P<field>instruction|input|output|指令|输入|输出)[ \t]*[*]{0,2}[ \t]*[:：][ \t]*[*]{0,2}[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_ITEM = re.compile(r"^[ \t>*-]*(\d{1,3})[ \t]*(?:\.(?!\d)|[、．):）：])[ \t]*", re.MULTILINE)
_SEPARATOR = re.compile(r"^[ \t]*(?:#{2,}|-{3,}|={3,})[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate: the task, or None with the fault for which its text cannot be read as one."""

    text: str
    task: Task | None
    fault: Fault | None = None


def tasks_in(text: str, *, cut: bool) -> list[Found]:
    """The tasks of an answer in Alpaca's form. cut: it ended at the limit of tokens, so its last task is not whole."""
    labels = list(_LABEL.finditer(text))
    starts = [label for label in labels if _FIELDS[label["field"].lower()] == 0]
    # within a task only labels that bear its number are its fields: an answer may itself hold a line "Input:"
    found = []
    before = text[: starts[0].start()] if starts else text
    if not starts and before.strip():
        return [Found(before.strip(), None, CUT_OFF if cut else Fault("no task in it"))]
    for place, start in enumerate(starts):
        end = starts[place + 1].start() if place + 1 < len(starts) else len(text)
        inside = [one for one in labels if start.start() < one.start() < end and one["number"] == start["number"]]
        found.append(_task(text[start.start() : end], start, inside, end, text))
    if cut and found:
        found[-1] = Found(found[-1].text, None, CUT_OFF)
    return found


def _task(whole: str, start: re.Match[str], inside: list[re.Match[str]], end: int, text: str) -> Found:
    whole = _SEPARATOR.sub("", whole).strip()
    if [_FIELDS[label["field"].lower()] for label in inside] not in ([1, 2], [2]):
        return Found(whole, None, Fault("its fields are missing, doubled or misnumbered"))
    borders = [start, *inside]
    ends = [label.start() for label in inside] + [end]
    parts = [_SEPARATOR.sub("", text[one.end() : stop]).strip() for one, stop in zip(borders, ends, strict=True)]
    instruction, given, output = parts if len(parts) == 3 else (parts[0], "", parts[1])
    return Found(whole, Task(instruction, without_none(given), output))


def items_in(text: str, *, cut: bool) -> list[Found]:
    """The items of a numbered list, each as a task without input and answer. What stands before the first is none."""
    starts = list(_ITEM.finditer(text))
    found = []
    for place, start in enumerate(starts):
        end = starts[place + 1].start() if place + 1 < len(starts) else len(text)
        words = " ".join(text[start.end() : end].split()).strip("*").strip()
        if place + 1 == len(starts) and cut:
            found.append(Found(words, None, CUT_OFF))
        elif not words:
            found.append(Found(text[start.start() : end].strip(), None, Fault("an empty item")))
        else:
            found.append(Found(words, Task(words, "", "")))
    if not starts and text.strip():
        return [Found(text.strip(), None, CUT_OFF if cut else Fault("no list in it"))]
    return found


def without_none(text: str) -> str:
    """An input's text, "" where it says that there is none."""
    return "" if _NONE.fullmatch(text) else text


_PART = re.compile(
    r"^[ \t>#*-]*(?:(?P<input>input|输入)|(?P<output>output|输出)|(?P<label>class label|label|类别|标签))"
    r"[ \t]*\d*[ \t]*[*]{0,2}[ \t]*[:：][ \t]*[*]{0,2}[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_EXAMPLE = re.compile(r"^[ \t>#*-]*(?:example|例子|示例|例)[ \t]*\d+[ \t]*[:：.]?[ \t]*[*]{0,2}[ \t]*$", re.I | re.M)


def instances_in(text: str, instruction: str, *, cut: bool) -> list[Found]:
    """Inputs with their outputs, in either order; or one answer, where the task needs no input."""
    text = _EXAMPLE.sub("", text)
    marks = list(_PART.finditer(text))
    if not marks:
        whole = text.strip()
        if not whole:
            return []
        return [Found(whole, None, CUT_OFF) if cut else Found(whole, Task(instruction, "", whole))]
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    parts = [
        (mark.lastgroup, text[mark.end() : end].strip(), mark.start()) for mark, end in zip(marks, ends, strict=True)
    ]
    output_first = any(kind == "label" for kind, _, _ in parts)
    first, second = ("label", "input") if output_first else ("input", "output")
    found, place = [], 0
    while place < len(parts):
        kind, words, start = parts[place]
        paired = place + 1 < len(parts) and (kind, parts[place + 1][0]) == (first, second)
        end = ends[place + paired]
        whole = text[start:end].strip()
        if paired:
            other = parts[place + 1][1]
            given, output = (other, words) if output_first else (words, other)
            found.append(Found(whole, Task(instruction, without_none(given), output)))
        elif kind == "output" and not output_first:
            found.append(Found(whole, Task(instruction, "", words)))
        else:
            found.append(Found(whole, None, Fault("an input without an output, or the other way about")))
        place += 1 + paired
    if cut:
        found[-1] = Found(found[-1].text, None, CUT_OFF)
    return found
