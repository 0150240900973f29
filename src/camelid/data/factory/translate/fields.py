"""The texts of a row as its file holds it, whatever its format: what is translated, and what is put back there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str | int, ...]

# Keys of the formats that are read (data/formats) whose strings people wrote; all others (ids, roles, labels) stay.
TEXT_KEYS = frozenset(
    (
        *("instruction", "input", "output", "response", "context", "question", "answer", "answers", "prompt"),
        *("completion", "query", "history", "system", "text", "content", "value", "chosen", "rejected", "instances"),
        *("messages", "conversations", "conversation", "replies", "summary", "title"),
    )
)


def texts_of(row: Any) -> Iterator[tuple[Path, str]]:
    """(where it stands, text) of every text of a row, in order; white space alone is none."""
    yield from _texts(row, (), wanted=isinstance(row, str))


def _texts(value: Any, path: Path, *, wanted: bool) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        if wanted and value.strip():
            yield path, value
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from _texts(one, (*path, place), wanted=wanted)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, (*path, key), wanted=key in TEXT_KEYS)


def with_texts(row: Any, texts: Mapping[Path, str]) -> Any:
    """A copy of the row with these texts in their places."""
    return _with(row, (), texts)


def _with(value: Any, path: Path, texts: Mapping[Path, str]) -> Any:
    if path in texts:
        return texts[path]
    if isinstance(value, list):
        return [_with(one, (*path, place), texts) for place, one in enumerate(value)]
    if isinstance(value, dict):
        return {key: _with(one, (*path, key), texts) for key, one in value.items()}
    return value
