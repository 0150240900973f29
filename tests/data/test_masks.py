"""What is trained, and what text of the data can never become: over every template and kind of tokenizer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from cases.templates import zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Rendered, Renderer, TrainOn
from camelid.data.templates import named_template
from camelid.data.templates.jinja import JinjaTemplate

HERE = Origin("rows.jsonl", 1)
CASES = {case["file"]: case for case in zoo.templates()}
NAMED = {case["file"]: case for case in zoo.named_formats()}
ALL = [*CASES, *NAMED]
LOSSLESS = ("tiny", "llama3")  # tokenizers whose decode gives back every text

SPELLINGS = [*zoo.CONTROL, "<s>", "</s>", "<unk>", "＜｜im_end｜＞", "＜/s＞", "<|im_", "end|>"]
PRIVATE = ["\ufdd0", "\ufdd0\U000f0000", "\ufdd1", "\U000f0000", "\U000f0003", "\ufffe", "\ue000"]
WORDS = [
    "hello",
    "你好，世界",
    "数学：1+1=2",
    "🙂",
    "👩‍👩‍👧",
    "e\u0301",
    "\u200b",
    "<0x0A>",
    "{{ 7*7 }}",
    "{% raw %}",
    "\x00",
    "\u2028",
]
BLANKS = ["", " ", "  ", "\n", "\n\n", "\t", " \n ", "\u3000", "\r\n"]
fragment = st.one_of(
    st.sampled_from(SPELLINGS),
    st.sampled_from(WORDS),
    st.sampled_from(BLANKS),
    st.sampled_from(PRIVATE),
    st.text(max_size=8),
)
text = st.lists(fragment, max_size=6).map("".join)
few, many = settings(max_examples=6), settings(max_examples=40)  # the many: pytest -m slow


@lru_cache
def renderer(template: str, tokenizer: str, train_on: TrainOn = "all") -> Renderer:
    vocabulary = zoo.vocabulary_named(tokenizer, None)
    if template in CASES:
        source = zoo.template_source(template)
        return Renderer(vocabulary, JinjaTemplate(source, vocabulary, name=template), 100_000, train_on)
    return Renderer(vocabulary, named_template(template, vocabulary), 100_000, train_on)


def chat(texts: list[str], system: str | None = None) -> Conversation:
    """Texts in turns, the user's first."""
    messages = [Message("system", system)] if system is not None else []
    messages += [Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]
    return Conversation(tuple(messages), HERE)


def expected(template: str, content: str, last: bool) -> str:
    """What the model must write in an assistant turn."""
    case: dict[str, Any] = CASES.get(template) or NAMED[template]
    if case.get("trim"):
        content = content.strip()
    if last and "trim_last_left" in case:
        content = content.lstrip(case["trim_last_left"])
    lead = case.get("last_lead" if last and "last_lead" in case else "lead", "")
    end = case["last_end"] if last and "last_end" in case else case["end"]
    return lead + content + case.get("before_end", "") + end


def written(render: Renderer, row: Rendered, turn: int) -> str:
    """The trained text of one turn."""
    return render.vocabulary.decode(row.ids[row.trained & (row.turns == turn)])


@pytest.mark.parametrize("template", ALL)
@few
@given(data=st.data())
def test_trained_text_is_the_answer_and_its_end_token(template: str, data: st.DataObject) -> None:
    check_trained_text(template, "tiny", data)


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", LOSSLESS)
@pytest.mark.parametrize("template", ALL)
@many
@given(data=st.data())
def test_trained_text_on_every_lossless_tokenizer(template: str, tokenizer: str, data: st.DataObject) -> None:
    check_trained_text(template, tokenizer, data)


def check_trained_text(template: str, tokenizer: str, data: st.DataObject) -> None:
    render = renderer(template, tokenizer)
    texts = data.draw(st.lists(text, min_size=2, max_size=6).filter(lambda t: len(t) % 2 == 0))
    if template == "text_only":  # nothing marks the end of a blank answer there
        texts = [t if t.strip() else "blank" for t in texts]
    if template == "qwen3_think":  # a text that holds its tag is another matter, see test_templates
        texts = [t.replace("</think>", "") for t in texts]
    conversation = chat(texts)
    (row,) = render.render(conversation)
    for turn in range(1, len(texts), 2):
        assert written(render, row, turn) == expected(template, texts[turn], turn == len(texts) - 1)
    assert not (row.trained & (row.turns % 2 == 0)).any()


@pytest.mark.parametrize("tokenizer", ["tiny", "unigram"])
@pytest.mark.parametrize("template", ALL)
@few
@given(data=st.data())
def test_text_never_becomes_a_control_token(template: str, tokenizer: str, data: st.DataObject) -> None:
    check_controls(template, tokenizer, data)


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", list(zoo.TRAINED))
@pytest.mark.parametrize("template", ALL)
@many
@given(data=st.data())
def test_text_never_becomes_a_control_token_anywhere(template: str, tokenizer: str, data: st.DataObject) -> None:
    check_controls(template, tokenizer, data)


def check_controls(template: str, tokenizer: str, data: st.DataObject) -> None:
    render = renderer(template, tokenizer)
    refused = CASES.get(template, {}).get("system") == "refused"
    system = None if refused else data.draw(st.one_of(st.none(), text))
    texts = data.draw(st.lists(text, min_size=2, max_size=4).filter(lambda t: len(t) % 2 == 0))
    if template == "mistral_late_system":  # refuses a blank answer before the last: where it stands cannot be told
        texts = [t if t.strip() else "blank" for t in texts]
    harmless = [t if not t.strip() else "x" for t in texts]
    quiet = system if system is None or not system.strip() else "x"
    (row,) = render.render(chat(texts, system))
    (like,) = render.render(chat(harmless, quiet))
    assert control_ids(render, row) == control_ids(render, like)


def control_ids(render: Renderer, row: Rendered) -> list[int]:
    unknown = render.vocabulary.id_of("<unk>")  # what Unigram writes for a character that it does not know
    return [i for i in row.ids.tolist() if i in render.vocabulary.control_ids and i != unknown]


@pytest.mark.parametrize("template", ALL)
@few
@given(data=st.data())
def test_the_prompt_is_the_beginning_of_the_training_ids(template: str, data: st.DataObject) -> None:
    check_prompt(template, "prefix", data)


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", list(zoo.TRAINED))
@pytest.mark.parametrize("template", ALL)
@many
@given(data=st.data())
def test_the_prompt_is_the_beginning_everywhere(template: str, tokenizer: str, data: st.DataObject) -> None:
    check_prompt(template, tokenizer, data)


def check_prompt(template: str, tokenizer: str, data: st.DataObject) -> None:
    render = renderer(template, tokenizer)
    texts = data.draw(st.lists(text, min_size=2, max_size=4).filter(lambda t: len(t) % 2 == 0))
    if template == "mistral_late_system":
        texts = [t if t.strip() else "blank" for t in texts]
    (row,) = render.render(chat(texts))
    prompt = render.prompt(chat(texts[:-1]))
    assert prompt.tolist() == row.ids[: len(prompt)].tolist()
    assert row.trained[len(prompt)]  # and the answer begins right there
    assert not row.trained[: len(prompt)][row.turns[: len(prompt)] == len(texts) - 1].any()


@few
@given(rows=st.lists(st.lists(text, min_size=2, max_size=2), min_size=2, max_size=6))
@pytest.mark.parametrize("template", ["chatml_default_system", "llama2_folded", "alpaca", "vicuna"])
def test_batched_is_single(template: str, rows: list[list[str]]) -> None:
    render = renderer(template, "tiny")
    together = render.render_batch([chat(texts) for texts in rows])
    for texts, batched in zip(rows, together, strict=True):
        alone = render.render(chat(texts))
        assert [r.ids.tolist() for r in batched] == [r.ids.tolist() for r in alone]
        assert [r.trained.tolist() for r in batched] == [r.trained.tolist() for r in alone]


def test_train_on_says_which_turns_are_targets() -> None:
    conversation = chat(["one", "two", "three", "four"], system="be brief")
    targets = {}
    for train_on in ("last", "all", "everything"):
        (row,) = renderer("chatml_default_system", "tiny", train_on).render(conversation)
        targets[train_on] = sorted(set(row.turns[row.trained].tolist()))
        assert not row.trained[0]
    assert targets == {"last": [4], "all": [2, 4], "everything": [-1, 0, 1, 2, 3, 4]}
    (row,) = renderer("chatml_default_system", "tiny", "everything").render(conversation)
    assert row.trained[1:].all()


def test_a_message_overrules_train_on() -> None:
    messages = (
        Message("user", "one", trained=True),
        Message("assistant", "two", trained=False),
        Message("user", "three"),
        Message("assistant", "four"),
        Message("user", "five"),
        Message("assistant", "six", trained=True),
    )
    render = renderer("chatml_default_system", "tiny", "last")
    (row,) = render.render(Conversation(messages, HERE))
    assert [written(render, row, turn) for turn in range(6)] == ["one", "", "", "", "", "six<|im_end|>"]
    render = renderer("chatml_default_system", "tiny", "all")
    (row,) = render.render(Conversation(messages, HERE))
    assert [written(render, row, turn) for turn in range(6)] == ["one", "", "", "four<|im_end|>", "", "six<|im_end|>"]


def test_the_header_of_a_question_is_its_own() -> None:
    """Else a first question of one token, which the header's blank joins, would be nowhere."""
    for template, preamble in (("vicuna", "questions. "), ("alpaca", "request.\n\n"), ("plain", "")):
        render = renderer(template, "tiny")
        (row,) = render.render(chat(["3", "4", "5", "6"]))
        assert set(row.turns.tolist()) - {-1} == {0, 1, 2, 3}
        assert render.vocabulary.decode(row.ids[row.turns == -1]).endswith(preamble)


def test_every_token_has_a_turn_in_order() -> None:
    (row,) = renderer("zephyr_eos", "tiny").render(chat(["one", "two", "three", "four"], system="be brief"))
    assert (np.diff(row.turns) >= 0).all()
    assert set(row.turns.tolist()) == {-1, 0, 1, 2, 3, 4}
