"""One JSON value at a time out of a string, with every way to fail turned into a value."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_ESCAPED = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")  # NUL, or half of a surrogate pair (emoji have both halves)


@dataclass(slots=True)
class Parsed:
    value: Any
    end: int  # index behind the value
    repeated: str | None  # a key that one of its objects holds twice
    suspect: bool  # may hold NUL or lone surrogates


@dataclass(slots=True)
class Failed:
    reason: str
    position: int  # where the parser stopped; -1 where it does not say
    incomplete: bool  # more text could still make it whole


class JsonDecoder:
    """Strict JSON, as RFC 8259 has it, but for NaN and Infinity, which Python's own writer produces."""

    def __init__(self) -> None:
        self._repeated: list[str] = []
        self._scan = json.JSONDecoder(object_pairs_hook=self._object).raw_decode

    def decode(self, text: str, start: int) -> Parsed | Failed:
        """Parse the value that begins at text[start]."""
        self._repeated.clear()
        try:
            value, end = self._scan(text, start)
        except json.JSONDecodeError as error:
            # A string without its closing quote ran to the end of the text: a line break would have stopped it.
            open_end = error.msg.startswith("Unterminated string") or error.pos >= len(text) - 16
            return Failed(f"broken JSON: {error.msg}", error.pos, open_end)
        except RecursionError:
            return Failed("nested too deeply", -1, False)
        except ValueError as error:  # a number of thousands of digits
            return Failed(f"broken JSON: {error}", -1, False)
        suspect = text.find("\\u", start, end) >= 0 and _ESCAPED.search(text, start, end) is not None
        return Parsed(value, end, self._repeated[0] if self._repeated else None, suspect)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):  # Python keeps the last value, others the first: which one was meant?
            keys = [key for key, _ in pairs]
            self._repeated.append(next(key for key in keys if keys.count(key) > 1))
        return result
