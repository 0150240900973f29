"""Running text: {text}. Chat markup inside it (`<s>Human: ...`) stays text; nothing is guessed from it."""

from __future__ import annotations

from typing import Any

from camelid.data.formats.fields import filled
from camelid.data.records import Origin, Text

NAME = "text"


def recognises(keys: frozenset[str]) -> bool:
    return "text" in keys


def convert(row: dict[str, Any], origin: Origin, notes: list[str]) -> list[Text]:
    return [Text(filled(row["text"], "text"), origin)]
