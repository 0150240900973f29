"""Lines of a text stream, split at line feeds only (U+2028 and its like occur inside rows), with their numbers."""

from __future__ import annotations

from collections.abc import Iterator

from camelid.data.readers.decode import TextStream
from camelid.data.readers.rows import HEAD, MAX_ROW, Damage


def read_lines(stream: TextStream, limit: int = MAX_ROW) -> Iterator[tuple[int, str] | Damage]:
    """Yield (number from 1, text without its line break); a line longer than `limit` characters is one `Damage`."""
    number, parts, length = 1, [], 0
    while text := stream.read():
        first, *rest = text.split("\n")
        length += len(first)
        if length <= limit:
            parts.append(first)
        else:  # keep what an excerpt needs and skip the remainder
            parts = [("".join(parts) or first)[:HEAD]]
        for following in rest:
            yield _line(number, parts, length, limit)
            number, parts, length = number + 1, [following], len(following)
    if length:
        yield _line(number, parts, length, limit)
    if stream.fault:
        yield Damage(number, stream.fault, "")


def _line(number: int, parts: list[str], length: int, limit: int) -> tuple[int, str] | Damage:
    text = parts[0] if len(parts) == 1 else "".join(parts)
    if length > limit:
        return Damage(number, f"a line longer than {limit >> 20} Mi characters", text[:HEAD])
    return number, text.removesuffix("\r").removeprefix("\ufeff")
