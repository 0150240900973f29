"""Tag schemes of sequence labelling, all turned into BIO (IOB2), and the entities that tags mean.

* IOB1 (CoNLL-2003 as distributed): `I-` begins an entity too; `B-` only where one follows another of its type.
* BIO (IOB2): `B-` begins every entity.
* BIOES and its spelling BMES (also BMEWO, BILOU): one-word entities are `S-` (`W-`, `U-`), the last word `E-` (`L-`).

Entities are found by the rules of conlleval (Tjong Kim Sang & Buchholz 2000), which seqeval applies by default: a tag
that continues nothing of its type begins an entity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Entity = tuple[str, int, int]  # type, first word, one past the last word

_BEGIN, _INSIDE, _END, _SINGLE = "B", "IM", "EL", "SUW"
_KNOWN = set(_BEGIN + _INSIDE + _END + _SINGLE)
OUTSIDE = "O"


def split_tag(tag: str) -> tuple[str, str]:
    """("B", "PER") for `B-PER` and `B_PER`; ("O", "") for `O`. Raises ValueError for anything else."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    mark, kind = tag[:1].upper(), tag[2:]
    if mark not in _KNOWN or tag[1:2] not in ("-", "_") or not kind:
        raise ValueError(f"{tag!r:.40} is no tag: expected O, or B-, I-, E-, S- or M- and a type")
    return mark, kind


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sequence of tags in any of the schemes, by the rules of conlleval."""
    found: list[Entity] = []
    kind, start, before = "", 0, OUTSIDE
    for i, tag in enumerate([*tags, OUTSIDE]):
        mark, own = split_tag(tag)
        goes_on = mark in _INSIDE + _END and own == kind and before not in (OUTSIDE, *_END, *_SINGLE)
        if kind and not goes_on:
            found.append((kind, start, i))
        if not goes_on:
            kind, start = own, i
        before = mark
    return found


def to_bio(tags: Sequence[str]) -> tuple[str, ...]:
    """The same entities in BIO."""
    made = [OUTSIDE] * len(tags)
    for kind, start, stop in entities(tags):
        made[start:stop] = [f"B-{kind}", *[f"I-{kind}"] * (stop - start - 1)]
    return tuple(made)


def scheme_of(tags: Iterable[Sequence[str]]) -> str:
    """The name of the scheme that some sequences are written in, for the log."""
    marks: set[str] = set()
    begins_inside = False
    for sequence in tags:
        before = (OUTSIDE, "")
        for tag in sequence:
            mark, kind = split_tag(tag)
            marks.add(mark)
            begins_inside |= mark == "I" and before[1] != kind
            before = mark, kind
    if "M" in marks:
        return "BMES"
    if marks & set(_END + _SINGLE):
        return "BIOES"
    return "IOB1" if begins_inside else "BIO"
