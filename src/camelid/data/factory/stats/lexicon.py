"""Word lists (assets/words), by which verbs, objects and languages are told: data, not code."""

from __future__ import annotations

from importlib import resources
from typing import Literal

import yaml


def word_lists(name: Literal["en", "zh", "latin"]) -> dict[str, list[str]]:
    """Each list by its name."""
    file = resources.files("camelid") / "assets" / "words" / f"{name}.yaml"
    return {key: words.split() for key, words in yaml.safe_load(file.read_text(encoding="utf-8")).items()}
