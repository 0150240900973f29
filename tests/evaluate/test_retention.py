"""Plain questions: the shipped list, the matcher, and what counts as kept."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib import resources

import pytest

from camelid.data.skills import make_skill_rows
from camelid.data.skills.replay import load_replay
from camelid.errors import UserError
from camelid.evaluate.retention import Question, choose_questions, load_questions, plain_questions
from camelid.runs.interval import Share

QUESTIONS = load_questions()


def question(*accepted: str) -> Question:
    return Question("?", accepted, "en", "any", (), 1)


def normal(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


# --- the list ---


def test_there_are_enough_questions_and_the_base_knows_enough():
    english = [q for q in QUESTIONS if q.language == "en"]
    assert len(english) >= 120
    assert sum("smollm2" in q.known_by for q in english) >= 50
    assert sum(q.language == "zh" for q in QUESTIONS) >= 20
    assert len({normal(q.text) for q in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("q", QUESTIONS, ids=lambda q: q.text)
def test_repeating_the_question_is_no_right_answer(q):
    assert not q.answered_by(q.text)


def test_no_plain_question_is_in_replay_or_skill_training_data():
    trained = {normal(row.prompt) for row in make_skill_rows(0, 3000)} | {
        normal(c.messages[0].content) for c in load_replay()
    }
    folder = resources.files("camelid") / "assets" / "general"
    for language in ("en", "zh"):
        for line in (folder / f"replay_prompts_{language}.jsonl").read_text("utf-8").splitlines():
            trained.add(normal(json.loads(line)["prompt"]))
    asked = {normal(q.text) for q in QUESTIONS}
    assert not asked & trained
    for text in trained:
        assert not any(len(a) > 8 and a in text for a in asked), text


def test_the_examples_of_the_text_form_give_no_question_away():
    for q in QUESTIONS:
        *examples, asked = q.as_text.removesuffix("Answer:").removesuffix("回答：").split("\n\n")
        assert asked.strip().endswith(q.text)
        assert len(examples) == 2
        assert not any(normal(q.text) in normal(example) or q.answered_by(example) for example in examples), q.text


# --- the matcher ---


@pytest.mark.parametrize(
    ("accepted", "text", "right"),
    [
        ("Paris", "The capital is paris.", True),
        ("Paris", "Parisians live there.", False),
        ("8", "An insect has 8 legs", True),
        ("8", "It has 18 legs", False),
        ("8", "It is 8.", True),
        ("New York", "in new york city", True),
        ("H2O", "(H2O)", True),
        ("red", "It is colored.", False),
        ("巴黎", "首都是巴黎。", True),
        ("巴黎", "首都是罗马。", False),
        ("10", "答案是10。", True),
        ("7", "一周有7天", True),
        ("a.b", "axb", False),
        ("cold", "", False),
    ],
)
def test_whole_words_in_any_case(accepted, text, right):
    assert question("never", accepted).answered_by(text) == right


# --- the report ---


def knows(*texts: str):
    """An answerer that has these questions right and all others wrong."""
    accepted = {q.text: q.accepted[0] for q in QUESTIONS}

    def answer(asked, limit):
        assert limit == 32
        prompts = [c.messages[-1].content for c in asked]
        return [accepted[p] if p in texts else "I do not know" for p in prompts]

    return answer


def test_kept_is_counted_over_what_the_base_had_right():
    base_knows = [q.text for q in QUESTIONS[:10]]
    before = plain_questions(knows(*base_knows))
    assert before.right == tuple(base_knows)
    assert before.kept.total == len(QUESTIONS)
    after = plain_questions(knows(*base_knows[:8], QUESTIONS[40].text), only=before.right)
    assert after.kept == Share(8, 10)
    assert [a.question.text for a in after.lost] == base_knows[8:]


def test_languages_are_told_apart():
    chinese = [q.text for q in QUESTIONS if q.language == "zh"]
    report = plain_questions(knows(*chinese))
    assert report.by_language["zh"] == Share(len(chinese), len(chinese))
    assert report.by_language["en"].right == 0


def test_nothing_to_ask_is_the_users_fault():
    with pytest.raises(UserError, match="no plain question"):
        plain_questions(knows(), only=())


def test_a_missing_answer_is_a_fault():
    with pytest.raises(ValueError, match="answers came back"):
        plain_questions(lambda asked, limit: [], questions=QUESTIONS[:2])


def test_a_choice_is_spread_over_the_kinds():
    chosen = choose_questions(48, "smollm2")
    assert len({q.text for q in chosen}) == 48
    assert all("smollm2" in q.known_by and q.language == "en" for q in chosen)
    assert len(Counter(q.kind for q in chosen)) >= 7
    assert choose_questions(48, "smollm2") == chosen


@pytest.mark.parametrize(("count", "base"), [(0, "smollm2"), (10_000, "smollm2"), (1, "nobody")])
def test_an_impossible_choice_is_the_users_fault(count, base):
    with pytest.raises(UserError, match="choose between"):
        choose_questions(count, base)
