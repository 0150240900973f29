"""`camelid data lint`: faults planted in real rows are found there and nowhere else; what it says and how it ends."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from program import camelid

Row = dict[str, str]
ROWS = 150  # of each language
FILES = (
    ("instruct/alpaca_data.json",),
    ("instruct/alpaca_zh_demo.json", "instruct/alpaca_zh_hikariming_15323-18280.json"),
)
# Questions that ask for prose: nothing in them makes a fault a wish.
PLAIN = re.compile(r"(?:What|Explain|Describe|How|Why|Compare)\b|(?:什么|解释|描述|如何|为什么|介绍|怎[么样])")
WISHES = re.compile(
    r"code|program|write|stor|poem|translat|language|website|sentence|text|chat|AI\b|assist|song|steps|list|given|below"
    r"|following|question|talk|letter|mail|format|image|文|语|诗|歌|代码|程序|翻译|句|图|列|对话|助手|故事|步骤|输入",
    re.IGNORECASE,
)
IDENTITY = "11010519491231002X"  # the example of GB 11643-1999
CHINESE_END = "最后但并非最不重要的是，如有问题请不要犹豫联系我们。"
ENGLISH_SENTENCE = "It is also important to remember that all of this takes a lot of time and patience."
CALCULATED = "So the total number of people is 24 + 19 = 53 in all."


def put(**fields: str) -> Callable[[Row], Row]:
    return lambda row: {**row, **fields}


def behind(words: str) -> Callable[[Row], Row]:
    """Words behind the answer."""
    return lambda row: {**row, "output": row["output"] + words}


def said(change: Callable[[str], str]) -> Callable[[Row], Row]:
    return lambda row: {**row, "output": change(row["output"])}


def shown(text: str) -> str:
    """Read as Windows-1252 what is UTF-8."""
    return f"{text} It’s a café – “naïve”.".encode().decode("cp1252", "ignore")


ENGLISH: list[tuple[str, Callable[[Row], Row]]] = [
    ("mojibake-latin1", said(shown)),
    ("replacement-character", said(lambda text: text.replace(" ", " \ufffd", 1))),
    ("control-characters", said(lambda text: text.replace(" ", "\x08 ", 1))),
    ("invisible-characters", said(lambda text: text.replace(" ", "\u200b ", 1))),
    ("escapes-left", behind("\\n\\nThat is all.\\n\\nGoodbye.")),
    ("html-left", said(lambda text: f"<p>{text}</p>")),
    ("html-left", behind(" Salt &amp; pepper, too.")),
    ("page-leftovers", behind("\nRegenerate response")),
    ("fullwidth-punctuation", behind(" Well，that is all。")),
    ("language-drift", put(output="这取决于很多因素，需要根据具体情况来判断。")),
    ("answer-empty", put(output="")),
    ("answer-empty", put(output="<nooutput>")),
    ("answer-cut-off", behind(" The main reason for this is that the")),
    ("answer-cut-off", behind(" There are three of them (the first one")),
    ("answer-no-end-mark", behind(" And then all of them went to the big ho")),
    ("code-fence-open", behind("\n```python\nprint(1)")),
    ("control-token", behind("<|im_end|>")),
    ("control-token", lambda row: {**row, "instruction": f"[INST] {row['instruction']} [/INST]"}),
    ("template-text", behind("\n### Instruction:\nAnother one.")),
    ("turns-in-answer", behind("\nHuman: And who was the very first?\nAssistant: Nobody knows that.")),
    ("placeholder-left", behind(" Ask [insert name here] for more.")),
    ("no-input-marker", put(input="<noinput>")),
    ("vendor-disclaimer", said(lambda text: f"As an AI language model, I will try. {text}")),
    ("vendor-identity", behind(" I was trained by OpenAI.")),
    ("answer-refuses", put(output="I'm sorry, but I can't help with that.")),
    ("repetition-loop", behind(" and so on and so forth" * 9 + ".")),
    ("answer-echoes-prompt", lambda row: {**row, "output": row["instruction"]}),
    ("list-misnumbered", put(output="1. Sleep enough.\n2. Eat well.\n4. Walk a lot.")),
    ("too-few-items", put(instruction="Give five reasons to walk.", output="1. It is free.\n2. It is good for you.")),
    ("answer-too-short", put(instruction="Write an essay of 900 words about oaks.", output="Oaks are tall trees.")),
    ("wrong-sum", behind(" " + CALCULATED)),
    ("over-long", behind("".join(f" There are {i} of them." for i in range(900)))),
    ("input-missing", put(instruction="Summarize the following article.")),
    ("needs-picture", put(instruction="Describe what happens in this picture.")),
    ("pii-bank-card", behind(" Pay to 4111 1111 1111 1111 please.")),
    ("secret", behind(" The key is sk-Zq3vT9mB2xW7cK5nR8dF1gH6.")),
    ("pii-phone-foreign", behind(" Call (415) 555-2671 for more.")),
    ("pii-email", behind(" Ask john.miller@example.com about it.")),
    ("pii-ssn-us", behind(" The number is 536-22-8714 there.")),
    ("pii-ip", behind(" The address is 203.208.60.17 there.")),
]
CHINESE: list[tuple[str, Callable[[Row], Row]]] = [
    ("mojibake-gbk", said(lambda text: "这是一个例子，请注意看。".encode().decode("gbk", "ignore") + text)),
    ("mojibake-gbk", said(lambda text: f"锟斤拷锟斤拷{text}")),
    ("script-mix", behind("這個問題並不簡單。")),
    ("fullwidth-letters", behind("一共有１２３个。")),
    ("halfwidth-punctuation", said(lambda text: text.replace("，", ",", 1))),
    ("spaced-characters", said(" ".join)),
    ("doubled-punctuation", said(lambda text: text.replace("，", "，，", 1))),
    ("language-drift", put(output="It depends on many things and on the place that you are in.")),
    ("untranslated-left", behind(ENGLISH_SENTENCE)),
    ("translationese", behind(CHINESE_END)),
    ("answer-cut-off", behind("除此之外，还有一个非常重要的原因，")),
    ("answer-no-end-mark", behind("除此之外还有很多人每天早上都会去公园跑")),
    ("control-token", behind("<｜end▁of▁sentence｜>")),
    ("vendor-disclaimer", said(lambda text: f"作为一个人工智能语言模型，我会尽力回答。{text}")),
    ("vendor-identity", behind("我是由百度开发的文心一言。")),
    ("repetition-loop", behind("我们要多加练习才能有进步。" * 6)),
    ("pii-id-cn", behind(f"身份证号是{IDENTITY}。")),
    ("pii-phone-cn", behind("请拨打13912345678联系。")),
    ("pii-landline-cn", behind("请拨打010-62345678联系。")),
]


def plain(rows: list[Row]) -> Iterator[Row]:
    """Rows of prose: a question, and an answer of one paragraph."""
    for row in rows:
        asked, text = row["instruction"], row["output"]
        fits = PLAIN.match(asked) or (not asked.isascii() and PLAIN.search(asked))
        one_paragraph = "\n" not in text and 60 < len(text) < 500 and text.endswith((".", "。"))
        clear = text.isascii() or (text.count("，") > 1 and "：" not in text)
        if fits and one_paragraph and clear and not row["input"] and not WISHES.search(asked):
            yield {"instruction": asked, "input": "", "output": text}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return path


def linted(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    code, out, err = camelid("data", "lint", "--json", "--examples", "100000", *arguments)
    assert code in (0, 1), err
    return code, json.loads(out)


def by_line(told: dict[str, Any]) -> dict[int, set[str]]:
    """The names of the rules that each line breaks."""
    found: dict[int, set[str]] = defaultdict(set)
    for rule in told["rules"]:
        assert rule["count"] == len(rule["examples"])
        for example in rule["examples"]:
            found[example["line"]].add(rule["rule"])
    return dict(found)


@pytest.fixture(scope="module")
def real_rows(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """300 real rows in which nothing is found."""
    folder = tmp_path_factory.mktemp("real")
    chosen: list[Row] = []
    for names in FILES:
        rows = [row for name in names for row in plain(json.loads((shared_data / name).read_text("utf-8"))[:9000])]
        _, told = linted(write(folder / "rows.jsonl", rows))
        faulty = by_line(told)
        chosen += [row for line, row in enumerate(rows, 1) if line not in faulty][:ROWS]
    assert len(chosen) == 2 * ROWS
    _, told = linted(write(folder / "rows.jsonl", chosen))
    assert told["rules"] == []
    assert told["rows"] == {
        "read": 300, "unreadable": 0, "with_errors": 0, "with_warnings": 0, "with_notes": 0, "clean": 300,
    }  # fmt: skip
    return chosen


def test_planted_faults_are_found_where_they_are_and_nowhere_else(real_rows: list[Row], tmp_path: Path) -> None:
    """More than 25 kinds, one a row: exactly those rows break exactly those rules."""
    rows = [dict(row) for row in real_rows]
    expected: dict[int, set[str]] = {}
    places = iter(range(0, ROWS, 3))
    for rule, plant in ENGLISH:
        place = next(places)
        rows[place] = plant(rows[place])
        expected[place + 1] = {rule}
    places = iter(range(ROWS, 2 * ROWS, 3))
    for rule, plant in CHINESE:
        place = next(places)
        rows[place] = plant(rows[place])
        expected[place + 1] = {rule}
    evaluation = write(tmp_path / "evaluation.jsonl", [{"question": rows[2]["instruction"], "answer": "?"}])
    expected[3] = {"evaluation-leak"}
    changed = rows[5]["output"].split()
    changed[len(changed) // 2] = "indeed"
    rows += [
        rows[4],
        {**rows[5], "output": " ".join(changed)},
        {"instruction": "Is the sun a star?", "output": "Yes, it is the star that is nearest to us."},
        {"instruction": "Is the sun a star?", "output": "No, it is a planet of its own kind."},
    ]
    expected[301] = {"exact-duplicate"}
    expected[302] = {"near-duplicate", "several-answers"}
    expected[304] = {"contradicting-answers"}
    code, told = linted(write(tmp_path / "rows.jsonl", rows), "--against", evaluation)
    assert code == 1
    found = by_line(told)
    assert {line: found.get(line) for line in expected} == expected
    assert found == expected
    kinds = set().union(*expected.values())
    assert len(kinds) >= 40
    assert told["rows"]["with_errors"] == sum(
        told["findings"]["error"] > 0 and bool(names & ERRORS) for names in found.values()
    )
    leak = next(rule for rule in told["rules"] if rule["rule"] == "evaluation-leak")
    assert leak["examples"][0]["other"] == {"file": str(evaluation), "line": 1}


ERRORS = {
    *("mojibake-latin1", "mojibake-gbk", "replacement-character", "answer-empty", "control-token", "template-text"),
    *("pii-id-cn", "pii-bank-card", "secret", "evaluation-leak"),
}


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    rows = [
        {"instruction": "Name a colour.", "output": "Blue.<|im_end|>"},
        {"instruction": "What is your number?", "output": "It is 13912345678, my friend."},
        {"instruction": "Name a river.", "output": "The Nile <script>alert(1)</script> <img src=x onerror=alert(2)>!"},
        {"instruction": "Name a sea.", "output": "The Red Sea."},
    ]  # fmt: skip
    return write(tmp_path / "faulty rows.jsonl", rows)


def test_what_is_said(faulty: Path) -> None:
    code, out, err = camelid("data", "lint", str(faulty))
    assert code == 1
    assert "control-token" in out
    assert f"  {faulty}:1  Blue.<|im_end|>\n" in out
    assert "13*******78" in out, "masked"
    assert "13912345678" not in out
    assert f"camelid data clean '{faulty}' --output clean.jsonl" in out, "a name with a blank is quoted"
    assert err.endswith("4 rows: 1 errors, 2 warnings, 0 notes; 1 rows without a finding\n")
    assert "fault of ours" not in err


def test_json_is_one_object(faulty: Path) -> None:
    code, out, err = camelid("data", "lint", str(faulty), "--json", "--examples", "1")
    assert code == 1
    assert err == ""
    told = json.loads(out)
    assert told["findings"] == {"error": 1, "warning": 2, "note": 0}
    assert told["rows"] == {
        "read": 4, "unreadable": 0, "with_errors": 1, "with_warnings": 3, "with_notes": 3, "clean": 1,
    }  # fmt: skip
    assert told["files"] == [str(faulty)]
    first = told["rules"][0]
    assert (first["rule"], first["severity"], first["count"], first["share"]) == ("control-token", "error", 1, 0.25)
    assert first["examples"] == [{"file": str(faulty), "line": 1, "shown": "Blue.<|im_end|>"}]
    assert first["title"]
    assert first["title_zh"]
    assert first["mend"]
    assert first["mend_zh"]


def test_page_escapes_what_it_shows(faulty: Path, tmp_path: Path) -> None:
    page = tmp_path / "lint.html"
    code, _, err = camelid("data", "lint", str(faulty), "--html", str(page))
    assert code == 1
    assert f"written: {page}\n" in err
    text = page.read_text("utf-8")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text
    assert "<img" not in text
    assert "13912345678" not in text
    assert "https://" not in text.replace("http-equiv", ""), "nothing is fetched"
    assert 'id="show-zh"' in text
    assert '<span class="zh" lang="zh-CN">手机号码</span>' in text
    assert re.search(r'<section id="control-token"', text)


def test_a_page_without_findings(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", [{"instruction": "Name a sea.", "output": "The Red Sea."}])
    code, out, _ = camelid("data", "lint", str(rows), "--html", str(tmp_path / "lint.html"))
    assert code == 0
    assert "Nothing was found." in (tmp_path / "lint.html").read_text("utf-8")
    assert "mend" not in out


def test_only_and_ignore(faulty: Path) -> None:
    code, told = linted(faulty, "--only", "pii-phone-cn", "--only", "control-token", "--ignore", "control-token")
    assert code == 0, "a warning is no error"
    assert by_line(told) == {2: {"pii-phone-cn"}}


def test_length(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", [{"instruction": "Name a few words.", "output": "some words " * 40}])
    only = ("--only", "over-long", "--max-length")
    assert by_line(linted(rows, *only, "200")[1]) == {}
    code, told = linted(rows, *only, "60")
    assert (code, by_line(told)) == (0, {1: {"over-long"}})
    assert "--base smollm2 --max-length 60" in told["rules"][0]["command"]
    assert by_line(linted(rows, *only, "80", "--base", "nano")[1]) == {1: {"over-long"}}, "counted by a tokenizer"
    assert by_line(linted(rows, *only, "2000", "--base", "nano")[1]) == {}


def test_every_row_faulty_is_a_finding_and_no_refusal(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", [{"instruction": "Name a sea.", "output": ""}])
    other = write(tmp_path / "other.jsonl", [{"instruction": "Name a sea.", "output": "The Red Sea.\x07"}])
    code, told = linted(rows, other)
    assert code == 1
    assert [(rule["rule"], rule["examples"][0]["file"]) for rule in told["rules"]] == [
        ("answer-empty", str(rows)),
        ("control-characters", str(other)),
    ]
    assert told["files"] == [str(rows), str(other)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl"),
        (["ROWS", "--only", "pii-mail"], "did you mean pii-email"),
        (["ROWS", "--html", "ROWS"], "a page is written as HTML"),
        (["ROWS", "--html", "nowhere/lint.html"], "not saved"),
        (["ROWS", "--against", "nowhere.jsonl"], "nowhere.jsonl"),
        (["STRANGE"], "the format of its rows is not known"),
    ],
)
def test_what_is_wrong_is_one_line(faulty: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    before = faulty.read_bytes()
    strange = write(tmp_path / "strange.jsonl", [{"colour": "blue"}])
    named = [one.replace("ROWS", str(faulty)).replace("STRANGE", str(strange)) for one in arguments]
    code, _, err = camelid("data", "lint", *named)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1 or "faulty rows.jsonl:" in err
    assert faulty.read_bytes() == before
