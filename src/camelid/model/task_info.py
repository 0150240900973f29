"""What a model that tells classes apart was trained for: written beside its weights, read without any of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from camelid.errors import UserError

TASK_FILE = "task.json"


@dataclass(frozen=True)
class TaskInfo:
    """What a classifier was trained for. task: classify, pair or tag; labels: the classes by number."""

    task: str
    labels: tuple[str, ...]

    def save(self, directory: Path) -> None:
        """Write it beside the weights."""
        text = json.dumps({"task": self.task, "labels": list(self.labels)}, ensure_ascii=False, indent=1)
        (directory / TASK_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> TaskInfo | None:
        """What stands beside the weights; None for a model without classes. Raises UserError."""
        path = directory / TASK_FILE
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(str(content["task"]), tuple(map(str, content["labels"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"cannot be read: {error}", where=str(path)) from error
