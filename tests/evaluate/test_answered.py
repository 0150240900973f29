"""Classes told by answering: exact probabilities of label words, JSON that obeys its schema, the same measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_base, tiny_model

from camelid.data.records import Origin
from camelid.data.tasks.asking import Asker
from camelid.data.tasks.records import Classified, Tagged, TaskRecord
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary
from camelid.evaluate.answered import Answered, answer_records, class_logprobs, score_answered
from camelid.evaluate.tasks import ClassScore, TagScore
from camelid.model.layout import choose_layout

TEXTS = ["Sort these numbers", "Sort these", "Well", "Sort these numbers", "今天天气怎么样"]


def _asker(task: str, form: str, labels: tuple[str, ...]) -> Asker:
    vocabulary = Vocabulary.from_directory(tiny_base())
    template = template_for("auto", vocabulary)
    return Asker(vocabulary, template, task=task, form=form, labels=labels, language="en", max_length=200)


def _records(labels: tuple[str, ...]) -> list[TaskRecord]:
    return [Classified((text,), labels[i % len(labels)], Origin("rows", i)) for i, text in enumerate(TEXTS)]


@pytest.mark.parametrize("layout", ["tree", "separate"])
def test_label_words_have_the_probability_that_the_model_gives_them(layout: str) -> None:
    """Each question with each answer alone, through transformers' own forward: one label begins as another does."""
    labels = ("good", "good tips", "健康")
    model, asker = tiny_model("llama"), _asker("classify", "words", labels)
    records = _records(labels)
    examples = asker.choices(records)
    expected = []
    with torch.no_grad():
        for example in examples:
            ids = torch.from_numpy(example.ids.astype("int64"))[None]
            logp = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
            expected.append(float(logp[torch.from_numpy(example.weight[1:] > 0)].sum()))
    choose_layout(model, layout)
    found = class_logprobs(model, asker, records, layout, row_tokens=150)
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-4)
    said = answer_records(model, asker, records, layout)
    assert said.labels == [labels[i] for i in found.argmax(1)]
    assert said.labels[0] == said.labels[3]


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_answers_in_json_obey_the_schema_whatever_the_model_says(task: str) -> None:
    labels = ("O", "B-LOC", "I-LOC") if task == "tag" else ("a", "b")
    model, asker = tiny_model("llama"), _asker(task, "json", labels)
    choose_layout(model, "tree")
    if task == "tag":
        words = [tuple(text.split()) for text in TEXTS]
        records: list[TaskRecord] = [Tagged(w, ("O",) * len(w), True, Origin("rows", i)) for i, w in enumerate(words)]
    else:
        records = _records(labels)
    said = answer_records(model, asker, records, "tree")
    rows = said.as_rows(records)
    assert len(rows) == len(records)
    if task == "tag":
        assert len(said.mentions) == len(records)
        assert all(kind == "LOC" and text for found in said.mentions for kind, text in found)
    else:
        assert set(said.labels) <= {"a", "b"}
    assert score_answered(asker, records, said).texts == len(records)


def test_an_answer_that_names_no_class_is_never_right() -> None:
    asker = _asker("classify", "json", ("a", "b"))
    records = _records(("a", "b"))  # a b a b a
    score = score_answered(asker, records, Answered(["a", "b", None, "a", "a"], []))
    assert isinstance(score, ClassScore)
    assert score.accuracy == pytest.approx(0.6)
    assert score.by_class["a"]["recall"] == pytest.approx(2 / 3)
    whole = score_answered(asker, records, Answered(["a", "b", "a", "b", "a"], []))
    assert isinstance(whole, ClassScore)
    assert (whole.accuracy, list(whole.by_class)) == (1.0, ["a", "b"])


def test_entities_are_counted_by_type_and_text_and_each_once() -> None:
    """Right: Ann; one of two Paris. Wrong: Ann as a place, what is not in the sentence."""
    asker = _asker("tag", "json", ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))
    words = ("Ann", "saw", "Paris", "and", "Paris")
    record = Tagged(words, ("B-PER", "O", "B-LOC", "O", "B-LOC"), True, Origin("rows", 1))
    said = Answered([], [[("PER", "Ann"), ("LOC", "Paris"), ("LOC", "Ann"), ("LOC", "Rome")]])
    score = score_answered(asker, [record], said)
    assert isinstance(score, TagScore)
    assert (score.precision, score.recall) == pytest.approx((2 / 4, 2 / 3))
    assert score.word_accuracy == pytest.approx(4 / 5)
    assert said.as_rows([record]) == [("B-PER", "O", "B-LOC", "O", "O")]
    second_only = Tagged(words, ("O", "O", "O", "O", "B-LOC"), True, Origin("rows", 2))
    once = score_answered(asker, [second_only], Answered([], [[("LOC", "Paris")]]))
    assert isinstance(once, TagScore)
    assert once.f1 == 1.0, "an answer does not say where a text stands"
