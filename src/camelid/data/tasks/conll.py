"""CoNLL files: a word and its tag a line (the first and the last column), a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

from camelid.data.readers.decode import TextStream
from camelid.data.readers.lines import read_lines
from camelid.data.readers.rows import HEAD, Damage, RawRow

_SEGMENTED = re.compile(r".[0-9]", re.DOTALL)  # Weibo NER: a character and its place in its word


def read_conll(stream: TextStream) -> Iterator[RawRow | Damage]:
    """Yield a row {"words", "tags"} a sentence. `-DOCSTART-` lines and comments (`# text ...`) are left out."""
    words: list[str] = []
    tags: list[str] = []
    begin, fault = 0, ""
    for line in read_lines(stream):
        if isinstance(line, Damage):
            yield line
            continue
        number, text = line
        columns = text.split("\t") if "\t" in text else text.split()
        columns = [column for column in columns if column.strip()]
        if not columns or columns[0] == "-DOCSTART-" or (columns[0] == "#" and len(columns) != 2):
            yield from _sentence(begin, words, tags, fault)
            words, tags, fault = [], [], ""
            continue
        if not words:
            begin = number
        if len(columns) < 2:
            fault = fault or f"line {number} has one column: a word needs its tag"
        words.append(columns[0])
        tags.append(columns[-1].strip())
    yield from _sentence(begin, words, tags, fault)


def _sentence(begin: int, words: list[str], tags: list[str], fault: str) -> Iterator[RawRow | Damage]:
    if fault:
        yield Damage(begin, fault, " ".join(words)[:HEAD])
    elif words:
        if all(_SEGMENTED.fullmatch(word) for word in words):
            words = [word[0] for word in words]
        yield RawRow(begin, {"words": words, "tags": tags}, " ".join(words)[:HEAD], True)
