"""Entities as (type, text), as a model writes them, and where they stand in a sentence of words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from camelid.data.tasks.records import Tagged
from camelid.data.tasks.schemes import OUTSIDE, Entity, entities

Mention = tuple[str, str]  # type, text


def joined(words: Sequence[str], spaced: bool) -> str:
    """Words as running text."""
    return (" " if spaced else "").join(words)


def mentions(record: Tagged) -> list[Mention]:
    """The entities of a record in the order of the sentence."""
    return [(kind, joined(record.words[start:stop], record.spaced)) for kind, start, stop in entities(record.tags)]


def numbered(found: Iterable[Mention]) -> set[tuple[str, str, int]]:
    """A set in which the second mention of a text and type is another one than the first: what F1 is counted over."""
    counts: Counter[Mention] = Counter()
    made = set()
    for mention in found:
        made.add((*mention, counts[mention]))
        counts[mention] += 1
    return made


def placed(record: Tagged, found: Iterable[Mention]) -> list[Entity]:
    """Where mentions stand: each on the first words that read so and that no mention before it took.

    A mention that is nowhere in the sentence, or begins or ends inside a word, is left out.
    """
    taken = [False] * len(record.words)
    made = []
    for kind, text in found:
        span = _first(record, text, taken)
        if span is not None:
            taken[span[0] : span[1]] = [True] * (span[1] - span[0])
            made.append((kind, *span))
    return made


def tags_of(record: Tagged, found: Iterable[Mention]) -> tuple[str, ...]:
    """The tags in BIO that mentions mean, as far as they can be placed."""
    tags = [OUTSIDE] * len(record.words)
    for kind, start, stop in placed(record, found):
        tags[start:stop] = [f"B-{kind}", *[f"I-{kind}"] * (stop - start - 1)]
    return tuple(tags)


def _first(record: Tagged, text: str, taken: Sequence[bool]) -> tuple[int, int] | None:
    for start in range(len(record.words)):
        for stop in range(start + 1, len(record.words) + 1):
            if taken[stop - 1]:
                break
            read = joined(record.words[start:stop], record.spaced)
            if read == text:
                return start, stop
            if len(read) >= len(text):
                break
    return None
