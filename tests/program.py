"""The program run in this process, and a recipe for it: small, on a tiny base."""

from __future__ import annotations

from pathlib import Path

import yaml
from tiny import chat_rows, tiny_base
from typer.testing import CliRunner

from camelid.cli.main import app


def camelid(*arguments: str | Path) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def recipe_file(folder: Path, **fields: object) -> Path:
    """A recipe over 24 chat rows, or over what `fields` says.

    Without `retention` it measures nothing of what is forgotten: that takes ten times as long as the training.
    """
    values = {
        "base": str(tiny_base()),
        "data": fields.get("data") or str(chat_rows(folder / "rows.jsonl")),
        "dtype": "float32",
        "max_steps": 3,
        "per_device_train_batch_size": 6,
        "learning_rate": 1e-2,
        "max_length": 128,
        "output_dir": str(folder / "run"),
        "retention": False,
        **fields,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path
