"""More rows from those that are there: only the question changes, and what must stay in it stays."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.data.factory.augment import WAYS, augmented, noisy, paraphrased, question_of, translated_back
from camelid.data.factory.seeds import load_seeds
from camelid.data.factory.similar import units
from camelid.data.factory.teacher import Answer, Ask
from camelid.data.skills.draw import LANGUAGES

CHAT = {
    "id": 3,
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "Why is it so?"},
        {"role": "assistant", "content": "a"},
    ],
}
QUESTIONS: list[tuple[Any, tuple[tuple[str | int, ...], str] | None]] = [
    ({"instruction": "Do it", "output": "x"}, (("instruction",), "Do it")),
    (CHAT, (("messages", 1, "content"), "Why is it so?")),
    ({"conversations": [{"from": "human", "value": "Hi"}]}, (("conversations", 0, "value"), "Hi")),
    ({"prompt": "Hi", "chosen": "a", "rejected": "b"}, (("prompt",), "Hi")),
    ({"text": "running text"}, None),
    ({"instruction": " "}, None),
    ("a line", None),
]


@pytest.mark.parametrize(("row", "wanted"), QUESTIONS)
def test_the_question_of_a_row(row: Any, wanted: tuple[Any, str] | None) -> None:
    assert question_of(row) == wanted
    made = list(augmented(row, WAYS, 3, random.Random(1)))
    assert bool(made) == (wanted is not None)


@given(st.sampled_from([seed for language in LANGUAGES for seed in load_seeds(language)]), st.integers(0, 10**6))
def test_only_the_question_changes(seed: Any, number: int) -> None:
    row = {"id": seed.id, "instruction": seed.instruction, "input": seed.input, "output": seed.output}
    made = list(augmented(row, WAYS, 2, random.Random(number)))
    assert made == list(augmented(row, WAYS, 2, random.Random(number)))
    for new in made:
        assert (new["id"], new["output"]) == (seed.id, seed.output)
        assert new["instruction"] != seed.instruction
        same, changed = set(units(seed.instruction)), set(units(new["instruction"]))
        if new["augmented"] == "format":
            assert new["input"] == ""
            assert set(units(seed.input)) | same <= changed
        else:
            assert new["input"] == seed.input
        if new["augmented"] == "paraphrase":
            assert same <= changed
        if new["augmented"] == "noise":
            assert len(same - changed) <= 1
    kinds = [(one["augmented"], one["instruction"]) for one in made]
    assert len(kinds) == len(set(kinds))
    assert ("format" in {kind for kind, _ in kinds}) == bool(seed.input)


@given(st.integers(0, 10**6))
def test_a_slip_of_the_hand_spares_code_addresses_and_figures(number: int) -> None:
    for text in (
        "Explain `foo_bar(x)` from https://example.org/some-page for 1234 people",
        "请解释`的在做`，见 https://a.cn/在",
    ):
        changed = noisy(text, "en" if text.isascii() else "zh", random.Random(number))
        if changed is not None:
            kept = (
                ("`foo_bar(x)`", "https://example.org/some-page", "1234")
                if text.isascii()
                else ("`的在做`", "https://a.cn/在")
            )
            assert all(one in changed for one in kept)


def test_an_order_becomes_a_request_and_a_question_stays_one() -> None:
    forms = {paraphrased("List three fruits.", "en", random.Random(n)) for n in range(60)}
    assert {"Please list three fruits.", "Could you list three fruits?", "Your task: List three fruits."} <= forms
    forms = {paraphrased("Why is it so?", "en", random.Random(n)) for n in range(60)}
    assert all("Why is it so?" in (one or "") for one in forms)
    assert paraphrased("Sum up:\nA text.", "en", random.Random(1)) is None


def test_there_and_back() -> None:
    said = {
        "Name a fruit that is red.": "说出一种红色的水果。",
        "说出一种红色的水果。": "Tell me a red fruit.",
        "写一首关于春天的诗。": "Write a poem about spring.",
        "Write a poem about spring.": "写一首关于春天的诗。",
        "Name a colour that you like.": "Name a colour that you like.",
    }

    def ask(asks: Sequence[Ask]) -> list[Answer | None]:
        texts = [one.messages[0][1].rpartition("<text>\n")[2].removesuffix("\n</text>") for one in asks]
        return [Answer(said[text], "stop", 1, 1) for text in texts]

    questions = ["Name a fruit that is red.", "写一首关于春天的诗。", "Name a colour that you like."]
    rows = [{"instruction": one, "output": "x"} for one in questions]
    made = translated_back([*rows, {"text": "no question"}], ask)
    assert made == [
        {"instruction": "Tell me a red fruit.", "output": "x", "augmented": "back-translate"},
        None,
        None,
        None,
    ]
