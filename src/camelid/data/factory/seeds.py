"""The seed tasks that new ones are made from: ours, in both languages, twelve for each capability."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from camelid.data.skills.draw import Language

CAPABILITIES = (
    *("self_knowledge", "outline", "copywriting", "email", "extraction", "role_play", "comparison", "travel"),
    *("summary", "maths", "code", "translation", "story", "poem", "classification"),
)


@dataclass(frozen=True, slots=True)
class SeedTask:
    """input: "" where the instruction needs none; capability: one of CAPABILITIES"""

    id: str
    capability: str
    instruction: str
    input: str
    output: str
    is_classification: bool


@cache
def load_seeds(language: Language) -> tuple[SeedTask, ...]:
    """The shipped ones of a language, in the order of the file. Fields as Self-Instruct's (Wang et al. 2022)."""
    file = resources.files("camelid") / "assets" / "seeds" / f"seed_tasks_{language}.jsonl"
    tasks = []
    for line in file.read_text("utf-8").splitlines():
        row = json.loads(line)
        (instance,) = row["instances"]
        tasks.append(
            SeedTask(
                row["id"],
                row["capability"],
                row["instruction"],
                instance["input"],
                instance["output"],
                row["is_classification"],
            )
        )
    return tuple(tasks)
