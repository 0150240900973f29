"""Scores of classifiers and taggers = scikit-learn's and seqeval's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_base, tiny_model

from camelid.data.records import Origin
from camelid.data.tasks.records import Classified, Tagged
from camelid.data.tasks.render import TaskRenderer
from camelid.data.tree import build_tree
from camelid.data.vocabulary import Vocabulary
from camelid.evaluate.tasks import ClassScore, TagScore, predict, score, score_classes, score_tags
from camelid.model.class_head import add_class_head, class_logits
from camelid.model.layout import choose_layout, hidden_states
from camelid.model.task_info import TaskInfo

CASES = Path(__file__).parent.parent / "cases"


def test_entities_are_scored_as_seqeval_does() -> None:
    for line in (CASES / "entities.jsonl").read_text().splitlines():
        case = json.loads(line)
        ours = score_tags(case["true"], case["predicted"])
        assert (ours.f1, ours.precision, ours.recall) == pytest.approx((case["f1"], case["precision"], case["recall"]))
        assert 0 <= ours.interval[0] <= ours.f1 <= ours.interval[1] <= 1


def test_classes_are_scored_as_scikit_learn_does() -> None:
    for line in (CASES / "classes.jsonl").read_text().splitlines():
        case = json.loads(line)
        labels = [str(i) for i in range(case["classes"])]
        ours = score_classes(np.array(case["true"]), np.array(case["predicted"]), labels)
        assert (ours.macro_f1, ours.matthews) == pytest.approx((case["macro_f1"], case["matthews"]))
        assert ours.accuracy == pytest.approx(np.mean(np.array(case["true"]) == np.array(case["predicted"])))
        assert ours.interval[0] <= ours.accuracy <= ours.interval[1]


def test_words_that_were_cut_off_are_outside() -> None:
    ours = score_tags([["O", "B-X", "B-X"]], [["O", "B-X"]])
    assert (ours.precision, ours.recall, ours.word_accuracy) == (1.0, 0.5, pytest.approx(2 / 3))


@pytest.mark.parametrize("layout", ["tree", "separate"])
@pytest.mark.parametrize("task", ["classify", "tag"])
def test_predictions_come_back_to_their_texts(task: str, layout: str) -> None:
    """In rows of several texts, beginnings shared, some of them twice: each as alone."""
    labels = ("O", "B-X", "I-X") if task == "tag" else ("a", "b", "c")
    model, info = tiny_model("llama"), TaskInfo(task, labels)
    choose_layout(model, layout)
    add_class_head(model, info, seed=3).weight.data *= 30
    renderer = TaskRenderer(Vocabulary.from_directory(tiny_base()), labels, 64)
    texts = ["Sort these numbers", "Sort these", "Well", "Sort these numbers", "Give three tips for you", "Eat well"]
    examples = []
    for i, text in enumerate(texts):
        words = tuple(text.split())
        where = Origin("rows", i)
        record = Tagged(words, ("O",) * len(words), True, where) if task == "tag" else Classified((text,), "a", where)
        examples.append(renderer.example(record, 0))
    found = predict(model, examples, layout, row_tokens=12)
    for example, chosen in zip(examples, found, strict=True):
        assert example.labels is not None
        places = np.flatnonzero(example.labels >= 0)
        tree = build_tree([example.ids], [example.weight], share=False)
        logits = class_logits(model, hidden_states(model, tree, layout), torch_long(places))
        assert chosen.tolist() == logits.argmax(-1).tolist()
    assert len({i for chosen in found for i in chosen.tolist()}) > 1
    result = score(info, examples, found)
    assert isinstance(result, TagScore if task == "tag" else ClassScore)
    assert result.texts == len(texts)


def torch_long(places: np.ndarray):
    import torch

    return torch.from_numpy(places.astype(np.int64))
