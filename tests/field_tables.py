"""The tables of recipe fields in docs/*/recipes.md: made from `config.Recipe`, read from a page, written into it.

    .venv/bin/python tests/field_tables.py      rewrites both pages after a change of config.py

The English meanings are the fields' descriptions. The Chinese page keeps its own; a field that has none yet is marked
with UNTRANSLATED, and tests/test_docs.py stays red until somebody writes it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from camelid.config import Recipe
from camelid.recipe_sections import (
    FreezeSettings,
    LoraSettings,
    PrefixSettings,
    PromptSettings,
    ReplaySettings,
    SourceSpec,
)

DOCS = Path(__file__).resolve().parent.parent / "docs"
SECTIONS: dict[str, tuple[type[BaseModel], str]] = {
    "lora": (LoraSettings, "lora."),
    "prompt": (PromptSettings, "prompt."),
    "prefix": (PrefixSettings, "prefix."),
    "freeze": (FreezeSettings, "freeze."),
    "replay": (ReplaySettings, "replay."),
    "source": (SourceSpec, "data[]."),
}
HEADS = {
    "en": ("field", "default", "values", "meaning"),
    "zh": ("字段", "默认值", "取值", "含义"),
}
REQUIRED = {"en": "required", "zh": "必填"}
UNTRANSLATED = "未译"
# Fields that need no description in the program; the pages say a word.
WORDS = {
    "seed": "decides everything random",
    "logging_steps": "write metrics every so many steps",
    "adam_beta1": "AdamW: decay of the first moment",
    "adam_beta2": "AdamW: decay of the second moment",
    "adam_epsilon": "AdamW: added to the denominator",
}
_MARK = re.compile(r"<!-- fields: (\S+) -->\n(?:\n?\|.*\n)*")
_ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
_BARE_PIPE = re.compile(r"(?<!\\)\|")


def expected_rows(language: str) -> dict[str, list[str]]:
    """Field as a recipe writes it -> the cells behind it; the last one, the meaning, is English."""
    rows = _rows(Recipe, "", language)
    for model, prefix in SECTIONS.values():
        rows |= _rows(model, prefix, language)
    return rows


def written_rows(page: str) -> dict[str, list[str]]:
    """The same, read from a page."""
    found = {}
    for line in page.splitlines():
        if match := _ROW.match(line):
            cells = [cell.strip() for cell in _BARE_PIPE.split(line)[2:-1]]
            found[match[1]] = cells
    return found


def rewritten(page: str, language: str) -> str:
    """The page with its tables made anew."""
    old = written_rows(page)
    rows = expected_rows(language)
    if language != "en":
        for name, cells in rows.items():
            cells[-1] = old[name][-1] if name in old else UNTRANSLATED
    return _MARK.sub(lambda match: _table(match[1], rows, language), page)


def _table(what: str, rows: dict[str, list[str]], language: str) -> str:
    names = list(rows)
    if what in SECTIONS:
        prefix = SECTIONS[what][1]
        chosen = [name for name in names if name.startswith(prefix)]
    else:
        first, _, last = what.partition("..")
        chosen = names[names.index(first) : names.index(last) + 1]
    lines = [f"| {' | '.join(HEADS[language])} |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {' | '.join(rows[name])} |" for name in chosen]
    return f"<!-- fields: {what} -->\n\n" + "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], prefix: str, language: str) -> dict[str, list[str]]:
    schema = model.model_json_schema()
    required = set(schema.get("required", []))
    rows = {}
    for name, field in schema["properties"].items():
        default = REQUIRED[language] if name in required else _shown(field.get("default"))
        meaning = field.get("description") or WORDS[name]
        rows[prefix + name] = [default, _values(field), meaning.replace("|", "\\|")]
    return rows


def _shown(default: Any) -> str:
    return "—" if default is None or default == {} else f"`{json.dumps(default, ensure_ascii=False)}`"


def _values(field: dict[str, Any]) -> str:
    """What a field takes, in words that need no translation: `a` · `b`, int ≥ 1, 0 ≤ number < 1, text, list."""
    if "anyOf" in field:
        parts = [_values(part) for part in field["anyOf"] if part.get("type") != "null"]
        return " / ".join(dict.fromkeys(parts))
    if "enum" in field or "const" in field:
        return " · ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    kind = field.get("type", "section" if "$ref" in field else "text")
    if kind == "array":
        return "list"
    if kind == "boolean":
        return "`true` · `false`"
    if kind not in ("integer", "number"):
        return "text" if kind == "string" else str(kind)
    return _bounded(field, kind)


def _bounded(field: dict[str, Any], kind: str) -> str:
    text = {"integer": "int", "number": "number"}[kind]
    low, above = field.get("minimum"), field.get("exclusiveMinimum")
    high, below = field.get("maximum"), field.get("exclusiveMaximum")
    if kind == "integer" and above is not None:
        low, above = above + 1, None
    ends = [f"≤ {high:g}"] if high is not None else [f"< {below:g}"] if below is not None else []
    if ends:
        begin = f"{low:g} ≤ " if low is not None else f"{above:g} < " if above is not None else ""
        return f"{begin}{text} {ends[0]}"
    return f"{text} ≥ {low:g}" if low is not None else f"{text} > {above:g}" if above is not None else text


def main() -> None:
    """Rewrite the tables of both pages."""
    for language in HEADS:
        path = DOCS / language / "recipes.md"
        path.write_text(rewritten(path.read_text("utf-8"), language), "utf-8")
        print(f"written: {path.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
