"""Translation: what must stay stays, what is none is seen, and of every row it is known what became of it."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from alpaca_teacher import asked_text, right_answers, translated_pairs
from hypothesis import given
from hypothesis import strategies as st

from camelid.data.factory.rows import Row
from camelid.data.factory.teacher import Answer, Ask
from camelid.data.factory.translate.checks import check
from camelid.data.factory.translate.fields import texts_of, with_texts
from camelid.data.factory.translate.job import Done, translate_rows
from camelid.data.factory.translate.numbers import missing_number
from camelid.data.factory.translate.protect import protect, without_marks
from camelid.data.factory.translate.script import converter, script_of
from camelid.data.records import Origin
from camelid.data.skills.draw import Language

# --- what must stay ---

KEPT: list[tuple[str, list[str]]] = [
    ("Say hello to Ann.", []),
    ("See https://a.b/c?d=1, or write to me@x.org.", ["https://a.b/c?d=1", "me@x.org"]),
    ("见https://a.b/c。再见", ["https://a.b/c"]),
    ("Call `f(x)` with {name} and {{city}} and ${cost}.", ["`f(x)`", "{name}", "{{city}}", "${cost}"]),
    ("A set {1, 2, 3} and {a sentence in braces, with words}", []),
    ("%d of %s, 50% of it", ["%d", "%s"]),
    ("Text:\n```python\nx = 1  # note\n```\nmore", ["```python\nx = 1  # note\n```"]),
    ("````\n```\ninner\n```\n````", ["````\n```\ninner\n```\n````"]),
    ("Use <b>bold</b> here", ["<b>", "</b>"]),
    ("if a < b and c > d", []),
    ("The area is \\(\\pi r^2\\) or $$x$$.", ["\\(\\pi r^2\\)", "$$x$$"]),
    ("def add(a, b):\n    return a + b\n\nIt adds two numbers.", ["def add(a, b):\n    return a + b"]),
    ("SELECT name\nFROM people;", ["SELECT name\nFROM people;"]),
    (
        "Here is the code:\n\n#include <stdio.h>\nint main() {\n  return 0;\n}",
        ["#include <stdio.h>\nint main() {\n  return 0;\n}"],
    ),
    ("From the hill we saw the sea.\nReturn to me.\nif only.", []),
    ('{"name": "Ann", "tags": ["a: b"]}', ['"name"', '"tags"']),
    ('She said "name": a word.', []),
    ("a ⟦7⟧ b", ["⟦7⟧"]),
]


@pytest.mark.parametrize(("text", "kept"), KEPT)
def test_what_is_taken_out(text: str, kept: list[str]) -> None:
    protected = protect(text)
    assert list(protected.kept) == kept
    assert protected.restore(protected.text) == text


@given(st.text(alphabet="ab {}`<>/:.\n@$%⟦0⟧\"'[]#=();", max_size=80) | st.text(max_size=80))
def test_what_is_taken_out_is_put_back(text: str) -> None:
    protected = protect(text)
    assert protected.restore(protected.text) == text
    for place, one in enumerate(protected.kept):
        assert one in text
        assert protected.restore(protected.text.replace(f"⟦{place}⟧", "", 1)) is None
        assert protected.restore(protected.text + f"⟦{place}⟧") is None


def test_texts_of_every_format_are_found_and_put_back() -> None:
    row = {
        "id": "user 7",
        "system": "Be brief.",
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
        "history": [["a", "b"]],
        "instances": [{"input": "x", "output": "y"}],
        "label": "good",
        "n": 3,
        "input": " \n",
    }
    found = dict(texts_of(row))
    assert list(found.values()) == ["Be brief.", "Hi", "Hello", "a", "b", "x", "y"]
    changed = with_texts(row, {path: text.upper() for path, text in found.items()})
    assert changed["conversations"] == [{"from": "human", "value": "HI"}, {"from": "gpt", "value": "HELLO"}]
    assert (changed["id"], changed["label"], changed["n"], changed["input"]) == ("user 7", "good", 3, " \n")
    assert row["system"] == "Be brief."


# --- numbers ---

NUMBERS: list[tuple[str, str, str]] = [
    ("He paid 3 dollars.", "他付了3美元。", ""),
    ("He paid 3 dollars.", "他付了三美元。", ""),
    ("He paid 3 dollars.", "他付了美元。", "3"),
    ("He paid dollars.", "他付了3美元。", "3"),
    ("Three dollars", "3美元", ""),
    ("1,250,000 people", "125万人", ""),
    ("3.5 million people", "350万人", ""),
    ("3.5 million people", "35万人", "3.5"),
    ("two hundred people", "200人", ""),
    ("in the 1990s", "20世纪90年代", ""),
    ("in May 2021", "2021年5月", ""),
    ("at 3 pm", "15点", ""),
    ("twenty-three", "23", ""),
    ("12 of 12", "12个中的", "12"),
    ("1. a\n2. b", "一、甲\n二、乙", ""),
    ("1. a\n2. b\nOne", "一甲\n2. 乙", "1."),
    ("The sum of 3.7 and 6.2", "3.7和6.2之和", ""),
    ("4, 7 and 12", "4、7和12", ""),
    ("3x + 5 = 28", "3x + 5 = 26", "28"),
]


@pytest.mark.parametrize(("source", "said", "missing"), NUMBERS)
def test_numbers(source: str, said: str, missing: str) -> None:
    assert missing_number(source, said) == missing


@given(st.lists(st.integers(0, 10**9), max_size=6), st.randoms())
def test_figures_in_another_order_are_the_same_and_one_less_is_not(figures: list[int], chance: random.Random) -> None:
    source = " and ".join(map(str, figures))
    shuffled = chance.sample(figures, len(figures))
    assert missing_number(source, "、".join(map(str, shuffled)) + "吧") == ""
    if shuffled:
        assert missing_number(source, "、".join(map(str, shuffled[1:])) + "吧")


# --- what is no translation ---

CHECKS: list[tuple[str, str, Language, str]] = [
    ("What is the capital of Japan?", "日本的首都是哪里？", "zh", ""),
    ("What is the capital of Japan?", "东京", "zh", "answered instead of translated"),
    ("What is the capital of Japan?", "What is the capital of Japan?", "zh", "in the wrong language"),
    ("What is the capital of Japan?", "日本的首都是哪裡？請說出來", "zh", "in traditional characters"),
    ("Name three kinds of fruit.", "苹果、香蕉和橙子都是常见的水果。" * 3, "zh", "far too long"),
    ("Describe how electricity is generated in a nuclear power plant.", "发电", "zh", "far too short"),
    ("Hello there, my friend.", "译文：你好，朋友。", "zh", "words of the teacher's own"),
    ("Hello there, my friend.", "", "zh", "empty"),
    ("Row the boat.", "划船划船划船划船划船划船划船划船", "zh", "repeats itself"),
    ("Stephen King", "Stephen King", "zh", ""),
    ("NASA", "NASA", "zh", ""),
    ("Science", "Science", "zh", "in the wrong language"),
    ("日本的首都是哪里？", "Tokyo.", "en", "answered instead of translated"),
    ("日本的首都是哪里？", "Where is the capital of Japan?", "en", ""),
    ("请介绍一下你最喜欢的一本书。", "请介绍一下你最喜欢的一本书。", "en", "in the wrong language"),
    (
        "请介绍一下你最喜欢的一本书。",
        "Sure! It asks for a favourite book.",
        "en",
        "words of the teacher's own",
    ),
]


@pytest.mark.parametrize(("source", "said", "target", "rule"), CHECKS)
def test_what_is_no_translation_is_seen(source: str, said: str, target: Language, rule: str) -> None:
    _, wrong = check(protect(source), said, target)
    assert (wrong.rule if wrong else "") == rule


def test_scripts() -> None:
    assert script_of("软件在后面") == "simplified"
    assert script_of("軟體在後面") == "traditional"
    assert script_of("你好 world") == ""
    row = {"instruction": "用 `软件` 发布头发护理", "id": "软", "output": "理发"}
    assert converter("traditional")(row) == {"instruction": "用 `软件` 發佈頭髮護理", "id": "软", "output": "理髮"}
    assert converter("taiwan")({"output": "鼠标和软件"}) == {"output": "滑鼠和軟體"}
    assert converter("simplified")({"output": "頭髮"}) == {"output": "头发"}


# --- rows ---


def _asked_text(ask: Ask) -> str:
    return asked_text(ask.messages[0][1])


def _saying(said: Callable[[Ask], str | Answer | None]) -> Callable[[Sequence[Ask]], list[Answer | None]]:
    def ask(asks: Sequence[Ask]) -> list[Answer | None]:
        answers = [said(one) for one in asks]
        return [Answer(one, "stop", 1, 1) if isinstance(one, str) else one for one in answers]

    return ask


def _rows(*values: Any) -> list[Row]:
    return [Row(value, Origin("x.jsonl", line), ()) for line, value in enumerate(values, 1)]


def test_a_wrong_translation_is_asked_for_once_more_and_then_set_aside() -> None:
    asked: Counter[str] = Counter()
    asks: list[Ask] = []

    def said(ask: Ask) -> str:
        text = _asked_text(ask)
        asked[text] += 1
        asks.append(ask)
        if text == "Good morning to you.":
            return "Good morning" if asked[text] == 1 else "早上好。"
        if text == "Good night to you.":
            return "Good night"
        return "<text>\n晚上好。\n</text>"

    rows = _rows(
        *({"text": f" Good {time} to you.\n"} for time in ("morning", "evening", "night")), {"text": "已是中文"}
    )
    done = list(translate_rows(rows, _saying(said), "zh"))
    assert [one.value for one in done] == [{"text": " 早上好。\n"}, {"text": " 晚上好。\n"}, None, {"text": "已是中文"}]
    assert [one.tries for one in done] == [1, 0, 1, 0]
    wrong = done[2]
    assert wrong.wrong is not None
    assert (wrong.wrong.rule, wrong.where, wrong.said) == ("in the wrong language", ("text",), "Good night")
    assert len({ask.name("it") for ask in asks}) == len(asks), "the journal would give the first answer again"
    assert "in the wrong language" in asks[-1].messages[0][1]
    assert asked == {"Good morning to you.": 2, "Good evening to you.": 1, "Good night to you.": 2}


def test_refused_cut_and_unanswered_rows_are_told_apart() -> None:
    answers: dict[str, Answer | None] = {
        "One apple a day.": Answer("", "refused", 0, 0, "filter"),
        "Two apples a day.": Answer("两个", "length", 1, 1),
        "Some apples a day.": None,
    }
    done = list(
        translate_rows(_rows(*({"text": text} for text in answers)), _saying(lambda a: answers[_asked_text(a)]), "zh")
    )
    assert [one.wrong.rule if one.wrong else "" for one in done] == [
        "the teacher refused",
        "cut off",
        "not answered before the end",
    ]


def test_a_translation_back_that_says_something_else_is_set_aside() -> None:
    there = {"The cat sleeps.": "猫在睡觉。", "The dog barks.": "狗在睡觉。"}
    back = {"猫在睡觉。": "The cat is sleeping.", "狗在睡觉。": "A dog lies asleep."}
    ask = _saying(lambda one: {**there, **back}[_asked_text(one)])
    done = list(translate_rows(_rows(*({"text": text} for text in there)), ask, "zh", least_score=0.5))
    assert [one.value for one in done] == [{"text": "猫在睡觉。"}, None]
    assert done[0].score == pytest.approx(4 / 7)
    assert done[1].wrong is not None
    assert done[1].wrong.rule == "says something else when translated back"


# --- real rows beside a real translation ---


def _aligned(shared_data: Path, count: int, seed: int) -> list[tuple[dict[str, str], dict[str, str]]]:
    return random.Random(seed).sample(translated_pairs(shared_data), count)


def _translated(pairs: list[tuple[dict[str, str], dict[str, str]]], table: dict[str, str]) -> list[Done]:
    rows = _rows(*(english for english, _ in pairs))
    return list(translate_rows(rows, _saying(lambda ask: table[_asked_text(ask)]), "zh"))


@pytest.mark.parametrize("seed", [1, 2])
def test_real_translations_pass_and_keep_their_rows(seed: int, shared_data: Path) -> None:
    """300 rows of Alpaca, their published Chinese as the teacher's answers: in order, and hardly one is turned down."""
    pairs = _aligned(shared_data, 300, seed)
    done = _translated(pairs, right_answers(pairs))
    assert [one.row.value for one in done] == [english for english, _ in pairs]
    kept = [(one, chinese) for one, (_, chinese) in zip(done, pairs, strict=True) if one.wrong is None]
    assert len(kept) >= 0.96 * len(pairs), [one.wrong for one in done if one.wrong]
    for one, chinese in kept:
        english = one.row.value
        for key in ("instruction", "output"):
            if not protect(english[key]).nothing_left and re.search(
                "[A-Za-z]", without_marks(protect(english[key]).text)
            ):
                assert one.value[key].strip() == chinese[key].strip() or protect(english[key]).kept
        for key, text in english.items():
            assert all(code in one.value[key] for code in protect(text).kept)


def _answered(english: dict[str, str], chinese: dict[str, str]) -> tuple[str, str] | None:
    text = chinese["output"]
    return ("instruction", without_marks(text)) if len(text) > 40 and not protect(english["output"]).kept else None


def _lost_number(english: dict[str, str], chinese: dict[str, str]) -> tuple[str, str] | None:
    found = re.findall(r"(?<![\d.,])\d{2,}(?![\d.,])", chinese["output"])
    if not found or protect(english["output"]).kept or found[0] not in re.findall(r"\d+", english["output"]):
        return None
    return "output", re.sub(rf"(?<![\d.,]){found[0]}(?![\d.,])", "", chinese["output"], count=1)


def _lost_code(english: dict[str, str], chinese: dict[str, str]) -> tuple[str, str] | None:
    protected = protect(english["output"])
    if not protected.kept or protected.nothing_left:
        return None
    return "output", chinese["output"].replace(protected.kept[0], "")


def _untranslated(english: dict[str, str], chinese: dict[str, str]) -> tuple[str, str] | None:
    return (
        ("output", english["output"]) if len(english["output"]) > 30 and not protect(english["output"]).kept else None
    )


def _traditional(english: dict[str, str], chinese: dict[str, str]) -> tuple[str, str] | None:
    said = converter("traditional")({"text": chinese["output"]})["text"]
    return ("output", said) if script_of(said) and not protect(english["output"]).kept else None


FAULTS = [
    (_answered, {"far too long", "answered instead of translated", "a number is lost or new", "in the wrong language"}),
    (_lost_number, {"a number is lost or new"}),
    (_lost_code, {"code, an address or a placeholder is lost or doubled"}),
    (_untranslated, {"in the wrong language"}),
    (_traditional, {"in traditional characters"}),
]


@pytest.mark.parametrize(("plant", "rules"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_planted_fault_is_set_aside(
    plant: Callable[..., tuple[str, str] | None], rules: set[str], shared_data: Path
) -> None:
    pairs = _aligned(shared_data, 1500 if plant is _lost_code else 300, 3)
    table, planted = right_answers(pairs), []
    right = [one.wrong is None for one in _translated(pairs, table)]
    for english, chinese in itertools.compress(pairs, right):
        if found := plant(english, chinese):
            key, said = found
            table[protect(english[key]).text.strip()] = said
            planted.append((english, chinese))
    assert len(planted) >= 8
    done = _translated(planted, table)
    slipped = [one.row.value for one in done if one.wrong is None]
    assert not slipped, slipped[:3]
    assert {one.wrong.rule for one in done if one.wrong} <= rules
