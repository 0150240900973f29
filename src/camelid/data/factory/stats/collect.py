"""All figures of a data set, gathered in one pass: what is kept of a row are numbers, hashes and its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from camelid.data.factory.rows import Row, text_of
from camelid.data.factory.stats.diversity import VerbObjects, Vocabulary
from camelid.data.factory.stats.exchanges import Exchange, exchange_of
from camelid.data.factory.stats.fertility import Fertility
from camelid.data.factory.stats.lengths import Lengths
from camelid.data.factory.stats.repeats import NEAR, Repeats
from camelid.data.factory.stats.scripts import CLASSES, FIRST_LETTER, LANGUAGES, SCRIPTS, counts_of, language_of
from camelid.data.vocabulary import Vocabulary as Tokens

SIDES = ("prompt", "answer", "whole")
_ROWS = 256  # tokenised at a time
_SYSTEMS = 100_000  # different system prompts that are counted one by one
_SHOWN = 5


class Statistics:
    """Fed row by row. tokenizers: name -> vocabulary, for lengths in tokens and fertility."""

    def __init__(self, tokenizers: Mapping[str, Tokens] | None = None) -> None:
        self.rows = 0
        self._kinds: Counter[str] = Counter()
        self._languages = {side: Counter[str]() for side in SIDES[:2]}
        self._letters = {side: np.zeros(len(CLASSES), np.int64) for side in SIDES[:2]}
        self._turns: Counter[int] = Counter()
        self._systems: Counter[str] = Counter()
        self._with_system = self._with_tools = 0
        self._characters = {side: Lengths() for side in SIDES}
        self._fertility = {name: Fertility(vocabulary) for name, vocabulary in (tokenizers or {}).items()}
        self._tokens = {name: {side: Lengths() for side in SIDES} for name in self._fertility}
        self._waiting: list[Exchange] = []
        self._prompts, self._whole = Repeats(near=True), Repeats()
        self._verbs = {"en": VerbObjects("en"), "zh": VerbObjects("zh")}
        self._words = {side: Vocabulary() for side in SIDES[:2]}

    def add(self, row: Row) -> None:
        self.rows += 1
        whole = text_of(row, "all")
        self._prompts.add(text_of(row, "prompt") or whole)
        self._whole.add(whole)
        for record in row.records:
            self._kinds[type(record).__name__] += 1
            self._add(exchange_of(record))

    def _add(self, exchange: Exchange) -> None:
        prompt, language = "\n".join(exchange.asked), ""
        if prompt:
            self._characters["prompt"].add(sum(map(len, exchange.asked)))
            language = self._text("prompt", prompt)
        for answer in exchange.answers:
            self._characters["answer"].add(len(answer))
            self._text("answer", answer)
        self._characters["whole"].add(exchange.longest(len))
        self._turns[exchange.turns] += 1
        self._with_tools += exchange.tools
        if exchange.system:
            self._with_system += 1
            if exchange.system in self._systems or len(self._systems) < _SYSTEMS:
                self._systems[exchange.system] += 1
        if exchange.instruction:
            if exchange.instruction != prompt:
                language = language_of(exchange.instruction)
            self._verbs["zh" if language in ("zh", "mixed") else "en"].add(exchange.instruction)
        if self._fertility:
            self._waiting.append(exchange)
            if len(self._waiting) == _ROWS:
                self._tokenise()

    def _text(self, side: str, text: str) -> str:
        """Its language."""
        counts = counts_of(text)
        language = language_of(text, counts)
        self._languages[side][language] += 1
        self._letters[side] += counts
        self._words[side].add(text)
        return language

    def _tokenise(self) -> None:
        texts = [text for exchange in self._waiting for text in exchange.texts]
        for name, fertility in self._fertility.items():
            counted = iter(fertility.encode(texts))
            lengths = self._tokens[name]
            for exchange in self._waiting:
                size = {text: next(counted) for text in exchange.texts}.__getitem__
                if exchange.asked:
                    lengths["prompt"].add(sum(map(size, exchange.asked)))
                lengths["answer"].extend(map(size, exchange.answers))
                lengths["whole"].add(exchange.longest(size))
        self._waiting = []

    def summary(self) -> dict[str, Any]:
        """The figures as one object; shares are between 0 and 1."""
        self._tokenise()
        prompts, whole = self._prompts.summary(), self._whole.summary()
        verbs = {language: found.summary() for language, found in self._verbs.items()}
        return {
            "rows": self.rows,
            "records": self._kinds.total(),
            "kinds": dict(self._kinds.most_common()),
            "languages": {side: {one: found[one] for one in LANGUAGES} for side, found in self._languages.items()},
            "letters": {side: _letters(found) for side, found in self._letters.items()},
            "turns": {str(turns): count for turns, count in sorted(self._turns.items())},
            "with_tools": self._with_tools,
            "system": {
                "rows": self._with_system,
                "different": len(self._systems),
                "commonest": [{"text": text, "rows": n} for text, n in self._systems.most_common(_SHOWN)],
            },
            "characters": _lengths(self._characters),
            "tokens": {name: _lengths(lengths) for name, lengths in self._tokens.items()},
            "repeats": {"prompt": prompts, "whole": whole, "near_is": NEAR},
            "verbs": {language: found for language, found in verbs.items() if found["instructions"]},
            "words": {side: found.summary() for side, found in self._words.items()},
            "tokenizers": {name: found.summary() for name, found in self._fertility.items()},
        }


def _lengths(found: Mapping[str, Lengths]) -> dict[str, Any]:
    return {side: lengths.summary() for side, lengths in found.items()}


def _letters(counts: np.ndarray) -> dict[str, int]:
    found = zip(SCRIPTS, counts[FIRST_LETTER:].tolist(), strict=True)
    return {script: count for script, count in found if count}
