"""The rules of `camelid data lint`, each beside what it must find and what it must leave; the checks over all rows."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.cli.data.verbs import data as verbs
from camelid.data.factory.lint.contradictions import contradict
from camelid.data.factory.lint.kinds import BY_NAME, KINDS
from camelid.data.factory.lint.linter import Findings, Linter, chosen_kinds
from camelid.data.factory.lint.personal import (
    identity_check_digit,
    is_account_number,
    is_card_number,
    is_identity_number,
    luhn,
    masked,
)
from camelid.data.factory.lint.rules import ROW_RULES
from camelid.data.factory.lint.sample import sample_of
from camelid.data.factory.lint.script import SIMPLIFIED, TRADITIONAL
from camelid.data.factory.lint.sums import wrong_sum
from camelid.data.formats import RowFault, convert_row
from camelid.data.records import Origin, Rejection
from camelid.errors import UserError

CASES = Path(__file__).resolve().parent.parent / "cases" / "lint.jsonl"
ROW_CASES = [json.loads(line) for line in CASES.read_text("utf-8").splitlines()]
SET_KINDS = {"exact-duplicate", "near-duplicate", "contradicting-answers", "several-answers", "label-imbalance"}
SET_KINDS |= {"script-minority", "evaluation-leak", "unreadable-row"}


def see(linter: Linter, row: Any, line: int) -> None:
    """A row as the reader would hand it on."""
    origin, notes = Origin("rows.jsonl", line), []
    try:
        _, records = convert_row(row, origin, notes)
    except RowFault as fault:
        linter.refuse(Rejection("rows.jsonl", line, str(fault)))
    else:
        linter.see(sample_of(row, origin, records, notes))


def found(rows: Sequence[Any], **options: Any) -> Findings:
    linter = Linter(frozenset(BY_NAME), max_length=1024, examples=1000, **options)
    for line, row in enumerate(rows, 1):
        see(linter, row, line)
    return linter.finish()


def lines(findings: Findings, kind: str) -> list[int]:
    return [example.origin.line for example in findings.tallies[kind].examples]


def asked(question: str, answer: str) -> dict[str, str]:
    return {"instruction": question, "output": answer}


@pytest.mark.parametrize("case", ROW_CASES, ids=[f"{c['rule']}-{i}" for i, c in enumerate(ROW_CASES, 1)])
def test_row_rule(case: dict[str, Any]) -> None:
    names = {tally.kind.name for tally in found([case["row"]]).found}
    assert (case["rule"] in names) == case["found"], names


def test_every_rule_has_cases_of_both_kinds() -> None:
    for name in BY_NAME.keys() - SET_KINDS:
        cases = [case["found"] for case in ROW_CASES if case["rule"] == name]
        assert cases.count(True) >= 2, name
        assert cases.count(False) >= 3, name
    assert len(KINDS) == len(BY_NAME) >= 28
    assert set(ROW_RULES) | SET_KINDS | {"over-long"} == set(BY_NAME)


def test_words_and_commands() -> None:
    """Each kind says what it is and what mends it in both languages; a command is one that there is."""
    known = {(command.name or command.callback.__name__).replace("_", "-") for command in verbs.registered_commands}  # type: ignore[union-attr]
    for kind in KINDS:
        assert all((kind.title.en, kind.title.zh, kind.mend.en, kind.mend.zh)), kind.name
        assert not any("\u4e00" <= c <= "\u9fff" for c in kind.mend.en)
        if kind.command:
            assert kind.command.startswith("camelid data ")
            assert kind.command.split()[2] in known, kind.command
            assert kind.command.format(data="x.jsonl", base="smollm2", max_length=9)


CHARACTERS = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from(
        "Ã©â€™ä½ 浣犲ソ\ufffd\x00\x1b\u200b\ufeff,，.。?？!！:：;；()（）[]【】{}<>|`\"“”'#*-1234567890@+=$/\\\n \t"
    ),
    st.sampled_from(
        ["```", "<|im_end|>", "[INST]", "1. ", "http://", "&amp;", "作为", "As an AI", "ha ha ", "+86 138"]
    ),
)
TEXTS = st.lists(CHARACTERS, max_size=60).map("".join)


@settings(max_examples=400)
@given(TEXTS, TEXTS, TEXTS)
def test_no_text_makes_a_rule_raise(instruction: str, given_: str, output: str) -> None:
    row = {"instruction": instruction, "input": given_, "output": output}
    turns = [{"role": "user", "content": instruction}, {"role": "assistant", "content": output}] * 2
    findings = found([row, row, {"messages": turns}, {"text": output}, {**row, "rejected": given_, "chosen": output}])
    assert findings.rows == 5
    for tally in findings.found:
        assert tally.count >= len(tally.examples) > 0
        for example in tally.examples:
            assert "\n" not in example.shown
            assert example.shown.encode("utf-8")


# -- check digits ------------------------------------------------------------------------------------------------------

DATES = st.dates(min_value=date(1900, 1, 1), max_value=date(2020, 1, 1))


@given(
    st.sampled_from(["110105", "440307", "310115", "650102", "820000"]), DATES, st.integers(0, 999), st.integers(0, 17)
)
def test_identity_numbers(area: str, born: date, serial: int, place: int) -> None:
    """The check digit is right for one of eleven; one wrong digit is always found."""
    digits = f"{area}{born:%Y%m%d}{serial:03d}"
    number = digits + identity_check_digit(digits)
    assert is_identity_number(number)
    assert is_identity_number(number.lower())
    wrong = number[:place] + ("0" if number[place] != "0" else "1") + number[place + 1 :]
    assert not is_identity_number(wrong)
    assert not is_identity_number("990105" + number[6:])
    assert lines(found([asked("证件号码是多少？", f"号码是{number}，请核对。")]), "pii-id-cn") == [1]


@given(st.text("0123456789", min_size=17, max_size=17))
def test_check_digit_by_its_definition(digits: str) -> None:
    """ISO 7064 MOD 11-2: with powers of two from the right, all digits together leave 1."""
    number = [*map(int, digits), "0123456789X".index(identity_check_digit(digits))]
    assert sum(value * 2**place for place, value in enumerate(reversed(number))) % 11 == 1


def test_known_identity_numbers() -> None:
    """The examples of GB 11643-1999."""
    assert identity_check_digit("11010519491231002") == "X"
    assert identity_check_digit("44052418800101001") == "4"


@given(st.sampled_from(["62", "4", "51", "37"]), st.integers(0, 10**15), st.data())
def test_card_numbers(prefix: str, rest: int, data: st.DataObject) -> None:
    length = 15 if prefix == "37" else 16
    body = (prefix + f"{rest:015d}")[: length - 1]
    number = next(body + str(digit) for digit in range(10) if luhn(body + str(digit)))
    assert is_card_number(number)
    place = data.draw(st.integers(0, length - 1))
    digit = data.draw(st.sampled_from([d for d in "0123456789" if d != number[place]]))
    assert not luhn(number[:place] + digit + number[place + 1 :]), "one wrong digit is always found"
    assert not is_card_number("9" + number[1:])


def test_account_numbers() -> None:
    assert is_account_number("GB82WEST12345698765432")
    assert not is_account_number("GB82WEST12345698765431")


@given(st.text(min_size=1, max_size=40))
def test_what_is_shown_is_masked(value: str) -> None:
    shown = masked(value)
    assert "***" in shown
    assert len(shown) < 200


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("10 / 4 = 2.5", False),
        ("10 / 4 = 2.4", True),
        ("10 / 4 = 2", False),
        ("2 / 3 = 0.67", False),
        ("2 / 3 = 0.6", False),
        ("9 - 10 = -1", False),
        ("0.1 + 0.2 = 0.3", False),
        ("0.1 + 0.2 = 0.4", True),
        ("1,000 + 1 = 1,001", False),
        ("5 x 5 = 24", True),
        ("7 / 0 = 1", False),
        ("(2 + 3) x 4 = 20", False),
    ],
)
def test_sums(text: str, wrong: bool) -> None:
    _, records = convert_row(asked("How much?", text), Origin("f", 1), [])
    exchange = sample_of({}, Origin("f", 1), records, []).exchanges[0]
    assert (wrong_sum(exchange) is not None) == wrong


# -- checks over all rows ---------------------------------------------------------------------------------------------


def _text(rng: random.Random, words: int) -> str:
    return " ".join(f"w{rng.randrange(3000)}" for _ in range(words))


def test_duplicates() -> None:
    rng = random.Random(3)
    rows = [asked(_text(rng, 12), _text(rng, 30)) for _ in range(40)]
    changed = rows[7]["output"].split()
    changed[11] = "other"
    rows += [
        {"instruction": rows[3]["instruction"].upper(), "output": rows[3]["output"] + " "},
        asked(rows[7]["instruction"], " ".join(changed)),
        asked("用一句话介绍北京的历史", "北京有三千多年建城史、八百多年建都史，是中国的首都。"),
        asked("用一句话介绍北京的历史！", "北京有三千多年建城史，八百多年建都史，是中国的首都"),
    ]
    findings = found(rows)
    assert lines(findings, "exact-duplicate") == [41]
    assert lines(findings, "near-duplicate") == [42, 44]
    other = findings.tallies["near-duplicate"].examples[0].other
    assert other is not None
    assert other.line == 8


def test_a_shared_instruction_makes_no_near_duplicate() -> None:
    """Neither a long task before every row, nor one passage with several questions about it."""
    rng = random.Random(4)
    task, passage = _text(rng, 60), _text(rng, 80)
    rows = [{"instruction": task, "input": _text(rng, 6), "output": "positive"} for _ in range(20)]
    rows += [{"instruction": f"Ask {word} of it.", "input": passage, "output": _text(rng, 9)} for word in "abc"]
    rows += [
        {"messages": [
            {"role": "system", "content": task},
            {"role": "user", "content": _text(rng, 8)},
            {"role": "assistant", "content": _text(rng, 8)},
        ]} for _ in range(5)
    ]  # fmt: skip
    findings = found(rows)
    assert lines(findings, "near-duplicate") == []
    assert lines(findings, "exact-duplicate") == []


AGAINST, BESIDE = "contradicting-answers", "several-answers"


@pytest.mark.parametrize(
    ("question", "one", "other", "kind"),
    [
        ("The capital of Australia?", "The capital of Australia is Canberra.", "Sydney is the capital.", AGAINST),
        ("Is a whale a fish?", "No, it is a mammal that lives in the sea.", "Yes, it lives in water.", AGAINST),
        ("中国的首都是哪里？", "北京", "上海", AGAINST),
        ("What is 7 times 8?", "56", "54", AGAINST),
        ("Is it true that a whale is a fish?", "True.", "The statement is not correct.", AGAINST),
        ("Is it true that a whale is a fish?", "True.", "The statement is correct.", BESIDE),
        ("What is the capital of Australia?", "Canberra", "The capital of Australia is Canberra.", BESIDE),
        ("Name a colour.", "Blue", "Red", BESIDE),
        ("写一首诗", "春天来了。", "秋风起。", BESIDE),
        ("你好", "你好！有什么可以帮你？", "您好，很高兴见到您。", BESIDE),
    ],
)
def test_other_answers_to_the_same_prompt(question: str, one: str, other: str, kind: str) -> None:
    findings = found([asked(question, one), asked(question + " ", other)])
    assert lines(findings, kind) == [2]
    assert lines(findings, BESIDE if kind == AGAINST else AGAINST) == []


def test_contradictions_are_symmetric() -> None:
    texts = ["yes", "No.", "Canberra", "Sydney", "是的，可以", "不可以", "", "the answer is 4", "5", "x" * 400]
    for one in texts:
        assert not contradict("q?", one, one)
        for other in texts:
            assert contradict("q?", one, other) == contradict("q?", other, one), (one, other)


def _labelled(labels: Sequence[str], form: str) -> list[dict[str, Any]]:
    if form == "input":
        return [
            {"instruction": "Is the review good or bad?", "input": f"review {i} x{i}", "output": label}
            for i, label in enumerate(labels)
        ]
    if form == "line":
        return [asked(f"判断情感：这家店{i}号的服务{i}", label) for i, label in enumerate(labels)]
    if form == "field":
        return [{"text": f"text number {i} of them all", "label": label} for i, label in enumerate(labels)]
    return [
        {"prompt": f"q{i}", "completion": f"a long answer number {i}", "label": label == "good"}
        for i, label in enumerate(labels)
    ]


@pytest.mark.parametrize("form", ["input", "line", "field", "wanted"])
def test_label_imbalance(form: str) -> None:
    skewed, even = ["good"] * 45 + ["bad"] * 5, ["good"] * 25 + ["bad"] * 25
    assert len(lines(found(_labelled(skewed, form)), "label-imbalance")) == 1
    assert lines(found(_labelled(even, form)), "label-imbalance") == []
    assert lines(found(_labelled(skewed[-25:], form)), "label-imbalance") == [], "too few rows to say"


def test_answers_of_all_kinds_are_no_labels() -> None:
    rng = random.Random(5)
    rows = [asked(_text(rng, 9), _text(rng, 20)) for _ in range(100)] + [asked(_text(rng, 9), "yes") for _ in range(4)]
    assert lines(found(rows), "label-imbalance") == []


def test_rarer_script() -> None:
    rows = [asked("这是什么问题？", f"这是第{i}个问题，我们来学习。") for i in range(5)]
    assert lines(found(rows), "script-minority") == []
    rows.append(asked("這是什麼問題？", "這是一個問題，我們來學習。"))
    assert lines(found(rows), "script-minority") == [6]
    assert not SIMPLIFIED & TRADITIONAL
    assert {"这", "们", "国", "学"} <= SIMPLIFIED
    assert {"這", "們", "國", "學"} <= TRADITIONAL


CLIPS = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many?"
APPLES = "小明有五个苹果，他把其中的两个给了小红，然后又买了三个，请问小明现在一共有几个苹果？"
EVALUATION = [
    {"question": CLIPS, "answer": "72"},
    {"question": "What is the tallest mountain in Africa?", "answer": "Kilimanjaro"},
    {"题目": APPLES, "选项": ["A", "B"]},
]


def test_evaluation_leak(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in EVALUATION), encoding="utf-8")
    rows = [
        asked(CLIPS, "She sold 72 clips."),
        asked("Solve this:\n" + CLIPS.lower().replace(",", " ,"), "72 clips."),
        asked("A riddle. What is the tallest mountain in Africa?", "Kilimanjaro."),
        asked(APPLES + "答案是", "六个。"),
        asked("Tell me.", " ".join(CLIPS.split()[:18]) + "."),
        asked("Natalia sold clips to her friends in May. How many?", "Nobody knows."),
        asked("What is the tallest mountain in Asia?", "Everest."),
        asked("小明有三个苹果，吃了一个，还剩几个？", "两个。"),
    ]
    findings = found(rows, against=[str(path)])
    assert lines(findings, "evaluation-leak") == [1, 2, 3, 4, 5]
    other = findings.tallies["evaluation-leak"].examples[2].other
    assert other == Origin(str(path), 2)


def test_words_that_all_questions_of_a_set_have_are_no_leak(tmp_path: Path) -> None:
    template = "Read the question with care and answer with the letter of the right choice, nothing else, please:"
    path = tmp_path / "evaluation.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"{template} w{i} x{i}?"}) for i in range(9)))
    assert lines(found([asked(f"{template} another question?", "B")], against=[str(path)]), "evaluation-leak") == []


def test_evaluation_set_without_text(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.jsonl"
    path.write_text('{"question": "a", "answer": "b"}\n')
    with pytest.raises(UserError, match="no text that is long enough"):
        found([], against=[str(path)])


# -- counting ---------------------------------------------------------------------------------------------------------


def test_what_the_reader_refuses_is_found_too() -> None:
    turns = [{"from": "human", "value": "a"}, {"from": "human", "value": "b"}]
    rows = [
        asked("Name a colour.", ""),
        {"conversations": turns},
        {"instruction": 7, "output": "x"},
        asked("Name a colour.", "Blue."),
    ]
    findings = found(rows)
    assert (findings.rows, findings.unreadable) == (4, 3)
    assert lines(findings, "answer-empty") == [1]
    assert lines(findings, "role-order") == [2]
    assert lines(findings, "unreadable-row") == [3]
    assert findings.rows_with("error") == 2


def test_counts_and_examples() -> None:
    rows = [asked("Hi?", f"Number {i}.<|im_end|>") for i in range(9)] + [asked("Hi there?", "One\x07two.")]
    linter = Linter({"control-token", "control-characters"}, max_length=1024, examples=2)
    for line, row in enumerate(rows, 1):
        see(linter, row, line)
    findings = linter.finish()
    assert [(tally.kind.name, tally.count, len(tally.examples)) for tally in findings.found] == [
        ("control-token", 9, 2),
        ("control-characters", 1, 1),
    ]
    assert (findings.count("error"), findings.count("warning"), findings.count("note")) == (9, 1, 0)
    assert [findings.rows_with(severity) for severity in ("error", "warning", "note")] == [9, 10, 10]


def test_answers_that_are_not_to_be_learnt_are_not_judged() -> None:
    """The worse answer of a pair, an answer marked as unwanted, and one that is context only; their text is read."""
    bad = "As an AI language model, I cannot do that."
    rows: list[Any] = [
        {"prompt": "Why?", "chosen": "Because.", "rejected": bad},
        {"prompt": "Why?", "completion": bad, "label": False},
        {"messages": [
            {"role": "user", "content": "Why?"}, {"role": "assistant", "content": bad, "weight": 0},
            {"role": "user", "content": "Why so?"}, {"role": "assistant", "content": "Because."},
        ]},
        {"prompt": "Why?", "chosen": "Because.", "rejected": "No.<|im_end|>"},
    ]  # fmt: skip
    findings = found(rows)
    assert lines(findings, "vendor-disclaimer") == []
    assert lines(findings, "control-token") == [4]


def test_trees_judge_each_reply_once() -> None:
    reply = {"role": "assistant", "text": "Fine.<|im_end|>", "replies": [{"role": "prompter", "text": "Good."}]}
    tree = {"message_tree_id": "1", "prompt": {"role": "prompter", "text": "Well?", "replies": [reply, dict(reply)]}}
    assert lines(found([tree]), "control-token") == [1]


def test_choosing_rules() -> None:
    assert chosen_kinds((), ()) == frozenset(BY_NAME)
    assert chosen_kinds(("secret", "pii-ip"), ("pii-ip",)) == {"secret"}
    with pytest.raises(UserError, match=r"no rule of this name — did you mean .*pii-email"):
        chosen_kinds(("pii-mail",), ())
    with pytest.raises(UserError, match="no rule is left"):
        chosen_kinds(("secret",), ("secret",))
