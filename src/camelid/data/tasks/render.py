"""Labelled text to examples: the tokens that the model reads, and the class that is learnt at some of them.

The class of a text (or a pair, a line break between the two) is learnt at its last token, where a causal model has
read all; nothing follows it, as in transformers' own classifiers. Of a tagged sentence the tag is learnt at the last
token of each word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from camelid.data.encode import Encoder
from camelid.data.formats.fields import RowFault
from camelid.data.pack import Example
from camelid.data.records import Rejection
from camelid.data.tasks.records import Classified, Tagged, TaskRecord
from camelid.data.tasks.schemes import OUTSIDE
from camelid.data.templates.base import Piece
from camelid.data.templates.base import RowFault as EncodingFault
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

MOST_CLASSES = 1000


def labels_of(records: Sequence[TaskRecord]) -> tuple[str, ...]:
    """The classes of a task, as its training data names them: in order, numbers as numbers, `O` before the other tags.

    Raises UserError for too few, or so many that the column cannot be one of classes.
    """
    found = {tag for r in records if isinstance(r, Tagged) for tag in r.tags}
    if found:
        kinds = sorted({tag[2:] for tag in found if tag != OUTSIDE})
        return (OUTSIDE, *(f"{mark}-{kind}" for kind in kinds for mark in "BI"))
    names = {r.label for r in records if isinstance(r, Classified)}
    if len(names) < 2 or len(names) > MOST_CLASSES:
        shown = ", ".join(sorted(names)[:3])
        raise UserError(
            f"{len(names):,} different labels ({shown}) are no classes to tell apart",
            where="columns.label",
            mend="name the column that holds the class",
        )
    numbers = all(name.lstrip("-").isdigit() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


class TaskRenderer:
    """One vocabulary, one list of classes, one maximal length."""

    def __init__(self, vocabulary: Vocabulary, labels: Sequence[str], max_length: int) -> None:
        self.vocabulary, self.labels, self.max_length = vocabulary, tuple(labels), max_length
        self._number = {label: i for i, label in enumerate(labels)}
        self._encoder = Encoder(vocabulary)
        bos = vocabulary.leading_bos
        self._opening = [vocabulary.id_of(bos)] if bos else []

    def render(
        self, records: Sequence[TaskRecord], reject: Callable[[Rejection], None]
    ) -> tuple[list[Example], list[TaskRecord]]:
        """The examples of all records that can be used, numbered by their place, and those records."""
        examples: list[Example] = []
        kept: list[TaskRecord] = []
        for record in records:
            try:
                examples.append(self.example(record, len(examples)))
            except RowFault as fault:
                reject(Rejection(record.origin.file, record.origin.line, str(fault)))
            else:
                kept.append(record)
        return examples, kept

    def example(self, record: TaskRecord, source: int) -> Example:
        """The example of a record; tokens beyond `max_length` are cut off and counted. Raises RowFault."""
        return self._tagged(record, source) if isinstance(record, Tagged) else self._classified(record, source)

    def _classified(self, record: Classified, source: int) -> Example:
        if record.label not in self._number:
            raise RowFault(f"the label {record.label!r:.60} does not occur in the training data")
        parts = self._encoded([text if i == 0 else f"\n{text}" for i, text in enumerate(record.texts)])
        room = self.max_length - len(self._opening)
        total, kept = sum(map(len, parts)), parts
        if total > room:
            # the longer of two gives way, until both have half
            short = min(len(parts[-1]), len(parts[0]), room // 2) if len(parts) == 2 else 0
            sizes = (short, room - short) if len(parts[0]) < len(parts[-1]) else (room - short, short)
            kept = [part[:size] for part, size in zip(parts, sizes, strict=False)]
        ids = np.concatenate([self._opening, *kept]).astype(np.int32)
        labels = np.full(len(ids), -1, np.int32)
        labels[-1] = self._number[record.label]
        return Example(ids, np.zeros(len(ids), np.float32), source, total - sum(map(len, kept)), labels=labels)

    def _tagged(self, record: Tagged, source: int) -> Example:
        unknown = next((tag for tag in record.tags if tag not in self._number), None)
        if unknown is not None:
            raise RowFault(f"the tag {unknown!r:.60} does not occur in the training data")
        blank = " " if record.spaced else ""
        parts = self._encoded([word if i == 0 else blank + word for i, word in enumerate(record.words)])
        empty = next((word for word, part in zip(record.words, parts, strict=True) if not len(part)), None)
        if empty is not None:
            raise RowFault(f"the word {empty!r:.40} has no token")
        ids, labels = list(self._opening), [-1] * len(self._opening)
        cut = 0
        for part, tag in zip(parts, record.tags, strict=True):
            if cut or len(ids) + len(part) > self.max_length:
                cut += len(part)  # a sentence ends at a whole word
                continue
            ids += part.tolist()
            labels += [-1] * (len(part) - 1) + [self._number[tag]]
        if len(ids) == len(self._opening):
            raise RowFault(f"its first word is longer than max_length {self.max_length}")
        whole = np.array(ids, np.int32)
        return Example(whole, np.zeros(len(ids), np.float32), source, cut, labels=np.array(labels, np.int32))

    def _encoded(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text alone. Text never becomes a control token. Raises RowFault."""
        encoded = self._encoder.encode_batch([[Piece(text, "content", False, 0)] for text in texts])
        for code in encoded:
            if isinstance(code, EncodingFault):
                raise RowFault(str(code))
        return [code.ids for code in encoded if not isinstance(code, EncodingFault)]
