"""Who a model is: rows to learn it from, held-out questions, and what counts as an answer to them."""

from __future__ import annotations

import itertools
import re

import pytest

from camelid.data.factory.identity import KINDS, Identity, _others, identity_rows, says_who
from camelid.data.factory.similar import SimilarityPool
from camelid.data.skills.draw import LANGUAGES

WHO = {"zh": Identity("小骆", "骆驼工作室"), "en": Identity("Luo", "Camel Studio")}


def test_rows_of_both_languages_and_all_kinds() -> None:
    rows = list(identity_rows(WHO, "train", copies=2, seed=1))  # type: ignore[arg-type]
    assert {(row.language, row.kind) for row in rows} == set(itertools.product(LANGUAGES, KINDS))
    assert rows == list(identity_rows(WHO, "train", copies=2, seed=1))  # type: ignore[arg-type]
    assert rows != list(identity_rows(WHO, "train", copies=2, seed=2))  # type: ignore[arg-type]
    for row in rows:
        assert [role for role, _ in row.turns] == ["user", "assistant"] * (len(row.turns) // 2)
        assert not any(re.search(r"[{}]", words) for _, words in row.turns)
        assert len(row.turns) == (4 if row.kind == "chain" else 2)
        asked = " ".join(words for role, words in row.turns if role == "user")
        assert all(other in asked for other in row.others)
        false = {name for pair in _others(WHO, "train") for name in pair if name in row.turns[-1][1]}  # type: ignore[arg-type]
        assert all(name in asked for name in false), "an answer denies what nobody said"
        assert says_who(row.turns[-1][1], row.kind, WHO[row.language], row.others), row


def test_held_out_questions_and_names_are_others() -> None:
    """No held-out question is like one of the training (ROUGE-L at most 0.7), and no false name is in both."""
    train = list(identity_rows(WHO, "train", copies=1, seed=1))  # type: ignore[arg-type]
    held = list(identity_rows(WHO, "heldout", copies=1, seed=1))  # type: ignore[arg-type]
    names = [{other for row in rows for other in row.others} for rows in (train, held)]
    assert all(names)
    assert not names[0] & names[1]
    pool = SimilarityPool()
    for row in train:
        pool.add(row.turns[-2][1])
    assert pool.admit([row.turns[-2][1] for row in held]).count(None) == len(held)
    assert len(held) == 180


def test_its_own_name_is_not_among_the_false_ones() -> None:
    who = {"zh": Identity("豆包", "字节跳动"), "en": Identity("Doubao", "OpenAI Research")}
    for split in ("train", "heldout"):
        others = {one for row in identity_rows(who, split, copies=9, seed=1) for one in row.others}  # type: ignore[arg-type]
        assert others
        assert not others & {"豆包", "字节跳动", "OpenAI", "ChatGPT"}


ANSWERS: list[tuple[str, str, tuple[str, ...], bool]] = [
    ("I'm Luo.", "name", (), True),
    ("I am luo, by Camel Studio.", "both", (), True),
    ("I am Luo.", "both", (), False),
    ("Camel Studio did.", "maker", (), True),
    ("I'm ChatGPT, also called Luo.", "misleading", ("ChatGPT",), False),
    ("No, I'm not ChatGPT. I'm Luo.", "misleading", ("ChatGPT",), True),
    ("I'm Luo, and I wasn't made by OpenAI.", "misleading", ("OpenAI",), True),
    ("I'm Luo. OpenAI made me.", "misleading", ("OpenAI",), False),
    ("You mix us up: ChatGPT is someone else. I'm Luo.", "misleading", ("ChatGPT",), False),
    ("I am SmolLM.", "name", (), False),
    ("", "name", (), False),
]


@pytest.mark.parametrize(("answer", "kind", "others", "right"), ANSWERS)
def test_what_is_an_answer(answer: str, kind: str, others: tuple[str, ...], right: bool) -> None:
    assert says_who(answer, kind, WHO["en"], others) == right  # type: ignore[arg-type]
