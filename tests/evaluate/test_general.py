"""What was forgotten: the same passages before and after, and an interval that pairs them."""

from __future__ import annotations

import json
import math

import pytest
from tiny import tiny_base, tiny_model

from camelid.data.render import Renderer
from camelid.data.skills import SkillRow
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary
from camelid.evaluate.exam import PASSAGE_TOKENS, TEXT_TOKENS, Exam
from camelid.evaluate.general import General, kept, measure_general, rise
from camelid.evaluate.perplexity import heldout_texts
from camelid.evaluate.retention import load_questions
from camelid.evaluate.skills import SkillReport, skill_accuracy
from camelid.generate.base import Completion, Sampling
from camelid.generate.local import LiveGenerator
from camelid.model.layout import choose_layout


def test_a_rise_that_is_the_same_everywhere_is_certain() -> None:
    """However different the passages are."""
    before = [(100.0, 100), (900.0, 100), (50.0, 10)]
    after = [(nats + 0.05 * tokens, tokens) for nats, tokens in before]
    change = rise(before, after)
    assert change.rise == pytest.approx(math.expm1(0.05))
    assert change.low == pytest.approx(change.rise)
    assert change.high == pytest.approx(change.rise)
    assert change.before == pytest.approx(math.exp(1050 / 210))
    assert change.after == pytest.approx(change.before * math.exp(0.05))


def test_the_interval_is_the_jackknifes() -> None:
    """Equal passages with rises 0, 0.1, 0.2: the jackknife's error is that of the mean, s / sqrt(n); t for three."""
    before = [(200.0, 100)] * 3
    change = rise(before, [(200.0, 100), (210.0, 100), (220.0, 100)])
    half = 4.303 * 0.1 / math.sqrt(3)
    assert (change.low, change.high) == pytest.approx((math.expm1(0.1 - half), math.expm1(0.1 + half)), rel=1e-5)
    with pytest.raises(ValueError, match="the same tokens"):
        rise(before, [(200.0, 99)] * 3)


def test_kept_counts_only_what_was_known() -> None:
    share = kept(General({}, 5, ("a", "b", "c")), General({}, 5, ("b", "d")))
    assert (share.right, share.total) == (1, 3)


def test_it_comes_back_from_json_and_a_model_is_measured() -> None:
    model = tiny_model("llama")
    choose_layout(model, "tree")
    vocabulary = Vocabulary.from_directory(tiny_base())
    generator = LiveGenerator(model, Renderer(vocabulary, template_for("auto", vocabulary), 1024))
    found = measure_general(generator, questions=False)
    exam = Exam(generator, [])
    for language, pairs in found.text.items():
        texts = exam.passages(language)
        assert texts == heldout_texts(language)[: len(texts)]
        lengths = [len(vocabulary.backend.encode(text, add_special_tokens=False).ids) for text in texts]
        assert sum(lengths[:-1]) < TEXT_TOKENS[language] <= sum(lengths)
        assert [n + 1 for _, n in pairs] == [
            min(PASSAGE_TOKENS, length - start) for length in lengths for start in range(0, length, PASSAGE_TOKENS)
        ]
        assert sum(p for p, _ in pairs) == pytest.approx(-sum(exam.log_probability(text)[0] for text in texts))
    assert General.of_json(found.as_json()) == found
    assert rise(found.text["en"], measure_general(generator, questions=False).text["en"]).rise == 0.0


@pytest.mark.parametrize("answers", [True, False], ids=["a base that answers", "a base that continues text"])
def test_a_base_is_asked_in_the_way_it_writes(monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    """One that only continues text is asked in both languages, in text whose next line is the answer."""
    model = tiny_model("llama")
    choose_layout(model, "tree")
    vocabulary = Vocabulary.from_directory(tiny_base())
    generator = LiveGenerator(model, Renderer(vocabulary, template_for("auto", vocabulary), 1024))
    questions = [q for q in load_questions() if q.language == "en" or not answers]
    asked: list[object] = []

    def tasks(rows: list[SkillRow]) -> SkillReport:
        assert {row.language for row in rows} == {"en", "zh"}
        assert all(row.family != "identity" for row in rows)
        return skill_accuracy(lambda prompts, limit: [rows[0].answer, *["?"] * (len(prompts) - 1)], rows)

    monkeypatch.setattr(Exam, "skills", lambda self, rows: tasks(rows))

    def generate(prompts: list[object], sampling: Sampling) -> list[Completion]:
        asked.extend(prompts)
        assert sampling.stop == (() if answers else ("\n",))
        texts = [q.accepted[0] if i % 2 else "?" for i, q in enumerate(questions)]
        return [Completion(text, "stop", 1, 1) for text in texts]

    monkeypatch.setattr(generator, "generate", generate)
    found = measure_general(generator, questions=True, answers=answers)
    assert asked == [q.conversation if answers else q.as_text for q in questions]
    assert found.asked == len(questions)
    assert found.right == tuple(q.text for q in questions[1::2])
    assert sum(right for right, _ in found.skills.values()) == answers, "one of them, where they are asked"
    assert General.of_json(json.loads(json.dumps(found.as_json()))) == found
