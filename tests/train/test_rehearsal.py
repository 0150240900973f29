"""Replay: what the base writes is rehearsed, in the share asked for, and the run's files say what it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from program import camelid, recipe_file
from runs_for_tests import tiny_recipe
from tiny import chat_rows, tiny_base

from camelid.data.question_text import asked
from camelid.data.skills.replay import general_prompts, goes_in_circles, whole_sentences
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.train import rehearsal
from camelid.train.data import TrainingData, prepare_data
from camelid.train.rehearsal import write_own_rows


@pytest.mark.parametrize(
    ("text", "ended", "kept"),
    [
        (" Yes, it is", True, "Yes, it is"),
        ("One is 3.5 m. Two is", False, "One is 3.5 m."),
        ("一是水。二是", False, "一是水。"),
        ("no end at all", False, None),
        ("   ", True, None),
        ("to be or not to be or not to be or not", True, None),
        ("我们一起去公园散步吧我们一起去公园散步吧", True, None),
        ("很好，很好，谢谢你。", True, "很好，很好，谢谢你。"),
    ],
)
def test_only_whole_sentences_that_do_not_loop_are_kept(text: str, ended: bool, kept: str | None) -> None:
    assert whole_sentences(text, ended=ended) == kept


@given(st.lists(st.sampled_from("abcdefghijkl"), unique=True, max_size=12))
def test_words_that_occur_once_are_no_loop(words: list[str]) -> None:
    assert not goes_in_circles(" ".join(words))
    assert goes_in_circles(" ".join(["w x y z", *words, "w x y z"]))


def _prepared(folder: Path, said: list[str], **fields: Any) -> TrainingData:
    recipe = tiny_recipe(folder, **fields)
    data = prepare_data(recipe, Vocabulary.from_directory(Path(recipe.base)), say=said.append)
    data.close()
    return data


@pytest.mark.parametrize(("share", "wanted"), [(0.2, 6), (0.5, 24), (0.9, 216)])
def test_the_share_of_replay_is_that_of_all_rows(tmp_path: Path, share: float, wanted: int) -> None:
    general = chat_rows(tmp_path / "general.jsonl")
    said: list[str] = []
    data = _prepared(tmp_path, said, replay={"data": str(general), "share": share})
    assert data.schedule.units == len(data.units) == 24 + wanted
    assert any(f"replay: {wanted} rows beside 24, drawn from 24; learnt is its own distribution" in s for s in said)
    origins = [data.origin(i) for i in range(24, 24 + wanted)]
    assert {o.file for o in origins if o} == {str(general)}
    lines = [o.line for o in origins if o]
    assert max(lines.count(line) for line in set(lines)) == -(-wanted // 24), "evenly"


@pytest.mark.parametrize(
    ("fields", "distilled"),
    [
        ({}, {1.0}),
        ({"replay": {"distil": 0.5}}, {0.5}),
        ({"replay": {"distil": 0}}, {None}),
        ({"method": "full"}, {None}),
    ],
)
def test_replay_is_distilled_where_a_base_is_kept(tmp_path: Path, fields: dict, distilled: set) -> None:
    general = chat_rows(tmp_path / "general.jsonl")
    settings = {"data": str(general), **fields.pop("replay", {})}
    recipe = tiny_recipe(tmp_path, replay=settings, **fields)
    data = prepare_data(recipe, Vocabulary.from_directory(Path(recipe.base)), say=lambda line: None)
    try:
        kinds = [{e.distil: float(e.weight.max()) for e in data.units.get(i)} for i in range(30)]  # type: ignore[union-attr]
    finally:
        data.close()
    assert all(kind == {False: 1.0} for kind in kinds[:24])
    wanted = distilled.pop()
    assert all(kind == ({False: 1.0} if wanted is None else {True: wanted}) for kind in kinds[24:])


def test_the_base_writes_rows_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers where it has a chat template, else text; the same with the same seed; no row that is no use."""
    monkeypatch.setattr(rehearsal, "LONGEST", 12)
    monkeypatch.setattr(rehearsal, "whole_sentences", lambda text, *, ended: text.strip() or None)
    prompts = {text for _, text in general_prompts()}
    for name, template in (("chat", "auto"), ("again", "auto")):
        recipe = tiny_recipe(tmp_path, template=template)
        write_own_rows(recipe, 9, tmp_path / f"{name}.jsonl", lambda line: None)
    rows = [json.loads(line) for line in (tmp_path / "chat.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 9
    for row in rows:
        question, answer = row["messages"]
        assert question["content"] in prompts
        assert answer["content"].strip()
    assert (tmp_path / "chat.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    monkeypatch.setattr(rehearsal, "LONGEST", 1)
    monkeypatch.setattr(rehearsal, "whole_sentences", lambda text, *, ended: None)
    with pytest.raises(UserError, match="nothing that could be rehearsed"):
        write_own_rows(tiny_recipe(tmp_path), 2, tmp_path / "none.jsonl", lambda line: None)


def test_a_base_that_only_continues_text_writes_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "LONGEST", 12)
    monkeypatch.setattr(rehearsal, "whole_sentences", lambda text, *, ended: text.strip() or None)
    base = tmp_path / "base"
    shutil.copytree(tiny_base(), base)
    (base / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((base / "tokenizer_config.json").read_text("utf-8"))
    settings.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    write_own_rows(tiny_recipe(tmp_path, base=str(base)), 40, tmp_path / "rows.jsonl", lambda line: None)
    prompts = {asked(text, language) for language, text in general_prompts()}
    texts = [json.loads(line)["text"] for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert len(texts) == 40
    assert all(any(text.startswith(prompt) and text != prompt for prompt in prompts) for text in texts)
    assert 5 <= sum(text.startswith("问题") for text in texts) <= 25, "a third is Chinese"


def test_a_run_rehearses_what_its_base_wrote_and_resumes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "LONGEST", 12)
    monkeypatch.setattr(rehearsal, "whole_sentences", lambda text, *, ended: text.strip() or None)
    path = recipe_file(tmp_path, replay={"data": "own"})
    code, out, err = camelid("train", path, "--json")
    assert code == 0, err
    assert json.loads(out)["rows"]["kept"] == 30
    written = (tmp_path / "run" / "replay.jsonl").read_bytes()
    assert written.count(b"\n") == 6
    code, out, err = camelid("train", path)
    assert code == 0, err
    assert "the base writes" not in err
    assert (tmp_path / "run" / "replay.jsonl").read_bytes() == written


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"replay": {"share": 0.3}}, "need replay.data"),
        ({"replay": {"data": "own", "share": 1}}, "replay.share"),
        ({"replay": {"data": "own"}, "from_scratch": True, "method": "full"}, "nothing to rehearse"),
        ({"replay": {"data": "own", "distil": 1}, "method": "full"}, "distil needs an adapter"),
        ({"replay": {"data": "own"}, "task": "classify"}, "replay is for task chat"),
        ({"replay": {"date": "own"}}, "did you mean 'data'"),
    ],
)
def test_what_cannot_be_rehearsed_is_refused(tmp_path: Path, fields: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        tiny_recipe(tmp_path, **fields)
    assert message in str(caught.value)
