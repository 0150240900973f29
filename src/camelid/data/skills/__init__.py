"""Bilingual skill data of our own: short tasks in Chinese and English, each with one right answer that is checked.

What `camelid quickstart` teaches. Held-out rows are made from entities and phrasings that no training row contains.
"""

from __future__ import annotations

from camelid.data.skills.draw import LANGUAGES, SPLITS, Language, Split
from camelid.data.skills.make import FAMILIES, make_skill_rows
from camelid.data.skills.row import Family, SkillRow, check_answer

__all__ = [
    "FAMILIES",
    "LANGUAGES",
    "SPLITS",
    "Family",
    "Language",
    "SkillRow",
    "Split",
    "check_answer",
    "make_skill_rows",
]
