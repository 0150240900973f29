"""What a tokenizer makes of the texts: how many tokens for a word or a character of each script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np

from camelid.data.factory.stats.scripts import CLASSES, FIRST_LETTER, UNSPACED, classes_of
from camelid.data.vocabulary import Vocabulary

_LEAST = 100  # characters of a script for which its figures are shown
_MOST = 100_000  # characters of a text that are encoded at a time: what is longer is cut there


class Fertility:
    """Counts over all texts that are encoded.

    A token belongs to the script of the first letter that it holds, or holds a part of. A word is a run of letters.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._backend, self._size = vocabulary.backend, vocabulary.size
        unknown = vocabulary.special.get("unk_token")
        self._unknown = None if unknown is None else self._backend.token_to_id(unknown)
        self._tokens, self._characters, self._words, self._bytes = (np.zeros(len(CLASSES), np.int64) for _ in range(4))
        self._parts = self._unknowns = 0
        self._used = np.zeros(self._size, bool)

    def encode(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without any that a template adds."""
        pieces = [text[start : start + _MOST] for text in texts for start in range(0, len(text), _MOST)]
        encoded = iter(self._backend.encode_batch(pieces, add_special_tokens=False))
        found = [[next(encoded) for _ in range(0, len(text), _MOST)] for text in texts]
        lengths = [sum(len(one.ids) for one in parts) for parts in found]
        flat = list(chain.from_iterable(found))
        begins = np.cumsum([0, *map(len, pieces)])
        classes = classes_of("".join(pieces))
        self._count_text("".join(pieces), classes, begins[:-1])
        count = sum(lengths)
        ids = np.fromiter(chain.from_iterable(one.ids for one in flat), np.int64, count)
        ends_and_starts = chain.from_iterable(chain.from_iterable(one.offsets for one in flat))
        spans = np.fromiter(ends_and_starts, np.int64, 2 * count).reshape(-1, 2)
        spans += np.repeat(begins[:-1], [len(one.ids) for one in flat])[:, None]
        self._count_tokens(ids, spans[:, 0], spans[:, 1], classes)
        return lengths

    def _count_text(self, text: str, classes: np.ndarray, begins: np.ndarray) -> None:
        """begins: where in the text each of the pieces that it is put together from starts"""
        self._characters += np.bincount(classes, minlength=len(CLASSES))
        first = np.append(True, classes[1:] != classes[:-1])[: len(classes)]
        first[begins] = True
        self._words += np.bincount(classes[first], minlength=len(CLASSES))
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        sizes = 1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)
        self._bytes += np.bincount(classes, weights=sizes, minlength=len(CLASSES)).astype(np.int64)

    def _count_tokens(self, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray, classes: np.ndarray) -> None:
        if not len(ids):
            return
        self._used[ids] = True
        # a token whose characters its neighbour has too is a piece of one: a byte, or a few
        shared = starts[1:] < ends[:-1]
        self._parts += int((np.append(shared, False) | np.append(False, shared)).sum())
        if self._unknown is not None:
            self._unknowns += int((ids == self._unknown).sum())
        self._tokens += np.bincount(_class_of_spans(classes, starts, ends), minlength=len(CLASSES))

    def summary(self) -> dict[str, Any]:
        """Bytes for a token; tokens for a character and, where blanks part them, a word of each script.

        parts: share of tokens that are a piece of a character; unknown: that stand for what is lost; used: share of the
        vocabulary that occurs
        """
        tokens = int(self._tokens.sum())
        scripts: dict[str, dict[str, Any]] = {}
        for place in range(FIRST_LETTER, len(CLASSES)):
            script, characters, of_it = CLASSES[place], int(self._characters[place]), int(self._tokens[place])
            if characters:
                found = {"characters": characters, "tokens": of_it, "per_character": round(of_it / characters, 4)}
                if script not in UNSPACED:
                    found["per_word"] = round(of_it / int(self._words[place]), 4)
                scripts[script] = found
        return {
            "vocabulary": self._size,
            "tokens": tokens,
            "bytes_per_token": round(int(self._bytes.sum()) / max(1, tokens), 4),
            "parts": round(self._parts / max(1, tokens), 6),
            "unknown": round(self._unknowns / max(1, tokens), 6),
            "used": round(float(self._used.mean()), 6),
            "scripts": scripts,
        }


def shown_scripts(scripts: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Literal["per_word", "per_character"]]]:
    """(script, what is told of it) of those that occur often enough to say something, the commonest first."""
    common = sorted(
        (script for script, found in scripts.items() if found["characters"] >= _LEAST),
        key=lambda script: -scripts[script]["characters"],
    )
    return [(script, "per_word" if "per_word" in scripts[script] else "per_character") for script in common]


def _class_of_spans(classes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The class of the first letter in each span [start, end); where there is none, that of its last character."""
    letters = np.flatnonzero(classes >= FIRST_LETTER)
    last = classes[np.maximum(ends - 1, 0)]
    if not len(letters):
        return last
    first = letters[np.minimum(np.searchsorted(letters, starts), len(letters) - 1)]
    return np.where((first >= starts) & (first < ends), classes[first], last)
