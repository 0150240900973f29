"""A tokenizer with its chat template, written where transformers, vLLM and other servers look for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model")


def write_tokenizer(source: Path, directory: Path, template: str) -> None:
    """Copy the tokenizer of `source` as it is; the template (Jinja) goes into both places. Raises OSError."""
    for name in _FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, directory / name)
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    config["chat_template"] = template
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2), encoding="utf-8")
