"""Which characters of a rendering are the data's, and which the template's.

A template is a program, so nobody can tell from its output alone who wrote `<|im_end|>` there. We find out by
rendering a *skeleton*: the same conversation with one private character (a slot) in place of each text. What the
skeleton holds besides slots, the template wrote without having seen the data. How the template trims whitespace is
found with padded slots. Filling the slots then gives the rendering, and the caller compares it with the real one:
equal, or the row is rejected; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# One private-use character a slot (plane 15). Skeletons hold no text of the data, so it cannot clash with any.
FIRST_SLOT = 0xF0000
SLOT_PATTERN = re.compile("[\U000f0000-\U000ffffd]")

# Characters that a template strips on one side; None = all whitespace, as str.strip() does.
Trim = str | None
TRIMS: tuple[Trim, ...] = ("", None, "\n", " ", " \n")
_PADS = (("\n \t", "\t \n"), (" \n\t", "\t\n "))  # (left, right): every trim above leaves a different pair behind


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for text of the data: which message's, which text of it, and what is trimmed off it."""

    key: str  # the slot's character
    left: Trim = ""
    right: Trim = ""

    def fill(self, text: str) -> str:
        if self.left != "":
            text = text.lstrip(self.left)
        return text.rstrip(self.right) if self.right != "" else text


def slot_character(number: int) -> str:
    return chr(FIRST_SLOT + number)


def split(skeleton: str) -> tuple[list[str], list[str]]:
    """(literals, slot characters): literals[i] stands before slots[i]; one literal more than slots."""
    return SLOT_PATTERN.split(skeleton), SLOT_PATTERN.findall(skeleton)


def find_trims(skeleton: str, render_padded: Callable[[str, str], str | None]) -> list[Slot]:
    """The skeleton's slots, in order, with the trimming that explains both padded renderings.

    `render_padded(left, right)` renders the same conversation with every slot's text padded so; None = it failed.
    Where nothing explains a padded rendering the slot is taken as untrimmed, and the caller's comparison with the
    real rendering decides.
    """
    literals, slots = split(skeleton)
    candidates = [_allowed(literals, slots, pad, render_padded(*pad)) for pad in _PADS]
    result = []
    for i, slot in enumerate(slots):
        both = [t for t in candidates[0][i][0] if t in candidates[1][i][0]] or [""]
        right = [t for t in candidates[0][i][1] if t in candidates[1][i][1]] or [""]
        result.append(Slot(slot, both[0], right[0]))
    return result


def _allowed(
    literals: list[str], slots: list[str], pad: tuple[str, str], padded: str | None
) -> list[tuple[list[Trim], list[Trim]]]:
    """For each slot the (left, right) trims that agree with one padded rendering."""
    untrimmed: list[tuple[list[Trim], list[Trim]]] = [([""], [""]) for _ in slots]
    if padded is None:
        return untrimmed
    between, order = split(padded)
    if order != slots:
        return untrimmed
    lefts = {trim: _strip_left(pad[0], trim) for trim in TRIMS}
    rights = {trim: _strip_right(pad[1], trim) for trim in TRIMS}
    allowed: list[tuple[list[Trim], list[Trim]]] = [([], []) for _ in slots]
    for i, literal in enumerate(literals):
        # What stands between slot i-1 and slot i: the rest of the one's right pad, the literal, the other's left pad.
        for right, kept_right in rights.items() if i > 0 else [("", "")]:
            for left, kept_left in lefts.items() if i < len(slots) else [("", "")]:
                if kept_right + literal + kept_left == between[i]:
                    if i > 0 and right not in allowed[i - 1][1]:
                        allowed[i - 1][1].append(right)
                    if i < len(slots) and left not in allowed[i][0]:
                        allowed[i][0].append(left)
    return allowed


def _strip_left(text: str, trim: Trim) -> str:
    return text if trim == "" else text.lstrip(trim)


def _strip_right(text: str, trim: Trim) -> str:
    return text if trim == "" else text.rstrip(trim)


def filled(literals: Sequence[str], slots: Sequence[Slot], texts: Mapping[str, str]) -> str:
    """The rendering that the skeleton explains; `texts` maps slot characters to texts."""
    parts = [literals[0]]
    for slot, literal in zip(slots, literals[1:], strict=True):
        parts += (slot.fill(texts[slot.key]), literal)
    return "".join(parts)
