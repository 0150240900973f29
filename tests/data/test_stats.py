"""The figures of a data set on small corpora with known numbers, and what must hold for any."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers

from camelid.data.factory.rows import read_rows
from camelid.data.factory.stats import chinese, english
from camelid.data.factory.stats.collect import Statistics
from camelid.data.factory.stats.diversity import STRETCH, VerbObjects, Vocabulary
from camelid.data.factory.stats.drawing import histogram, ring
from camelid.data.factory.stats.exchanges import exchange_of
from camelid.data.factory.stats.fertility import Fertility
from camelid.data.factory.stats.lengths import Lengths, edges_up_to
from camelid.data.factory.stats.page import render_statistics
from camelid.data.factory.stats.repeats import Repeats
from camelid.data.factory.stats.scripts import CLASSES, classes_of, counts_of, language_of
from camelid.data.ledger import Ledger
from camelid.data.records import Conversation, Message, MessageTree, Origin, Preference, Ranked, Text, TreeMessage
from camelid.data.vocabulary import Vocabulary as Tokens

ORIGIN = Origin("f", 1)
# Letters of several scripts, characters beyond the first plane, blanks, digits and marks.
TEXTS = st.lists(
    st.sampled_from(["the", "Ünï", "你好", "한국", "мир", "😀", "𠀀", " ", "\n", "7", "...", "カナ"]), max_size=30
).map("".join)


@pytest.mark.parametrize(
    ("instruction", "found"),
    [
        ("Write a short story about a lighthouse keeper.", ("write", "story")),
        ("Please give me three tips for better sleep.", ("give", "tip")),
        ("Given the following list of fruits, sort the items by colour.", ("sort", "item")),
        ("Could you briefly describe the process of photosynthesis?", ("describe", "process")),
        ("Your task is to come up with a short, modern slogan for a bakery", ("come up with", "slogan")),
        ("Compare and contrast the two following poems.", ("compare", "poem")),
        ("Rewrite it in plain words.", ("rewrite", "")),
        ("Explain why the sky is blue.", ("explain", "")),
        ("List all of the countries found in Oceania", ("list", "country")),
        ("You are a chef. You need to plan a dinner menu for six.", ("plan", "menu")),
        ("Convert the temperature given below to Celsius.", ("convert", "temperature")),
        ('Translate "Good night" into French.', ("translate", "")),
        ("Make the announcement sound more formal.", ("make", "announcement")),
        ("Re-tell the fable from the fox's view.", ("retell", "fable")),
        ("What is the capital of Peru?", ("", "")),
        ("How would you explain a rainbow to a child?", ("", "")),
        ("What can you say when you must refuse an invitation?", ("", "")),
        ("The train was late again.", ("", "")),
        ("List of rivers", ("", "")),
        ("", ("", "")),
    ],
)
def test_english_verb_and_object(instruction: str, found: tuple[str, str]) -> None:
    assert english.verb_and_object(instruction) == found


@pytest.mark.parametrize(
    ("instruction", "found"),
    [
        ("写一首关于秋天的诗。", ("写", "诗")),
        ("请列出三种常见的家用清洁方法。", ("列出", "方法")),
        ("将下面的句子翻译成英文：我明天去上海。", ("翻译", "句子")),
        ("把这段文字改写得更简洁。", ("改写", "文字")),
        ("根据以下信息，写一封求职信。", ("写", "求职信")),
        ("为一家新开的咖啡馆设计一个标志。", ("设计", "标志")),
        ("对以下评论进行分类。", ("进行", "分类")),
        ("你能帮我解释一下什么是黑洞吗？", ("", "")),
        ("解释为什么天空是蓝色的。", ("解释", "")),
        ("告诉我两个关于大熊猫的事实。", ("告诉", "事实")),
        ("用Python编写一个计算器程序", ("编写", "程序")),
        ("给我一个与数学有关的笑话。", ("给", "笑话")),
        ("添加一段注释到下面的函数中。", ("添加", "注释")),
        ("计算这个函数的导数", ("计算", "导数")),
        ("中国的首都是哪里？", ("", "")),
        ("今天天气很好。", ("", "")),
        ("想象你是一名宇航员。", ("想象", "")),
        ("", ("", "")),
    ],
)
def test_chinese_verb_and_object(instruction: str, found: tuple[str, str]) -> None:
    assert chinese.verb_and_object(instruction) == found


@settings(max_examples=300)
@given(st.text(alphabet="请写一个将把的，。？a b,.\"'“”为给来 \n进行分析", max_size=120))
def test_any_text_is_taken(text: str) -> None:
    for find in (english.verb_and_object, chinese.verb_and_object):
        verb, thing = find(text)
        assert verb or not thing


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The cat sat on the mat.", "en"),
        ("Paris", "en"),
        ("今天天气真好，我们去公园。", "zh"),
        ("用 Python 写程序", "mixed"),
        ("用Python写一个可以计算两个矩阵相乘的函数，并且解释每一行代码的含义和作用。", "zh"),
        ("你好 (hello there), 朋友 (my dear friend)", "mixed"),
        ("El gato está durmiendo en la cama y los perros también.", "other"),
        ("Le Corbusier, Mies van der Rohe, Louis Sullivan, Frank Lloyd Wright", "en"),
        ("これは日本語の文章です。", "other"),
        ("Москва — столица России.", "other"),
        ("안녕하세요", "other"),
        ("def f(x):\n    return x + 1\n\nprint(f(2))", "code"),
        ("Here it is:\n```python\nfor i in range(10):\n    print(i * i)\n    total += i\n```", "code"),
        ("SELECT name FROM users WHERE age > 3;", "code"),
        ("1, 2, 3; 42%", "none"),
        ("", "none"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert language_of(text) == language


@given(TEXTS)
def test_every_character_has_a_class(text: str) -> None:
    assert len(classes_of(text)) == len(text)
    assert counts_of(text).sum() == len(text)
    found = dict(zip(CLASSES, counts_of(text).tolist(), strict=True))
    assert found["Han"] == sum(text.count(one) for one in "你好𠀀")
    assert found["Latin"] == sum(text.count(one) for one in "theÜnï")
    assert found["mark"] == text.count("😀") + text.count(".")


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=200))
def test_lengths(values: list[int]) -> None:
    lengths = Lengths()
    lengths.extend(values)
    found = lengths.summary()
    for percent in (5, 25, 50, 75, 95, 99):
        assert found[f"p{percent}"] == np.percentile(values, percent, method="inverted_cdf")
    assert (found["count"], found["total"], found["max"]) == (len(values), sum(values), max(values))
    assert found["above"]["512"] == pytest.approx(sum(value > 512 for value in values) / len(values), abs=1e-6)
    bins = found["histogram"]
    assert sum(one["count"] for one in bins) == len(values)
    for one in bins:
        assert one["count"] == sum(one["from"] <= value < one["below"] for value in values)
    assert bins[0]["count"], bins[-1]["count"]


def test_edges_double_every_second_time() -> None:
    assert edges_up_to(20) == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24]
    assert Lengths().summary() == {"count": 0}


def test_repeats() -> None:
    repeats = Repeats(near=True)
    base = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    for text in (
        base,
        base.upper(),
        f"{base} seventeen",
        "something else entirely, with other words in it",
        "你好",
        "你 好",
    ):
        repeats.add(text)
    found = repeats.summary()
    # 14 of 15 shingles are shared by the third: 0.93; a blank between two characters is no difference for MinHash
    assert found == {"exact": 1, "exact_share": 0.166667, "near": 3, "near_share": 0.5}


def test_verb_objects_are_counted() -> None:
    verbs = VerbObjects("en")
    for text in ("Write a poem.", "Write a poem.", "Write a story.", "Name a river.", "Name it.", "Why?"):
        verbs.add(text)
    found = verbs.summary()
    assert found["instructions"] == 6
    assert (found["with_verb"], found["with_object"]) == (0.833333, 0.666667)
    assert (found["verbs"], found["pairs"]) == (2, 3)
    assert found["pair_entropy"] == 1.5, "1/2, 1/4, 1/4"
    assert found["verb_entropy"] == pytest.approx(0.971, abs=1e-3), "3/5, 2/5"
    assert found["top"] == [
        {"verb": "write", "count": 3, "objects": [{"object": "poem", "count": 2}, {"object": "story", "count": 1}]},
        {"verb": "name", "count": 2, "objects": [{"object": "river", "count": 1}]},
    ]


def test_one_verb_alone_has_no_entropy() -> None:
    verbs = VerbObjects("en")
    verbs.add("Write a poem.")
    assert f"{verbs.summary()['verb_entropy']:.2f}" == "0.00", "and not -0.00"


def test_distinct() -> None:
    few = Vocabulary()
    few.add("a b a b")
    few.add("a 你好")
    assert few.summary() == {"words": 7, "different": 4, "distinct_1": 0.5714, "distinct_2": 0.8}
    many = Vocabulary()
    for _ in range(3):
        many.add("x y " * (STRETCH // 2))
    assert many.summary() == {"words": 3 * STRETCH, "different": 2, "distinct_1": 0.0002, "distinct_2": 0.0002}
    many.add("z")
    assert many.summary()["distinct_1"] == 0.0002, "the rest is no stretch"
    assert Vocabulary().summary()["distinct_1"] == 0


def test_exchanges_of_every_kind() -> None:
    system, user, answer = Message("system", "S"), Message("user", "Q\nI", input_start=2), Message("assistant", "A")
    found = exchange_of(Conversation((system, user, answer, Message("user", "Q2"), Message("assistant", "A2")), ORIGIN))
    assert (found.asked, found.answers, found.turns) == (("S", "Q\nI", "A", "Q2"), ("A2",), 4)
    assert (found.system, found.instruction) == ("S", "Q")
    found = exchange_of(Preference((user,), (answer,), (Message("assistant", "longer"),), ORIGIN))
    assert (found.answers, found.longest(len), found.turns) == (("A", "longer"), 9, 2)
    assert exchange_of(Ranked((user,), ("A", "B", "C"), ORIGIN)).answers == ("A", "B", "C")
    tree = TreeMessage(user, (TreeMessage(answer, (TreeMessage(Message("user", "more")),)), TreeMessage(answer)))
    found = exchange_of(MessageTree(tree, ORIGIN))
    assert (found.answers, found.turns, found.longest(len)) == (("A", "more", "A"), 3, 8)
    assert exchange_of(Text("words", ORIGIN)).longest(len) == 5


def _words() -> Tokens:
    """Whole words and [UNK]."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "cat": 2, ".": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return Tokens(tokenizer, {"unk_token": "[UNK]"})


def test_fertility_of_known_texts() -> None:
    words = Fertility(_words())
    assert words.encode(["the cat.", "the dog 你好."]) == [3, 4]
    found = words.summary()
    assert (found["vocabulary"], found["tokens"], found["unknown"], found["parts"]) == (4, 7, 0.285714, 0)
    assert found["scripts"]["Latin"] == {"characters": 12, "tokens": 4, "per_character": 0.3333, "per_word": 1.0}
    assert found["scripts"]["Han"] == {"characters": 2, "tokens": 1, "per_character": 0.5}
    assert found["bytes_per_token"] == pytest.approx((8 + 15) / 7, abs=1e-4)
    raw = Tokenizer(models.BPE({token: i for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found_in_bytes = Fertility(Tokens(raw))
    assert found_in_bytes.encode(["ab 你é"]) == [8]
    found = found_in_bytes.summary()
    assert found["parts"] == 0.625, "three bytes of 你 and two of é"
    assert found["scripts"]["Han"]["per_character"] == 3
    assert found["scripts"]["Latin"]["tokens"] == 4


@given(st.lists(TEXTS, max_size=6))
def test_fertility_adds_up(texts: list[str]) -> None:
    backend = tiny_tokenizer()
    together, alone = Fertility(Tokens(backend)), Fertility(Tokens(backend))
    counts = together.encode(texts)
    assert counts == [len(backend.encode(text, add_special_tokens=False).ids) for text in texts]
    assert counts == [alone.encode([text])[0] for text in texts]
    assert together.summary() == alone.summary(), "in whatever batches"
    found = together.summary()
    assert found["tokens"] == sum(counts)
    size = sum(len(text.encode()) for text in texts)
    assert found["bytes_per_token"] == pytest.approx(size / max(1, sum(counts)), abs=1e-4)
    assert sum(one["tokens"] for one in found["scripts"].values()) <= sum(counts)


def test_a_long_text_is_encoded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camelid.data.factory.stats.fertility._MOST", 4)
    found = Fertility(_words())
    assert found.encode(["the cat the", "", "cat"]) == [3, 0, 1], "the| cat| the, at four characters each"


def _rows(folder: Path, rows: list[dict]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def _found(path: Path, **tokenizers: Tokens) -> dict:
    statistics = Statistics(tokenizers)
    ledger = Ledger()
    for row in read_rows(str(path), ledger=ledger, on_reject=lambda rejection: None):
        statistics.add(row)
    return {
        "counts": {"read": ledger.read, "kept": ledger.kept, "rejected": ledger.rejected},
        "formats": {"Alpaca": ledger.kept},
        "reasons": dict(ledger.reasons),
        **statistics.summary(),
        "inputs": [{"file": str(path), "sha256": "0" * 64, "bytes": 1}],
    }


CORPUS = [
    {"instruction": "Write a poem.", "input": "", "output": "Roses are red."},
    {"instruction": "Write a poem.", "input": "the cat", "output": "the cat."},
    {"instruction": "写一首诗。", "input": "", "output": "床前明月光", "system": "你是诗人"},
    {"instruction": "Write a poem.", "input": "", "output": "Violets are blue."},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}] * 3},
    {"text": "只有文字。"},
]


def test_a_small_corpus(tmp_path: Path) -> None:
    found = _found(_rows(tmp_path, CORPUS), words=_words())
    assert (found["rows"], found["records"]) == (6, 6)
    assert found["kinds"] == {"Conversation": 5, "Text": 1}
    assert found["languages"]["prompt"] == {"en": 4, "zh": 1, "mixed": 0, "code": 0, "other": 0, "none": 0}
    assert found["languages"]["answer"] == {"en": 4, "zh": 2, "mixed": 0, "code": 0, "other": 0, "none": 0}
    assert found["letters"]["answer"] == {"Latin": 11 + 6 + 14 + 2, "Han": 9}
    assert found["turns"] == {"0": 1, "2": 4, "6": 1}
    assert found["system"] == {"rows": 1, "different": 1, "commonest": [{"text": "你是诗人", "rows": 1}]}
    assert found["characters"]["prompt"]["total"] == 13 + 21 + 9 + 13 + 10
    assert found["characters"]["whole"]["total"] == 66 + 14 + 8 + 5 + 17 + 2 + 5
    assert found["tokens"]["words"]["prompt"]["count"] == 5
    assert found["tokens"]["words"]["answer"]["max"] == 4
    assert found["tokens"]["words"]["whole"]["total"] == (4 + 4) + (6 + 3) + (2 + 1 + 1) + (4 + 4) + 6 + 2
    assert found["repeats"]["prompt"] == {"exact": 1, "exact_share": 0.166667, "near": 1, "near_share": 0.166667}
    assert found["repeats"]["whole"] == {"exact": 0, "exact_share": 0.0}
    assert found["verbs"]["zh"]["top"] == [{"verb": "写", "count": 1, "objects": [{"object": "诗", "count": 1}]}]
    assert found["verbs"]["en"]["top"] == [{"verb": "write", "count": 3, "objects": [{"object": "poem", "count": 3}]}]
    assert json.loads(json.dumps(found)) == found, "plain values only"


class _Page(HTMLParser):
    """Tags that are open at the end, and everything that a page could load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "style")]
        if tag not in ("meta", "input", "br", "line", "rect", "path", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open[-1:] == [tag]:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "input", "br", "line", "rect", "path", "link"):
            assert self.open.pop() == tag


def test_the_page_escapes_and_needs_nothing(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    corpus = [
        *CORPUS,
        {"instruction": f"Write a <b>{evil}", "input": "", "output": evil, "system": f"{evil}&amp;\"'"},
        {"instruction": 'Write a "x" onload=alert', "input": "", "output": "мир"},
    ]
    found = _found(_rows(tmp_path, corpus), **{f"{evil}base": _words()})
    found["reasons"] = {evil: 2}
    found["verbs"]["en"]["top"][0]["objects"][0]["object"] = evil
    page = render_statistics(found, [evil])
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;base" in page
    assert "default-src 'none'" in page
    parsed = _Page()
    parsed.feed(page)
    parsed.close()
    assert not parsed.open
    assert not parsed.links
    assert not parsed.tags & {"script", "img", "iframe", "link", "object", "embed"}
    for words in ("Lengths in characters", "长度（字符）", "What is asked for", "要求做什么", "Tokenizers", "分词器"):
        assert words in page
    assert page.count("<svg") > 10


def test_a_page_of_running_text_alone(tmp_path: Path) -> None:
    found = _found(_rows(tmp_path, [{"text": "One."}, {"text": "Two."}]))
    page = render_statistics(found, ["a", "b", "c"])
    assert "a and 2 more" in page
    assert "What is asked for" not in page
    assert "Tokenizers" not in page


def test_pictures_of_little(tmp_path: Path) -> None:
    assert not histogram([], width=280, height=150, title="")
    assert not ring([{"verb": "go", "count": 1, "objects": []}], size=700, title="")
    one = ring([{"verb": "go", "count": 1, "objects": [{"object": "home", "count": 1}]}], size=700, title="t")
    assert one.count("<path") == 2, "a full circle"
    bars = histogram([{"from": 4, "below": 6, "count": 3}], width=280, height=150, title="t")
    assert "<title>4–5: 3 (100.0%)</title>" in bars
    assert ">4</text>" in bars


def test_real_data(shared_data: Path) -> None:
    path = shared_data / "instruct" / "alpaca_zh_demo.json"
    found = _found(path, tiny=Tokens(tiny_tokenizer()))
    assert found["rows"] == 1000
    assert found["languages"]["prompt"]["zh"] > 850
    assert found["verbs"]["zh"]["with_verb"] > 0.75
    assert {one["verb"] for one in found["verbs"]["zh"]["top"]} > {"生成", "写", "描述", "解释", "列出"}
    assert found["tokens"]["tiny"]["whole"]["p50"] > found["characters"]["whole"]["p50"]
    assert render_statistics(found, ["alpaca_zh_demo.json"])
