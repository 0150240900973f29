"""Leakage of evaluation sets: rows that share a long run of words with one, or ask one of its questions."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from camelid.data.factory.lint.patterns import HAN, either
from camelid.data.factory.lint.sample import Sample, around
from camelid.data.factory.lint.sets import Late, SetCheck
from camelid.data.factory.rows import Row, text_of
from camelid.data.factory.similar import units
from camelid.data.formats import RowFault, convert_row
from camelid.data.groups import digest
from camelid.data.ledger import Ledger
from camelid.data.records import Origin
from camelid.data.sources import Reading, read_with
from camelid.errors import UserError

# GPT-3's thirteen words (Brown et al. 2020, appendix C); Chinese is counted in characters, of which a word has two. One
# such run may be chance or a saying: it takes more of them in a row, or half of a question.
WORDS, CHARACTERS = 13, 20
_IN_A_ROW = {WORDS: 8, CHARACTERS: 11}  # runs: 20 words, 30 characters
_HALF = 0.5
_FEWEST_WORDS, _FEWEST_CHARACTERS = 5, 8  # of a question that is shorter than a run
_BOILERPLATE = 3  # texts that share a run: it is their template's, and says nothing
_SEGMENT = re.compile(r"\n+|(?<=[.!?])\s|(?<=[。！？])|[:：]\s?")
_ASKS = either(
    r"[?？]|^\s*(?:write|explain|describe|list|name|give|translate|summari[sz]e|what|who|how|why|which|generate"
    r"|create)\b",
    r"^\s*(?:suggest|classify|identify|find|calculate|compare|rewrite|edit|tell|provide|compose|design|make)\b",
    "什么|谁|哪|多少|几|吗|如何|怎[么样]|为什么|^(?:请|写|解释|列|给|翻译|介绍|计算|总结|描述|分析|比较|设计|生成)",
)
_QUESTION_FIELD = either("question|instruction|prompt|query|problem|input|turns|ctx|passage|sentence|goal|stem|题|问")
_SHORTEST_FIELD, _MOST_FIELDS = 8, 1000
_MOST_TEXT = 20_000  # characters of one text of an evaluation set that are indexed


class Leakage(SetCheck):
    """Holds the runs of the evaluation sets' questions and answers; asks of each row whether it has enough of them.

    Raises UserError for a file that cannot be read or holds no text.
    """

    def __init__(self, against: Sequence[str]) -> None:
        self._runs: dict[int, dict[int, int]] = {WORDS: {}, CHARACTERS: {}}  # hash of a run to the number of its text
        self._short: dict[bytes, int] = {}
        self._texts: list[tuple[Origin, float]] = []  # where it is, and how many of its runs are enough
        self._found: list[Late] = []
        counts: Counter[int] = Counter()
        known: set[bytes] = set()
        for origin, text, asked in _texts(against):
            tokens = units(text)
            name = digest(" ".join(tokens))
            if name not in known:
                known.add(name)
                self._add(tokens, text, origin, counts, asked=asked)
        for runs in self._runs.values():
            for run in [run for run in runs if counts[run] >= _BOILERPLATE]:
                del runs[run]
        if not self._texts:
            raise UserError("holds no text that is long enough to look for", where=", ".join(against))

    def _add(self, tokens: list[str], text: str, origin: Origin, counts: Counter[int], *, asked: bool) -> None:
        number = len(self._texts)
        chinese = 2 * sum(HAN.match(token) is not None for token in tokens) > len(tokens)
        size = CHARACTERS if chinese else WORDS
        runs = set(_runs(tokens, size))
        short = asked and (len(runs) > 0 or _ASKS.search(text) is not None)
        if not runs and (not short or len(tokens) < (_FEWEST_CHARACTERS if chinese else _FEWEST_WORDS)):
            return
        counts.update(runs)
        for run in runs:
            self._runs[size].setdefault(run, number)
        if short:
            self._short.setdefault(digest(" ".join(tokens)), number)
        self._texts.append((origin, max(1.0, _HALF * len(runs)) if asked else math.inf))

    def see(self, place: int, sample: Sample) -> None:
        for exchange in sample.exchanges:
            for text in _segments(exchange.question.text, exchange.instruction, exchange.input):
                number = self._short.get(digest(" ".join(units(text))))
                if number is not None:
                    self._found.append(Late("evaluation-leak", place, around(text, 0), self._texts[number][0]))
                    return
        for turn in sample.turns:
            if (found := self._run_in(turn.text)) is not None:
                shown, number = found
                self._found.append(Late("evaluation-leak", place, shown, self._texts[number][0]))
                return

    def _run_in(self, text: str) -> tuple[str, int] | None:
        """The words that an evaluation set has too, and the number of its text."""
        tokens = units(text)
        for size, known in self._runs.items():
            if not known or len(tokens) < size:
                continue
            hits: Counter[int] = Counter()
            row = 0
            before = -1
            for i, run in enumerate(_runs(tokens, size)):
                number = known.get(run, -1)
                row = row + 1 if number == before else 1
                before = number
                if number < 0:
                    continue
                hits[number] += 1
                if row >= _IN_A_ROW[size] or hits[number] >= self._texts[number][1]:
                    words = tokens[max(0, i - row + 1) : i + size]
                    return around(("" if size == CHARACTERS else " ").join(words), 0), number
        return None

    def finish(self) -> Iterator[Late]:
        yield from self._found


def _runs(tokens: list[str], size: int) -> Iterator[int]:
    return (hash(tuple(tokens[i : i + size])) for i in range(len(tokens) - size + 1))


def _segments(question: str, instruction: str, given: str) -> Iterator[str]:
    """The question, its parts, and each of its sentences."""
    yield question
    if given:
        yield instruction
        yield given
    if len(question) < 4000:
        pieces = _SEGMENT.split(question)
        yield from pieces if len(pieces) > 1 else ()


def _texts(against: Sequence[str]) -> Iterator[tuple[Origin, str, bool]]:
    """Each question (True) and answer (False) of the evaluation sets, whatever their fields are called."""
    reading = Reading(lambda part: part.open(), _convert)
    rows = read_with(reading, list(against), seed=0, ledger=Ledger(), on_reject=lambda rejection: None)
    for origin, asked, answers in rows:
        for text in asked:
            yield origin, text[:_MOST_TEXT], True
        for text in answers:
            yield origin, text[:_MOST_TEXT], False


def _convert(value: Any, origin: Origin, notes: list[str]) -> tuple[str, Sequence[tuple[Origin, list[str], list[str]]]]:
    try:
        name, records = convert_row(value, origin, notes)
    except RowFault as fault:
        asked, others = _strings(value)
        if not asked and not others:
            raise RowFault(str(fault)) from None
        return "text", [(origin, asked, others)]
    row = Row(value, origin, tuple(records))
    asked = [text_of(row, "prompt"), text_of(row, "instruction")]
    return name, [(origin, [text for text in asked if text], [text_of(row, "answer")])]


def _strings(value: Any) -> tuple[list[str], list[str]]:
    """The texts that a row of an unknown format holds: those whose field's name is a question's, and the others."""
    asked: list[str] = []
    others: list[str] = []
    pending: list[tuple[str, Any]] = [("", value)]
    while pending and len(asked) + len(others) < _MOST_FIELDS:
        name, item = pending.pop()
        if isinstance(item, str):
            if len(item) > _SHORTEST_FIELD:
                (asked if _QUESTION_FIELD.search(name) else others).append(item)
        elif isinstance(item, Mapping):
            pending += reversed([(str(key), child) for key, child in item.items()])
        elif isinstance(item, list):
            pending += reversed([(name, child) for child in item])
    return asked, others
