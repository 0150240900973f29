"""Which characters of a rendering are the data's, and which the template's.

A template is a program, so nobody can tell from its output alone who wrote `<|im_end|>` there. We find out by
rendering a *skeleton*: the same conversation with one private character (a slot) in place of each text. What the
skeleton holds besides slots, the template wrote without having seen the data. How the template trims whitespace is
found with padded slots. Filling the slots then gives the rendering, and the caller compares it with the real one:
equal, or the row is rejected; nothing is guessed.
"""

from __future__ import annotations

import itertools
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
        return _strip_right(_strip_left(text, self.left), self.right)


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
    literals, keys = split(skeleton)
    padded = [(pad, _between(keys, render_padded(*pad))) for pad in _PADS]
    lefts: list[Trim] = [""] * len(keys)
    rights: list[Trim] = [""] * len(keys)
    for i, literal in enumerate(literals):
        # Between two slots stand the rest of the one's right pad, the literal, and the rest of the other's left pad.
        for right, left in itertools.product(TRIMS if i > 0 else [""], TRIMS if i < len(keys) else [""]):
            if all(
                between is None
                or between[i]
                == (_strip_right(pad[1], right) if i > 0 else "")
                + literal
                + (_strip_left(pad[0], left) if i < len(keys) else "")
                for pad, between in padded
            ):
                if i > 0:
                    rights[i - 1] = right
                if i < len(keys):
                    lefts[i] = left
                break
    return [Slot(key, left, right) for key, left, right in zip(keys, lefts, rights, strict=True)]


def _between(keys: list[str], padded: str | None) -> list[str] | None:
    """What stands between the slots of a padded rendering; None if its slots are not the skeleton's."""
    if padded is None:
        return None
    literals, found = split(padded)
    return literals if found == keys else None


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
