"""A task as a chat: a short question of ours around the text, and the answer in words or in JSON.

The question comes before the text, so that rows share it in a token tree. It is in the language of the data.

    words   classify, pair    the name of the class
    json    classify, pair    {"label": "..."}
            tag               [{"text": "...", "type": "..."}, ...] in the order of the sentence
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np

from camelid.data.formats.fields import RowFault
from camelid.data.pack import Example
from camelid.data.records import Conversation, Message, Rejection
from camelid.data.render import Rendered, Renderer
from camelid.data.tasks.entities import Mention, joined, mentions
from camelid.data.tasks.records import Classified, Tagged, TaskRecord
from camelid.data.tasks.schemes import OUTSIDE
from camelid.data.templates.base import Template, TrainOn
from camelid.data.vocabulary import Vocabulary

MOST_NAMED = 30  # classes that the question lists; more would be longer than the texts
ROWS_AT_ONCE = 256
_LONG = 1 << 20  # here no row is cut by the renderer: the text gives way, never the question or the answer
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_QUESTIONS = {
    # the question, how it lists the classes, and what stands between them
    "en": {
        "classify": ("Which class does the text belong to{classes}?{form}\n\n{text}", ": {}", ", "),
        "pair": ("Which class do two texts belong to{classes}?{form}\n\nFirst: {text}\nSecond: {pair}", ": {}", ", "),
        "tag": ("List the entities in the text{classes} as JSON.{form}\n\n{text}", " ({})", ", "),
        "json": " Answer in JSON.",
    },
    "zh": {
        "classify": ("这段文本属于哪一类{classes}？{form}\n\n{text}", "：{}", "、"),
        "pair": ("这两段文本属于哪一类{classes}？{form}\n\n第一段：{text}\n第二段：{pair}", "：{}", "、"),
        "tag": ("用 JSON 列出文本中的实体{classes}。{form}\n\n{text}", "（{}）", "、"),
        "json": "用 JSON 回答。",
    },
}  # fmt: skip


def language_of(records: Sequence[TaskRecord]) -> str:
    """'zh' where most of the texts hold Chinese characters, else 'en'."""
    chinese = sum(bool(_CHINESE.search("".join(r.words if isinstance(r, Tagged) else r.texts))) for r in records)
    return "zh" if 2 * chinese > len(records) else "en"


def kinds_of(labels: Sequence[str]) -> tuple[str, ...]:
    """The types of entities in the labels of task `tag`."""
    return tuple(dict.fromkeys(label[2:] for label in labels if label != OUTSIDE))


@final
class Asker:
    """One task in one form: makes the questions, the answers, and the examples that teach them."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        template: Template,
        *,
        task: str,
        form: str,
        labels: Sequence[str],
        language: str,
        max_length: int,
        train_on: TrainOn = "all",
    ) -> None:
        self.task, self.form, self.labels, self.max_length = task, form, tuple(labels), max_length
        self.kinds = kinds_of(labels)
        words = _QUESTIONS[language]
        self._question, around, comma = words[task]
        shown = self.kinds if task == "tag" else self.labels
        listed = around.format(comma.join(shown)) if len(shown) <= MOST_NAMED else ""
        self._parts = {"classes": listed, "form": words["json"] if form == "json" and task != "tag" else ""}
        self._vocabulary = vocabulary
        self._faults: list[Rejection] = []
        self._teaching = Renderer(vocabulary, template, _LONG, train_on, on_reject=self._faults.append)
        self.renderer = Renderer(vocabulary, template, _LONG)
        self._longest = max((len(self._ids(self.answer(label))) for label in labels), default=0)

    # -- questions and answers -----------------------------------------------------------------------------------

    def question(self, record: TaskRecord) -> Conversation:
        """What the model is asked."""
        shown = (joined(record.words, record.spaced),) if isinstance(record, Tagged) else record.texts
        texts: dict[str, str] = dict(zip(("text", "pair"), shown, strict=False))
        # `replace`, not `format`: a text may hold braces
        asked = self._question
        for name, value in self._parts.items():
            asked = asked.replace(f"{{{name}}}", value)
        parts = re.split(r"\{(text|pair)\}", asked)
        return Conversation((Message("user", "".join(texts.get(part, part) for part in parts)),), record.origin)

    def answer(self, label: str) -> str:
        """The answer that names a class."""
        return json.dumps({"label": label}, ensure_ascii=False) if self.form == "json" else label

    def right_answer(self, record: TaskRecord) -> str:
        """The answer that a record teaches. Raises RowFault for a class that was not in the training data."""
        if isinstance(record, Tagged):
            found = mentions(record)
            unknown = next((kind for kind, _ in found if kind not in self.kinds), None)
            if unknown is not None:
                raise RowFault(f"the type {unknown!r:.60} does not occur in the training data")
            return json.dumps([{"text": text, "type": kind} for kind, text in found], ensure_ascii=False)
        if record.label not in self.labels:
            raise RowFault(f"the label {record.label!r:.60} does not occur in the training data")
        return self.answer(record.label)

    @property
    def schema(self) -> str:
        """JSON schema of the answers of form `json`."""
        if self.task == "tag":
            fields: Any = {"text": {"type": "string", "minLength": 1}, "type": {"enum": list(self.kinds)}}
            return json.dumps({"type": "array", "items": _object(fields)}, ensure_ascii=False)
        return json.dumps(_object({"label": {"enum": list(self.labels)}}), ensure_ascii=False)

    def read_label(self, answer: str) -> str | None:
        """The class that an answer in JSON names; None for one that names none."""
        value = _parsed(answer)
        label = value.get("label") if isinstance(value, dict) else None
        return label if isinstance(label, str) and label in self.labels else None

    def read_mentions(self, answer: str) -> list[Mention]:
        """The entities that an answer in JSON lists; none where it is not whole."""
        value = _parsed(answer)
        items = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
        return [(str(item.get("type", "")), str(item.get("text", ""))) for item in items]

    def tokens(self, record: TaskRecord) -> int:
        """Tokens of a record's text."""
        texts = record.texts if isinstance(record, Classified) else (joined(record.words, record.spaced),)
        return sum(len(self._ids(text)) for text in texts)

    # -- examples ------------------------------------------------------------------------------------------------

    def render(
        self, records: Sequence[TaskRecord], reject: Callable[[Rejection], None]
    ) -> tuple[list[Example], list[TaskRecord]]:
        """Examples of the records that can be used, numbered by their place, and those records as far as they fit."""
        examples: list[Example] = []
        kept: list[TaskRecord] = []
        for start in range(0, len(records), ROWS_AT_ONCE):
            some = records[start : start + ROWS_AT_ONCE]
            for record, whole in zip(some, self._wholes(some), strict=True):
                try:
                    if isinstance(whole, RowFault):
                        raise whole
                    example, shown = self._example(record, whole, len(examples))
                except RowFault as fault:
                    reject(Rejection(record.origin.file, record.origin.line, str(fault)))
                else:
                    examples.append(example)
                    kept.append(shown)
        return examples, kept

    def choices(self, records: Sequence[TaskRecord]) -> list[Example]:
        """Each question with each class as its answer, by record and then by label, the answers weighted 1."""
        asked = [self._exchange(record, self.answer(label)) for record in records for label in self.labels]
        made = [parts[0] for parts in self.renderer.render_batch(asked)]
        return [Example(m.ids, m.trained.astype(np.float32), i) for i, m in enumerate(made)]

    def _wholes(self, records: Sequence[TaskRecord]) -> list[Rendered | RowFault]:
        """Each question with its right answer, whatever its length, or what is wrong with it."""
        made: list[Rendered | RowFault] = []
        asked: list[Conversation] = []
        places: list[int] = []
        for record in records:
            try:
                asked.append(self._exchange(record, self.right_answer(record)))
            except RowFault as fault:
                made.append(fault)
            else:
                places.append(len(made))
                made.append(RowFault(""))
        for place, parts in zip(places, self._teaching.render_batch(asked), strict=True):
            made[place] = parts[0] if parts else RowFault(self._faults.pop(0).reason)
        return made

    def _example(self, record: TaskRecord, whole: Rendered, source: int) -> tuple[Example, TaskRecord]:
        """The example of a record, cut where it must be, and the record as far as it fits. Raises RowFault."""
        shown, made = record, whole
        if len(whole.ids) + self._longest > self.max_length:
            shown = self._fitting(record)
            made = whole if shown is record else self._whole(shown, self.right_answer(shown))
        return Example(made.ids, made.trained.astype(np.float32), source, len(whole.ids) - len(made.ids)), shown

    def _fitting(self, record: TaskRecord) -> TaskRecord:
        """The record with its text shortened until question and answer fit; of a pair the longer text gives way."""
        while (over := self._needed(record) - self.max_length) > 0:
            if isinstance(record, Tagged):
                return self._fitting_words(record)
            record = self._shortened(record, over)
        return record

    def _needed(self, record: TaskRecord) -> int:
        """Tokens of the question with its longest answer: what is seen of a text must not depend on its class."""
        answers = [self.right_answer(record)] if isinstance(record, Tagged) else map(self.answer, self.labels)
        longest = max(answers, key=lambda answer: len(self._ids(answer)))
        return len(self._whole(record, longest).ids)

    def _fitting_words(self, record: Tagged) -> Tagged:
        """As many of its first words as fit, with their entities."""

        def first(count: int) -> Tagged:
            return replace(record, words=record.words[:count], tags=record.tags[:count])

        fitting, beyond = 0, len(record.words)
        while beyond - fitting > 1:
            middle = (fitting + beyond) // 2
            if self._needed(first(middle)) <= self.max_length:
                fitting = middle
            else:
                beyond = middle
        if not fitting:
            raise self._no_room()
        return first(fitting)

    def _shortened(self, record: Classified, over: int) -> Classified:
        """Without about `over` tokens (at least one) of its text, or of its longer text."""
        sizes = [len(self._ids(text)) for text in record.texts]
        place = int(np.argmax(sizes))
        spare = sizes[place] - min(sizes) if len(sizes) == 2 else over
        keep = sizes[place] - min(over, max(1, spare))
        if keep <= 0:
            raise self._no_room()
        text = record.texts[place]
        end = self._vocabulary.backend.encode(text, add_special_tokens=False).offsets[keep - 1][1]
        texts = list(record.texts)
        texts[place] = text[: min(end, len(text) - 1)].rstrip() or text[:1]
        if texts[place] == text:
            raise self._no_room()
        return replace(record, texts=tuple(texts))

    def _no_room(self) -> RowFault:
        return RowFault(f"max_length {self.max_length} leaves no room for a text beside the question and the answer")

    def _exchange(self, record: TaskRecord, answer: str) -> Conversation:
        asked = self.question(record)
        return replace(asked, messages=(*asked.messages, Message("assistant", answer)))

    def _whole(self, record: TaskRecord, answer: str) -> Rendered:
        parts = self._teaching.render(self._exchange(record, answer))
        if not parts:
            raise RowFault(self._faults.pop(0).reason)
        return parts[0]

    def _ids(self, text: str) -> list[int]:
        return self._vocabulary.backend.encode(text, add_special_tokens=False).ids


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _parsed(answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None
