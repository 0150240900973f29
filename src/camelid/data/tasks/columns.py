"""Rows of labelled text: which of their fields is the text, the second text, the label; the words and their tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from camelid.data.formats.fields import RowFault, filled, kind, listed
from camelid.data.records import Origin
from camelid.data.tasks.records import Classified, Tagged, TaskRecord
from camelid.data.tasks.schemes import to_bio

# The usual names, in the order in which they are looked for: GLUE, SuperGLUE, CLUE, and what people write themselves.
_TEXT = ("sentence", "text", "text_a", "review", "content", "premise", "sentence1", "question", "query", "#1 String")
_PAIR = ("sentence2", "text_b", "hypothesis", "passage", "#2 String")
_LABEL = ("label", "labels", "gold_label", "class", "Quality", "target")
_WORDS, _TAGS = ("words", "tokens"), ("tags", "ner_tags", "labels")
# Scripts that are written without blanks between words.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0e7f]")


def convert(row: Any, origin: Origin, task: str, columns: Mapping[str, str]) -> TaskRecord:
    """The record of a row of task `classify`, `pair` or `tag`; `columns` overrules the usual names. Raises RowFault."""
    if not isinstance(row, dict):
        raise RowFault(f"the row is {kind(row)}, not an object")
    if task == "tag":
        return _tagged(row, origin, columns)
    texts = [filled(row[_field(row, columns, "text", _TEXT)], "text")]
    if task == "pair":
        texts.append(filled(row[_field(row, columns, "pair", _PAIR)], "pair"))
        if isinstance(row.get("word"), str) and "pair" not in columns:  # WiC: a word in two contexts
            texts[0] = f"{row['word']}: {texts[0]}"
    name = _field(row, columns, "label", _LABEL)
    return Classified(tuple(text.strip() for text in texts), _label(row[name], name), origin)


def _tagged(row: dict[str, Any], origin: Origin, columns: Mapping[str, str]) -> Tagged:
    words = listed(row[_field(row, columns, "words", _WORDS)], "words")
    tags = listed(row[_field(row, columns, "tags", _TAGS)], "tags")
    if not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise RowFault("words must be a list of words, none of them empty")
    if len(words) != len(tags) or not all(isinstance(tag, str) for tag in tags):
        raise RowFault(f"{len(words)} words need as many tags, written as text (found {len(tags)})")
    try:
        bio = to_bio(tags)
    except ValueError as error:
        raise RowFault(str(error)) from None
    unspaced = sum(bool(_UNSPACED.search(word)) for word in words)
    characters = all(len(word) == 1 for word in words)  # a sentence of signs and Latin letters among Chinese ones
    return Tagged(tuple(word.strip() for word in words), bio, not characters and 2 * unspaced < len(words), origin)


def _field(row: dict[str, Any], columns: Mapping[str, str], role: str, usual: tuple[str, ...]) -> str:
    if role in columns:
        if columns[role] not in row:
            raise RowFault(f"the row has no field {columns[role]!r} (columns.{role})")
        return columns[role]
    found = next((name for name in usual if name in row), None)
    if found is None:
        shown = ", ".join(str(key)[:30] for key in list(row)[:8])
        raise RowFault(f"which field is the {role}? Name it as columns.{role}; the row has: {shown}")
    return found


def _label(value: Any, field: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return filled(value, field).strip()
