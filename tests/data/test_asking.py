"""Tasks as chats: the question in the data's language, the answer in words or JSON, and what gives way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_base

from camelid.data.formats.fields import RowFault
from camelid.data.pack import pack_step
from camelid.data.records import Origin, Rejection
from camelid.data.tasks.asking import MOST_NAMED, Asker, language_of
from camelid.data.tasks.entities import mentions, numbered, placed, tags_of
from camelid.data.tasks.names import named, unused
from camelid.data.tasks.records import Classified, Tagged, TaskRecord
from camelid.data.tasks.schemes import entities
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary

NOWHERE = Origin("rows", 1)
FINE = Classified(("A fine {text}",), "good", NOWHERE)
PARIS = Tagged(("Ann", "saw", "Paris", "and", "Paris"), ("B-PER", "O", "B-LOC", "O", "B-LOC"), True, NOWHERE)
ZH = Tagged(tuple("李开去上海"), ("B-人", "I-人", "O", "B-地", "I-地"), False, NOWHERE)


def _asker(task: str, form: str, labels: tuple[str, ...] = ("bad", "good"), **more: object) -> Asker:
    vocabulary = Vocabulary.from_directory(tiny_base())
    template = template_for("auto", vocabulary)
    fields: dict = {"language": "en", "max_length": 200, **more}
    return Asker(vocabulary, template, task=task, form=form, labels=labels, **fields)


CASES = {
    "words": (
        _asker("classify", "words"), FINE,
        "Which class does the text belong to: bad, good?\n\nA fine {text}", "good",
    ),
    "json": (
        _asker("classify", "json"), FINE,
        "Which class does the text belong to: bad, good? Answer in JSON.\n\nA fine {text}", '{"label": "good"}',
    ),
    "pair": (
        _asker("pair", "words", ("是", "否"), language="zh"), Classified(("a {pair}", "b"), "是", NOWHERE),
        "这两段文本属于哪一类：是、否？\n\n第一段：a {pair}\n第二段：b", "是",
    ),
    "tag": (
        _asker("tag", "json", ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")), PARIS,
        "List the entities in the text (LOC, PER) as JSON.\n\nAnn saw Paris and Paris",
        '[{"text": "Ann", "type": "PER"}, {"text": "Paris", "type": "LOC"}, {"text": "Paris", "type": "LOC"}]',
    ),
    "tag in Chinese": (
        _asker("tag", "json", ("O", "B-人", "I-人", "B-地", "I-地"), language="zh"), ZH,
        "用 JSON 列出文本中的实体（人、地）。\n\n李开去上海",
        '[{"text": "李开", "type": "人"}, {"text": "上海", "type": "地"}]',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_question_and_answer(name: str) -> None:
    asker, record, question, answer = CASES[name]
    assert [(m.role, m.content) for m in asker.question(record).messages] == [("user", question)]
    assert asker.right_answer(record) == answer
    (example,), (shown,) = asker.render([record], lambda rejection: None)
    assert (example.cut, shown) == (0, record)
    text = asker.renderer.vocabulary.decode(example.ids)
    assert text.startswith(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>")
    learnt = asker.renderer.vocabulary.decode(example.ids[example.weight > 0])
    assert learnt.removesuffix("\n") == f"{answer}<|im_end|>"
    if isinstance(record, Tagged):
        assert asker.read_mentions(answer) == mentions(record)
        assert tags_of(record, mentions(record)) == record.tags
    elif asker.form == "json":
        assert asker.read_label(answer) == record.label


def test_many_classes_are_not_listed() -> None:
    labels = tuple(f"c{i}" for i in range(MOST_NAMED + 1))
    asked = _asker("classify", "words", labels).question(FINE).messages[0].content
    assert asked.startswith("Which class does the text belong to?")
    assert "c29?" in _asker("classify", "words", labels[:MOST_NAMED]).question(FINE).messages[0].content


def test_the_language_is_that_of_most_texts() -> None:
    texts = [Classified((text,), "x", NOWHERE) for text in ("好的", "fine", "不好")]
    assert language_of(texts) == "zh"
    assert language_of(texts[1:]) == "en"
    assert language_of([PARIS, ZH, ZH]) == "zh"


@pytest.mark.parametrize(
    ("answer", "label"),
    [('{"label": "good"}', "good"), ('{"label": "x"}', None), ('{"label": 1}', None), ("[]", None), ("{", None)],
)
def test_labels_are_read(answer: str, label: str | None) -> None:
    assert _asker("classify", "json").read_label(answer) == label


def test_what_is_no_list_of_entities_has_none() -> None:
    asker = CASES["tag"][0]
    assert asker.read_mentions('[{"text": "Ann", "type": "PER"}, 3, {"type": "LOC"}]') == [("PER", "Ann"), ("LOC", "")]
    assert asker.read_mentions('[{"text": "An') == []
    assert asker.read_mentions('{"text": "Ann", "type": "PER"}') == []


def test_a_class_that_was_not_in_the_training_data_is_refused() -> None:
    said: list[Rejection] = []
    strange: list[TaskRecord] = [Classified(("x",), "new", NOWHERE), FINE]
    examples, kept = CASES["words"][0].render(strange, said.append)
    assert (len(examples), examples[0].source, kept) == (1, 0, [FINE])
    assert "'new' does not occur" in said[0].reason
    with pytest.raises(RowFault, match="'ORG' does not occur"):
        CASES["tag"][0].right_answer(Tagged(("x",), ("B-ORG",), True, NOWHERE))


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(110, 160), st.sampled_from(["good", "bad"]))
def test_the_text_gives_way_and_not_the_question_or_the_answer(
    first: int, second: int, length: int, label: str
) -> None:
    asker = _asker("pair", "words", max_length=length)
    texts = ("one " * first + "end", "two " * second + "end")
    (example,), (shown,) = asker.render([Classified(texts, label, NOWHERE)], lambda rejection: None)
    assert isinstance(shown, Classified)
    assert len(example.ids) <= length
    text = asker.renderer.vocabulary.decode(example.ids)
    assert f"First: {shown.texts[0]}\nSecond: {shown.texts[1]}<|im_end|>" in text
    assert f"assistant\n{label}<|im_end|>" in text
    assert all(whole.startswith(part) for whole, part in zip(texts, shown.texts, strict=True))
    whole, _ = _asker("pair", "words", max_length=10_000).render([Classified(texts, label, NOWHERE)], print)
    assert example.cut == len(whole[0].ids) - len(example.ids)
    if example.cut:
        assert len(example.ids) > length - 12, "no more than needed"
        other = asker.render([Classified(texts, "bad" if label == "good" else "good", NOWHERE)], print)[1][0]
        assert isinstance(other, Classified)
        assert other.texts == shown.texts, "what is seen does not depend on the class"


def test_a_sentence_is_cut_at_a_whole_word_with_its_entities() -> None:
    long = Tagged(("Ann",) * 30, ("B-PER",) * 30, True, NOWHERE)
    asker = _asker("tag", "json", ("O", "B-PER", "I-PER"), max_length=200)
    (example,), (shown,) = asker.render([long], print)
    assert isinstance(shown, Tagged)
    assert 0 < len(shown.words) < 30
    assert len(mentions(shown)) == len(shown.words)
    assert len(example.ids) <= 200
    said: list[Rejection] = []
    assert _asker("tag", "json", ("O", "B-PER", "I-PER"), max_length=20).render([long], said.append) == ([], [])
    assert "leaves no room for a text" in said[0].reason


def test_choices_are_branches_of_one_tree() -> None:
    asker = CASES["words"][0]
    examples = asker.choices([FINE, Classified(("A fine day",), "bad", NOWHERE)])
    assert [e.source for e in examples] == [0, 1, 2, 3]
    decoded = [asker.renderer.vocabulary.decode(e.ids[e.weight > 0]).removesuffix("\n") for e in examples]
    assert decoded == ["bad<|im_end|>", "good<|im_end|>"] * 2
    (row,) = pack_step(examples, 1000)
    assert len(row.tree) < 0.5 * row.useful


# -- names and entities ----------------------------------------------------------------------------------------------


def test_labels_are_called_by_their_names() -> None:
    rows: list[TaskRecord] = [Classified(("x",), "0", NOWHERE), PARIS]
    renamed = named(rows, {"0": "bad", "LOC": "place"})
    assert renamed[0] == Classified(("x",), "bad", NOWHERE)
    assert isinstance(renamed[1], Tagged)
    assert renamed[1].tags == ("B-PER", "O", "B-place", "O", "B-place")
    assert unused(rows, {"0": "bad", "LOC": "place", "7": "x", "ORG": "y"}) == ["7", "ORG"]


PLACES = [
    ([("LOC", "Paris")], [("LOC", 2, 3)]),
    ([("LOC", "Paris"), ("LOC", "Paris"), ("LOC", "Paris")], [("LOC", 2, 3), ("LOC", 4, 5)]),
    ([("LOC", "Paris and Paris"), ("LOC", "Paris")], [("LOC", 2, 5)]),
    ([("LOC", "Par"), ("LOC", ""), ("X", "Rome")], []),
    ([("X", "saw Paris"), ("LOC", "Paris")], [("X", 1, 3), ("LOC", 4, 5)]),
]


@pytest.mark.parametrize(("found", "spans"), PLACES, ids=str)
def test_mentions_are_placed_on_the_first_free_words(found: list[tuple[str, str]], spans: list) -> None:
    assert placed(PARIS, found) == spans


@given(st.lists(st.sampled_from(["Ann", "Bob", "saw"]), min_size=1, max_size=8), st.data())
def test_mentions_of_any_sentence_come_back_to_their_words(words: list[str], data: st.DataObject) -> None:
    """Where every occurrence of a text is an entity or none is, the places are exact."""
    tags = ["B-PER" if word != "saw" else "O" for word in words]
    record = Tagged(tuple(words), tuple(tags), data.draw(st.booleans()), NOWHERE)
    assert tags_of(record, mentions(record)) == record.tags
    assert len(numbered(mentions(record))) == len(entities(tags))


def test_the_schema_allows_the_right_answers_and_no_other_class() -> None:
    schema = json.loads(CASES["tag"][0].schema)
    assert schema["items"]["properties"]["type"]["enum"] == ["LOC", "PER"]
    assert json.loads(_asker("classify", "json").schema)["properties"]["label"]["enum"] == ["bad", "good"]
