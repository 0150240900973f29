"""Classification: whether some labels have far more rows than others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from camelid.data.factory.dedup import normalised
from camelid.data.factory.lint.patterns import HAN
from camelid.data.factory.lint.sample import Exchange, Sample, around
from camelid.data.factory.lint.sets import Late, SetCheck
from camelid.data.groups import digest

_LABEL_LENGTH = 30
_MOST_LABELS, _FEWEST_ROWS = 20, 30
_TOP_SHARE, _TOP_TIMES = 0.8, 20
_LABEL_FIELDS = ("label", "labels", "class", "category", "kto_tag")


class LabelBalance(SetCheck):
    """Classification: rows with one instruction and few short answers, or a field that holds the label."""

    def __init__(self) -> None:
        self._groups: dict[bytes | str, Counter[str] | None] = {}
        self._where: dict[tuple[bytes | str, str], int] = {}
        self._names: dict[bytes | str, str] = {}

    def see(self, place: int, sample: Sample) -> None:
        if isinstance(sample.value, dict):
            for field in _LABEL_FIELDS:
                value = sample.value.get(field)
                if isinstance(value, bool | int) or (isinstance(value, str) and 0 < len(value) <= _LABEL_LENGTH):
                    self._count(field, field, str(value), place)
        for exchange in sample.exchanges[-1:]:
            label = _label(exchange.answer.text)
            head = _head(exchange)
            if head:
                self._count(digest(normalised(head)), head, label, place)
            self._count("", "", label, place)

    def _count(self, key: bytes | str, name: str, label: str, place: int) -> None:
        counts = self._groups.get(key, _NEW)
        if counts is None:
            return
        if not label or (len(counts) >= _MOST_LABELS and label not in counts):
            self._groups[key] = None  # its answers are no labels
            return
        if counts is _NEW:
            counts = self._groups[key] = Counter()
            self._names[key] = name[:80]
        counts[label] += 1
        self._where.setdefault((key, label), place)

    def finish(self) -> Iterator[Late]:
        told = False
        for key, counts in self._groups.items():
            if key == "" or counts is None or sum(counts.values()) < _FEWEST_ROWS:
                continue
            told = True
            yield from self._unbalanced(key, counts)
        whole = self._groups.get("")
        if whole and not told and sum(whole.values()) >= _FEWEST_ROWS:
            yield from self._unbalanced("", whole)

    def _unbalanced(self, key: bytes | str, counts: Counter[str]) -> Iterator[Late]:
        ordered = counts.most_common()
        total, most, (rarest, least) = sum(counts.values()), ordered[0][1], ordered[-1]
        if most >= _TOP_SHARE * total or most >= _TOP_TIMES * least:
            shown = ", ".join(f"{label} {count:,}" for label, count in ordered[:6])
            name = self._names[key]
            yield Late("label-imbalance", self._where[key, rarest], f"{around(name, 0)}: {shown}" if name else shown)


_NEW: Counter[str] = Counter()


def _label(answer: str) -> str:
    """An answer that may be a label, without its case and marks; "" for others."""
    text = answer.strip()
    if len(text) > _LABEL_LENGTH or "\n" in text or text.count(" ") > 3 or len(HAN.findall(text)) > 8:
        return ""
    return text.lower().strip(" .。!！\"'“”")


def _head(exchange: Exchange) -> str:
    """What rows of one task have in common: the instruction beside an input, or the words before a colon or a line."""
    if exchange.input:
        return exchange.instruction
    text = exchange.question.text
    line, more, _ = text.partition("\n")
    if more:
        return line
    head, colon, rest = re.split(r"([:：])", text, maxsplit=1) if re.search(r"[:：]", text) else ("", "", "")
    return head if colon and rest.strip() else ""
