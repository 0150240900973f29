"""The seed tasks that new ones are made from: ours, in both languages, twelve for each capability."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from camelid.data.skills.draw import Language
from camelid.errors import UserError

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
    return tuple(_seed(json.loads(line)) for line in file.read_text("utf-8").splitlines())


def read_seeds(path: Path) -> tuple[SeedTask, ...]:
    """A user's, in the same form; `id`, `capability` and `is_classification` may be left out. Raises UserError."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the seed tasks cannot be read: {error}", where=str(path)) from None
    tasks = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            tasks.append(
                _seed({"id": f"{path.name}-{number}", "capability": "", "is_classification": False, **json.loads(line)})
            )
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise UserError(
                f"no seed task: {type(error).__name__} {error}",
                where=f"{path}:{number}",
                mend='{"instruction": "...", "instances": [{"input": "", "output": "..."}]}',
            ) from None
    return tuple(tasks)


def _seed(row: dict[str, Any]) -> SeedTask:
    """Raises KeyError, TypeError, IndexError or ValueError."""
    instance = row["instances"][0] if "instances" in row else row
    words = row["instruction"], instance["input"], instance["output"]
    if not all(isinstance(one, str) for one in words) or not words[0].strip():
        raise ValueError("instruction, input and output are text")
    return SeedTask(row["id"], row["capability"], *words, bool(row["is_classification"]))
