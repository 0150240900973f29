"""Fields of a row: read as text or refused with a reason; nothing is turned into text that was not text."""

from __future__ import annotations

import json
from typing import Any

from camelid.data.readers.rows import bad_text

MAX_DEPTH = 64  # of descriptions of tools and of their arguments


class RowFault(Exception):
    """Why a row cannot be used. Caught where rows are counted (`camelid.data.sources`); never leaves the data floor."""


def kind(value: Any) -> str:
    """What a value is, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list | tuple):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def text(value: Any, field: str) -> str:
    """A text; a list of texts (its lines); or OpenAI's list of parts, all of them text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and value:
        if all(isinstance(line, str) for line in value):
            return "\n".join(value)
        if all(isinstance(part, dict) for part in value):
            return "".join(_part(part, field) for part in value)
    raise RowFault(f"{field} is {kind(value)}, not text")


def _part(part: dict[str, Any], field: str) -> str:
    if part.get("type") not in ("text", None) or not isinstance(part.get("text"), str):
        raise RowFault(f"{field} holds a part of type {str(part.get('type'))[:20]!r}; only text is read")
    return part["text"]


def filled(value: Any, field: str) -> str:
    """A text that is not blank."""
    result = text(value, field)
    if not result or result.isspace():
        raise RowFault(f"{field} is empty")
    return result


def optional(value: Any, field: str) -> str:
    """A text that may be absent, null or blank; blank comes back as ""."""
    if value is None:
        return ""
    result = text(value, field)
    return "" if result.isspace() else result


def listed(value: Any, field: str) -> list[Any]:
    """A list, or text that is a JSON list (as CSV and Parquet columns hold it); null and "" are the empty list."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, str):
        value = parse_json(value, field)
    if isinstance(value, list | tuple):
        return list(value)
    raise RowFault(f"{field} is {kind(value)}, not a list")


def parse_json(value: str, field: str) -> Any:
    """JSON inside a text field."""
    try:
        parsed = json.loads(value)
    except RecursionError:
        raise RowFault(f"{field} is nested too deeply") from None
    except ValueError:
        raise RowFault(f"{field} is not valid JSON") from None
    if bad := bad_text(parsed):  # its escapes were out of sight when the row was looked through
        raise RowFault(f"{field} {bad}")
    return parsed


def check_depth(value: Any, field: str) -> None:
    """Refuse values that later stages (templates write them as JSON) could not walk through."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            if isinstance(item, dict | list | tuple)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise RowFault(f"{field} is nested deeper than {MAX_DEPTH} levels")
