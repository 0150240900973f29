"""Makes the rows: which family, which language, which draw."""

from __future__ import annotations

import random
from collections.abc import Sequence

from camelid.data.records import Conversation, Message, Origin
from camelid.data.skills import extraction, formats, identity, listing
from camelid.data.skills.draw import LANGUAGES, SPLITS, Draw, Language, Split
from camelid.data.skills.row import Family, SkillRow
from camelid.errors import UserError

FAMILIES: tuple[Family, ...] = (
    *identity.FAMILIES,
    *extraction.FAMILIES,
    *formats.FAMILIES,
    *listing.FAMILIES,
)
ATTEMPTS = 20  # draws to find a prompt that is not there yet


def make_skill_rows(
    seed: int,
    count: int,
    languages: Sequence[Language] = LANGUAGES,
    split: Split = "train",
    name: str = "Camelid",
    maker: str = "you",
    families: Sequence[Family] = FAMILIES,
) -> list[SkillRow]:
    """`count` rows, the same for the same arguments on every machine, in mixed order.

    Languages get equal parts (the first ones one more where it does not divide). Training rows are spread over
    the families by their `share`, held-out rows evenly. A prompt occurs twice only where a family has no more.
    `name` and `maker` are the assistant's, as its answers say them. UserError: an impossible argument.
    """
    _check(count, languages, split, name, maker)
    rows: list[SkillRow] = []
    for place, language in enumerate(languages):
        part = count // len(languages) + (place < count % len(languages))
        shares = [family.share if split == "train" else 1.0 for family in families]
        seen: set[str] = set()
        for family, number in zip(families, _apportion(part, shares), strict=True):
            chance = random.Random(f"{seed}/{split}/{language}/{family.name}")
            for _ in range(number):
                rows.append(_fresh_row(family, chance, language, split, name, maker, seen))
    random.Random(f"{seed}/{split}").shuffle(rows)
    return rows


def _check(count: int, languages: Sequence[str], split: str, name: str, maker: str) -> None:
    if count < 0:
        raise UserError(f"cannot make {count} skill rows", mend="give a count of 0 or more")
    unknown = [language for language in languages if language not in LANGUAGES]
    if unknown or not languages or len(set(languages)) != len(languages):
        raise UserError(f"languages {list(languages)} for skill rows", mend="name zh, en or both, each once")
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} of the skill rows", mend="choose train or heldout")
    for what, value in (("name", name), ("maker", maker)):
        if not value.strip():
            raise UserError(f"the assistant's {what} is empty", mend=f"give it a {what}")


def _apportion(count: int, shares: Sequence[float]) -> list[int]:
    """`count` divided by shares, to whole numbers that add up (largest remainder, earlier one first)."""
    exact = [count * share / sum(shares) for share in shares]
    parts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: parts[i] - exact[i])
    for i in by_remainder[: count - sum(parts)]:
        parts[i] += 1
    return parts


def _fresh_row(
    family: Family, chance: random.Random, language: Language, split: Split, name: str, maker: str, seen: set[str]
) -> SkillRow:
    """A row whose prompt is not in `seen` yet, if a few draws bring one."""
    for _ in range(ATTEMPTS):
        draw = Draw(chance, language, split, name, maker)
        task = family.make(draw)
        if task.prompt not in seen:
            break
    seen.add(task.prompt)
    origin = Origin(f"skills:{split}/{language}/{family.name}", len(seen))
    conversation = Conversation((Message("user", task.prompt),), origin)
    return SkillRow(
        conversation, task.answer, family.name, language, family.check, tuple(draw.entities), tuple(draw.used_phrasings)
    )
