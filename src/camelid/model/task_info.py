"""What a model was trained for beside chat: written beside its weights, read without any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from camelid.errors import UserError

TASK_FILE = "task.json"


@dataclass(frozen=True)
class TaskInfo:
    """What a model was trained for. task: classify, pair or tag; labels: the classes by number.

    form: head (a head tells the classes), words or json (the model answers); language: of the question it was asked
    names: what the labels of the data are called here, where they are called otherwise
    """

    task: str
    labels: tuple[str, ...]
    form: str = "head"
    language: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def save(self, directory: Path) -> None:
        """Write it beside the weights."""
        values = {**vars(self), "labels": list(self.labels), "names": dict(self.names)}
        text = json.dumps(values, ensure_ascii=False, indent=1)
        (directory / TASK_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> TaskInfo | None:
        """What stands beside the weights; None for a model of task chat. Raises UserError."""
        path = directory / TASK_FILE
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            names = {str(key): str(name) for key, name in content.get("names", {}).items()}
            form, language = str(content.get("form", "head")), str(content.get("language", ""))
            return cls(str(content["task"]), tuple(map(str, content["labels"])), form, language, names)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"cannot be read: {error}", where=str(path)) from error

    @classmethod
    def of_head(cls, directory: Path) -> TaskInfo | None:
        """The same for a model with a head for its classes; None for one that writes text."""
        info = cls.load(directory)
        return info if info is not None and info.form == "head" else None
