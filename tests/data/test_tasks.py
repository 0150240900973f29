"""Labelled text: every file format and tag scheme to the same records, and records to tokens with their classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_base

from camelid.data.formats.fields import RowFault
from camelid.data.ledger import Ledger
from camelid.data.pack import pack_step, total_weight
from camelid.data.records import Origin
from camelid.data.tasks.read import read_task_records
from camelid.data.tasks.records import Classified, Tagged, TaskRecord
from camelid.data.tasks.render import TaskRenderer, labels_of
from camelid.data.tasks.schemes import Entity, entities, scheme_of, to_bio
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

CASES = Path(__file__).parent.parent / "cases" / "entities.jsonl"  # made with seqeval 1.2.2
NOWHERE = Origin("rows", 1)


def _read(
    path: Path, task: str, columns: dict[str, str] | None = None, ledger: Ledger | None = None
) -> list[TaskRecord]:
    return read_task_records(
        str(path), task, columns or {}, seed=0, ledger=ledger or Ledger(), announce=lambda line: None
    )


# -- schemes ---------------------------------------------------------------------------------------------------------


@st.composite
def _spans(draw: st.DrawFn) -> tuple[int, list[Entity]]:
    """A sentence's length and its entities, some of them next to each other."""
    spans: list[Entity] = []
    at = draw(st.integers(0, 2))
    for _ in range(draw(st.integers(0, 5))):
        stop = at + draw(st.integers(1, 3))
        spans.append((draw(st.sampled_from(["PER", "LOC"])), at, stop))
        at = stop + draw(st.integers(0, 2))
    return at + draw(st.integers(1, 2)), spans


def _written(length: int, spans: list[Entity], scheme: str) -> list[str]:
    tags, last = ["O"] * length, ("", -1)
    for kind, start, stop in spans:
        inside, end, single = {"BIO": "IIB", "IOB1": "III", "BIOES": "IES", "BMES": "MES", "BILOU": "ILU"}[scheme]
        first = "B"
        if scheme == "IOB1":
            first = single = "B" if last == (kind, start) else "I"
        tags[start:stop] = [f"{first}-{kind}", *[f"{inside}-{kind}"] * (stop - start - 1)]
        tags[stop - 1] = f"{end}-{kind}" if stop - start > 1 else f"{single}-{kind}"
        last = kind, stop
    return tags


@given(_spans(), st.sampled_from(["BIO", "IOB1", "BIOES", "BMES", "BILOU"]))
def test_every_scheme_means_the_same_entities(made: tuple[int, list[Entity]], scheme: str) -> None:
    length, spans = made
    tags = _written(length, spans, scheme)
    assert entities(tags) == spans
    assert list(to_bio(tags)) == _written(length, spans, "BIO")


def test_broken_sequences_mean_what_seqeval_says() -> None:
    for line in CASES.read_text().splitlines():
        case = json.loads(line)
        assert [[list(entity) for entity in entities(tags)] for tags in case["true"]] == case["entities"]


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        (["B-X", "I-X", "O"], "BIO"),
        (["I-X", "I-X", "O"], "IOB1"),
        (["B-X", "E-X", "S-X"], "BIOES"),
        (["B-X", "M-X", "E-X"], "BMES"),
    ],
)
def test_a_scheme_is_told_by_its_marks(tags: list[str], name: str) -> None:
    assert scheme_of([["O"], tags]) == name


@pytest.mark.parametrize("tag", ["PER", "B", "B-", "Q-PER", ""])
def test_what_is_no_tag(tag: str) -> None:
    with pytest.raises(ValueError, match="is no tag"):
        entities([tag])


# -- files -----------------------------------------------------------------------------------------------------------

FILES = {
    "sst.tsv": ("classify", 'sentence\tlabel\n"quoted at its start\t0\nsaid "so" \t1\n', ['"quoted at its start', "0"]),
    "cls.csv": ("classify", 'label,review\n好,"服务,很好"\n差,太吵\n', ["服务,很好", "好"]),
    "rte.tsv": ("pair", "index\tsentence1\tsentence2\tlabel\n0\tA b\tC d\tyes\n1\tE\tF\tno\n", ["A b", "C d", "yes"]),
    "mrpc.tsv": (
        "pair",
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tA\tB\n0\t7\t8\tC\tD\n",
        ["A", "B", "1"],
    ),
    "boolq.jsonl": (
        "pair",
        '{"question": "q", "passage": "p", "label": true}\n{"question": "r", "passage": "s", "label": false}\n',
        ["q", "p", "true"],
    ),
    "wic.jsonl": (
        "pair",
        '{"word": "w", "sentence1": "a", "sentence2": "b", "label": false}\n',
        ["w: a", "b", "false"],
    ),
    "cb.json": ("pair", '[{"premise": "a", "hypothesis": "b", "label": "neutral"}]', ["a", "b", "neutral"]),
}


@pytest.mark.parametrize("name", FILES)
def test_usual_files_are_read(name: str, tmp_path: Path) -> None:
    task, content, first = FILES[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    ledger = Ledger()
    records = _read(tmp_path / name, task, ledger=ledger)
    record = records[0]
    assert isinstance(record, Classified)
    assert [*record.texts, record.label] == first
    assert (ledger.read, ledger.kept, ledger.rejected) == (len(records), len(records), 0)


def test_conll_files_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "en.conll").write_text(
        "-DOCSTART- -X- O O\n\nParis NNP I-NP I-LOC\nLyon NNP I-NP B-LOC\n. . O O\n\n# a comment here\nIt PRP O O\n"
    )
    (tmp_path / "weibo.train").write_text("李0\tB-PER.NAM\n开1\tI-PER.NAM\n，0\tO\n\n#0\tO\n好1\tO\n", encoding="utf-8")
    (tmp_path / "broken.bio").write_text("one\n\nA O\nB B-X\n\nC Q-X\n")
    paris, it = _read(tmp_path / "en.conll", "tag")
    assert isinstance(paris, Tagged)
    assert (paris.words, paris.tags, paris.spaced, paris.origin.line) == (
        ("Paris", "Lyon", "."), ("B-LOC", "B-LOC", "O"), True, 3,
    )  # fmt: skip
    assert isinstance(it, Tagged)
    assert it.words == ("It",)
    chinese, signs = _read(tmp_path / "weibo.train", "tag")
    assert isinstance(chinese, Tagged)
    assert isinstance(signs, Tagged)
    assert (chinese.words, chinese.tags, chinese.spaced) == (("李", "开", "，"), ("B-PER.NAM", "I-PER.NAM", "O"), False)
    assert (signs.words, signs.spaced) == (("#", "好"), False)
    ledger = Ledger()
    (kept,) = _read(tmp_path / "broken.bio", "tag", ledger=ledger)
    assert kept.origin.line == 3
    assert (ledger.read, ledger.kept, ledger.rejected) == (3, 1, 2)
    assert [rejection.line for rejection in ledger.rejections] == [1, 6]
    assert "line 1 has one column" in ledger.rejections[0].reason


def test_columns_can_be_named_and_what_is_missing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("opinion,stars\nfine,5\nawful,1\n")
    with pytest.raises(UserError, match=r"which field is the text\? Name it as columns.text"):
        _read(path, "classify")
    records = _read(path, "classify", {"text": "opinion", "label": "stars"})
    assert labels_of(records) == ("1", "5")
    with pytest.raises(UserError, match="no field 'star'"):
        _read(path, "classify", {"text": "opinion", "label": "star"})


def test_labels_are_in_order() -> None:
    def classified(*labels: str) -> list[TaskRecord]:
        return [Classified(("x",), label, NOWHERE) for label in labels]

    assert labels_of(classified("10", "9", "-1")) == ("-1", "9", "10")
    assert labels_of(classified("b", "a", "9")) == ("9", "a", "b")
    tagged = Tagged(("x", "y"), ("B-b", "O"), True, NOWHERE)
    assert labels_of([tagged, Tagged(("z",), ("B-a",), True, NOWHERE)]) == ("O", "B-a", "I-a", "B-b", "I-b")
    with pytest.raises(UserError, match="no classes to tell apart"):
        labels_of(classified("same", "same"))
    with pytest.raises(UserError, match="1,001 different labels"):
        labels_of(classified(*(f"text {i}" for i in range(1001))))


# -- examples --------------------------------------------------------------------------------------------------------


def _renderer(labels: tuple[str, ...], max_length: int = 64) -> TaskRenderer:
    return TaskRenderer(Vocabulary.from_directory(tiny_base()), labels, max_length)


def test_the_class_is_learnt_at_the_last_token_of_a_text() -> None:
    renderer = _renderer(("no", "yes"))
    example = renderer.example(Classified(("Sort these", "numbers"), "yes", NOWHERE), 7)
    assert example.labels is not None
    assert renderer.vocabulary.decode(example.ids) == "Sort these\nnumbers"
    assert example.labels.tolist() == [-1] * (len(example.ids) - 1) + [1]
    assert (example.source, example.cut, example.learnt) == (7, 0, 1.0)
    with pytest.raises(RowFault, match="'maybe' does not occur"):
        renderer.example(Classified(("x",), "maybe", NOWHERE), 0)


def test_user_text_never_becomes_a_control_token() -> None:
    renderer = _renderer(("no", "yes"))
    example = renderer.example(Classified(("<|im_end|> x",), "no", NOWHERE), 0)
    assert not set(example.ids.tolist()) & renderer.vocabulary.control_ids


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 30))
def test_of_a_pair_that_is_too_long_the_longer_text_gives_way(first: int, second: int, length: int) -> None:
    """Token by token from whichever is the longer: the oracle."""
    renderer = _renderer(("no", "yes"), length)
    texts = "a " * first + "a", "b " * second + "b"
    example = renderer.example(Classified(texts, "no", NOWHERE), 0)
    parts = [part.tolist() for part in renderer._encoded([texts[0], "\n" + texts[1]])]
    sizes = [len(part) for part in parts]
    while sum(sizes) > length:
        sizes[sizes[1] >= sizes[0]] -= 1
    either = [(sizes[0], sizes[1])]
    if abs(sizes[0] - sizes[1]) == 1:  # an odd token goes to one or the other
        either.append((sizes[1], sizes[0]))
    assert example.ids.tolist() in [parts[0][:one] + parts[1][:other] for one, other in either]
    assert example.cut == sum(map(len, parts)) - len(example.ids)


def test_a_tag_is_learnt_at_the_last_token_of_its_word() -> None:
    renderer = _renderer(("O", "B-X", "I-X"))
    record = Tagged(("Sort", "healthyhealthy", "numbers"), ("O", "B-X", "I-X"), True, NOWHERE)
    example = renderer.example(record, 0)
    assert example.labels is not None
    assert renderer.vocabulary.decode(example.ids) == "Sort healthyhealthy numbers"
    places = np.flatnonzero(example.labels >= 0)
    assert example.labels[places].tolist() == [0, 1, 2]
    read = [renderer.vocabulary.decode(example.ids[: place + 1]) for place in places]
    assert read == ["Sort", "Sort healthyhealthy", "Sort healthyhealthy numbers"]
    assert example.learnt == 3
    chinese = renderer.example(Tagged(("你", "好"), ("O", "B-X"), False, NOWHERE), 0)
    assert renderer.vocabulary.decode(chinese.ids) == "你好"
    short = _renderer(("O", "B-X", "I-X"), places[1]).example(record, 0)
    assert short.labels is not None
    assert short.labels[short.labels >= 0].tolist() == [0], "a sentence ends at a whole word"
    assert short.cut == len(example.ids) - len(short.ids)


def test_packing_keeps_every_class_of_texts_that_share_a_beginning() -> None:
    """Also where one text is the beginning of another, and where two are the same with other classes."""
    renderer = _renderer(("0", "1"))
    texts = [("Sort these numbers", "0"), ("Sort these", "1"), ("Sort these", "0"), ("Well", "1")]
    examples = [renderer.example(Classified((text,), label, NOWHERE), i) for i, (text, label) in enumerate(texts)]
    (row,) = pack_step(examples, 64)
    assert row.classes is not None
    assert len(row.tree) < row.useful
    wanted = {(renderer.vocabulary.decode(e.ids), int(e.labels[-1])) for e in examples if e.labels is not None}
    found = set()
    for node, label in zip(row.classes.nodes.tolist(), row.classes.labels.tolist(), strict=True):
        found.add((renderer.vocabulary.decode(row.tree.token[row.tree.path(node)]), label))
    assert found == wanted
    assert total_weight(examples) == len(row.classes.nodes) == 4
    assert row.learnt().sum() == 3
