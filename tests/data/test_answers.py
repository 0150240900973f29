"""Answers to questions that a user has, and new questions made from them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from camelid.data.factory.answers.answer import Settings, answer_all, own_words
from camelid.data.factory.answers.evolve import HOW, evolve
from camelid.data.factory.answers.questions import Question, general_questions, read_questions
from camelid.data.factory.teacher import Answer, Ask
from camelid.data.ledger import Ledger
from camelid.data.records import Message, Origin, Rejection

SAID = Answer("Because it is so, and nobody has said otherwise.", "stop", 1, 1)

ROWS: list[tuple[Any, list[tuple[str, str]] | None]] = [
    ({"instruction": "Sum up.", "input": "A text."}, [("user", "Sum up.\nA text.")]),
    ({"instruction": "Sum up.", "output": "Old answer."}, [("user", "Sum up.")]),
    ({"prompt": "Why?"}, [("user", "Why?")]),
    ({"question": "为什么？", "answer": "旧"}, [("user", "为什么？")]),
    (
        {"messages": [{"role": "system", "content": "Brief."}, {"role": "user", "content": "Hi"}]},
        [("system", "Brief."), ("user", "Hi")],
    ),
    (
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello"},
                {"from": "human", "value": "And?"},
                {"from": "gpt", "value": "Old"},
            ]
        },
        [("user", "Hi"), ("assistant", "Hello"), ("user", "And?")],
    ),
    ({"label": 3}, None),
    ({"prompt": " "}, None),
    ({"messages": [{"role": "assistant", "content": "x"}]}, None),
]


def test_questions_of_every_form(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text("\n".join(json.dumps(row) for row, _ in ROWS), encoding="utf-8")
    rejected: list[Rejection] = []
    found = list(read_questions([str(path)], ledger=Ledger(), on_reject=rejected.append))
    wanted = [turns for _, turns in ROWS if turns is not None]
    assert [[(message.role, message.content) for message in one.messages] for one in found] == wanted
    assert [one.line for one in rejected] == [number for number, (_, turns) in enumerate(ROWS, 1) if turns is None]


def _question(words: str, line: int = 1) -> Question:
    return Question((Message("user", words),), Origin("x", line))


def test_answers_are_judged_and_keep_their_order() -> None:
    asked: list[Ask] = []
    said: dict[str, Answer | None] = {
        "a": SAID,
        "b": Answer("", "stop", 1, 0),
        "c": Answer("cut", "length", 1, 1),
        "d": Answer("", "refused", 0, 0, "filter"),
        "e": None,
        "f": Answer("I'm sorry, but I cannot help.", "stop", 1, 1),
    }

    def ask(asks: Sequence[Ask]) -> list[Answer | None]:
        asked.extend(asks)
        return [said[one.messages[-1][1]] for one in asks]

    done = list(answer_all([_question(words) for words in said], ask, Settings(99, 0.5, "Be brief.")))
    assert [one.fault.rule if one.fault else "" for one in done] == [
        *("", "no answer", "cut off", "the teacher refused", "not answered before the end", "the answer declines")
    ]
    assert done[0].text == SAID.text
    assert asked[0] == Ask((("system", "Be brief."), ("user", "a")), 99, 0.5)
    own = Question((Message("system", "Mine."), Message("user", "a")), Origin("x", 1))
    list(answer_all([own], ask, Settings(system="Be brief.")))
    assert asked[-1].messages[0] == ("system", "Mine.")


@pytest.mark.parametrize(
    ("answer", "text", "rule"),
    [
        (Answer(" Water is wet. ", "stop", 1, 1), "Water is wet.", ""),
        (Answer("I'm sorry, but I cannot help.", "stop", 1, 1), "I'm sorry, but I cannot help.", ""),
        (Answer("水是湿的。火是", "length", 1, 1), "水是湿的。", ""),
        (Answer("no end at", "length", 1, 1), "no end at", "no whole sentence, or goes in circles"),
        (Answer("so it is and so it is and so it is", "stop", 1, 1), None, "no whole sentence, or goes in circles"),
        (Answer("", "refused", 0, 0, "filter"), "", "the teacher refused"),
        (None, "", "not answered before the end"),
    ],
)
def test_what_a_base_says_is_its_own(answer: Answer | None, text: str | None, rule: str) -> None:
    """Its refusals too, for it is to stay as it is; of what is cut off the whole sentences."""
    found, fault = own_words("What is water?", answer)
    assert (found, fault.rule if fault else "") == (text if text is not None else found, rule)


def test_general_questions_are_in_both_languages_and_no_two_the_same() -> None:
    questions = general_questions()
    ids = Counter(str(one.id)[:2] for one in questions)
    assert ids["zh"] > 0.3 * ids.total()
    assert ids["en"] > 0.6 * ids.total()
    assert len({(one.words, one.number) for one in questions}) == len({one.id for one in questions}) == ids.total()
    asked: list[Ask] = []

    def ask(asks: Sequence[Ask]) -> list[Answer | None]:
        asked.extend(asks)
        return [SAID] * len(asks)

    list(answer_all(questions, ask, Settings(), own_words))
    assert len({one.name("m") for one in asked}) == len(questions)


def test_new_tasks_are_answered_and_those_that_say_nothing_new_are_dropped() -> None:
    new = {
        "Name a fruit that grows here.": "Name a fruit that grows here, and say when it is ripe and how it is kept.",
        "Describe a river in spring.": "Describe a river in spring.",
        "介绍一种常见的水果。": "<task>\n介绍一种常见的水果，并说明它的产地和成熟的季节。\n</task>",
        "Tell me about the wind.": "请说说风。",
        "Tell me about rain today.": "",
    }
    asked: list[str] = []

    def ask(asks: Sequence[Ask]) -> list[Answer | None]:
        found: list[Answer | None] = []
        for one in asks:
            words = one.messages[-1][1]
            asked.append(words)
            made = next((said for task, said in new.items() if f"<task>\n{task}\n" in words), None)
            found.append(SAID if made is None else Answer(made, "stop", 1, 1))
        return found

    done = list(evolve([_question(words) for words in new], ask, ("harder",), Settings(), seed=1))
    assert [one.fault.rule if one.fault else "" for one in done] == [
        *("", "like an earlier task", "", "is in another language", "no instruction")
    ]
    assert [one.text for one in done if one.fault is None] == [SAID.text, SAID.text]
    assert done[2].instruction == "介绍一种常见的水果，并说明它的产地和成熟的季节。"
    assert done[1].nearest is not None
    assert done[1].nearest.score == 1.0
    assert any(how in asked[0] for how in HOW["en"]["harder"])
    assert any(how in asked[2] for how in HOW["zh"]["harder"])
    assert len(asked) == len(new) + 2


@pytest.mark.parametrize("seed", range(3))
def test_what_is_asked_of_a_task_depends_on_the_seed_alone(seed: int) -> None:
    def run() -> list[tuple[str, str]]:
        asked: list[str] = []

        def ask(asks: Sequence[Ask]) -> list[Answer | None]:
            asked.extend(one.messages[-1][1] for one in asks)
            return [None for _ in asks]

        done = list(
            evolve(
                [_question(f"Task number {n}") for n in range(30)], ask, ("harder", "broader"), Settings(), seed=seed
            )
        )
        return list(zip(asked, (one.direction for one in done), strict=True))

    assert run() == run()
    assert {direction for _, direction in run()} == {"harder", "broader"}
