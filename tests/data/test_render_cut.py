"""Conversations longer than max_length: every turn is in exactly one part or counted, and nothing teaches falsely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases.templates import zoo
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from camelid.data.cut import Cut, Rendered
from camelid.data.records import Conversation, Message, Origin, Rejection
from camelid.data.render import Renderer, TrainOn
from camelid.data.templates import named_template
from camelid.data.templates.jinja import JinjaTemplate

HERE = Origin("rows.jsonl", 5)
TINY = zoo.vocabulary_named("tiny", None)
TEMPLATES = {
    name: named_template(name, TINY) if name == "alpaca" else JinjaTemplate(zoo.template_source(name), TINY, name=name)
    for name in ("chatml_default_system", "llama2_folded", "qwen3_think", "chatglm3_no_end", "alpaca")
}
RENDERERS: dict[tuple[str, TrainOn, Cut], Renderer] = {}


def renderer(template: str, max_length: int, train_on: TrainOn, cut: Cut) -> Renderer:
    key = (template, train_on, cut)
    if key not in RENDERERS:
        RENDERERS[key] = Renderer(TINY, TEMPLATES[template], max_length, train_on, cut)
    RENDERERS[key].max_length = max_length
    RENDERERS[key].on_reject = None
    return RENDERERS[key]


def parts_of(render: Renderer, conversation: Conversation) -> tuple[list[Rendered], list[Rejection]]:
    rejected: list[Rejection] = []
    render.on_reject = rejected.append
    return render.render(conversation), rejected


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Exchanges whose every message names itself: the number of a message stands in its text."""
    messages = [Message("system", "m0. be brief")] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 6))):
        question = f"m{len(messages)}. " + "q " * draw(st.integers(0, 25))
        messages.append(Message("user", question.strip()))
        answer = f"m{len(messages)}. " + "a " * draw(st.integers(0, 25))
        messages.append(Message("assistant", answer.strip()))
    return Conversation(tuple(messages), HERE)


cases = {
    "template": st.sampled_from(sorted(TEMPLATES)),
    "conversation": conversations(),
    "max_length": st.integers(20, 160),
    "train_on": st.sampled_from(["last", "all", "everything"]),
}


@settings(max_examples=150)
@given(cut=st.sampled_from(["split", "left"]), **cases)
def test_nothing_is_lost_without_being_counted(
    template: str, conversation: Conversation, max_length: int, train_on: TrainOn, cut: Cut
) -> None:
    whole, _ = parts_of(renderer(template, 10_000, train_on, cut), conversation)
    parts, rejected = parts_of(renderer(template, max_length, train_on, cut), conversation)
    assert bool(parts) is not bool(rejected)
    assume(parts)
    (uncut,) = whole
    system = int(conversation.messages[0].role == "system")
    seen: list[int] = []
    for part in parts:
        assert len(part.ids) == len(part.trained) == len(part.turns) <= max_length
        assert part.trained.any()
        assert not part.trained[0]
        kept = sorted({turn for turn in part.turns.tolist() if turn >= system})
        assert kept == list(range(kept[0], kept[-1] + 1))  # neighbours in the conversation
        assert conversation.messages[kept[0]].role == "user"
        if system:
            assert "m0. be brief" in TINY.decode(part.ids)
        seen += kept
        for turn in kept[:-1]:  # only the tail of a part can be cut
            assert conversation.messages[turn].content in TINY.decode(part.ids[part.turns == turn])
        check_tail(part, conversation, kept[-1], template)
    dropped = [turn for part in parts for turn in part.dropped]
    assert sorted(seen + dropped) == list(range(system, len(conversation.messages)))  # each turn once
    if template == "chatml_default_system":
        check_tokens(parts, uncut, system)


def check_tokens(parts: list[Rendered], uncut: Rendered, system: int) -> None:
    """Every token of the whole is in a part or counted. (Head and preamble come again in every part.)"""
    body = int((uncut.turns >= system).sum())
    held = sum(int((part.turns >= system).sum()) for part in parts)
    lost = sum(part.cut for part in parts)
    breaks = len(parts)  # the line break after an end token, which a full part goes without
    assert 0 <= body - held - lost <= breaks


def check_tail(part: Rendered, conversation: Conversation, last: int, template: str) -> None:
    """The last turn of a part is whole, or its end token is not there to teach a false stop."""
    text = TINY.decode(part.ids[part.turns == last])
    ends = {"chatml_default_system": "<|im_end|>", "qwen3_think": "<|im_end|>"}
    if part.cut and conversation.messages[last].content not in text:
        assert ends.get(template, "</s>") not in text
    else:
        assert conversation.messages[last].content.split(" ")[0] in text


@given(**cases)
def test_drop_keeps_whole_rows_only(
    template: str, conversation: Conversation, max_length: int, train_on: TrainOn
) -> None:
    whole, _ = parts_of(renderer(template, 10_000, train_on, "drop"), conversation)
    parts, rejected = parts_of(renderer(template, max_length, train_on, "drop"), conversation)
    for part in parts:
        assert part.cut == 0
        assert part.trained.sum() == whole[0].trained.sum()
        assert np.array_equal(part.ids, whole[0].ids[: len(part.ids)])
    if rejected:
        assert "more than max_length" in rejected[0].reason


@given(**cases)
def test_left_keeps_the_last_question(
    template: str, conversation: Conversation, max_length: int, train_on: TrainOn
) -> None:
    parts, rejected = parts_of(renderer(template, max_length, train_on, "left"), conversation)
    if rejected:
        assert "no room for one in max_length" in rejected[0].reason
        return
    (part,) = parts
    question = len(conversation.messages) - 2
    assert conversation.messages[question].content in TINY.decode(part.ids[part.turns == question])


@pytest.mark.parametrize("cut", ["split", "left"])
def test_what_fits_is_not_touched(cut: Cut) -> None:
    talk = Conversation((Message("user", "a"), Message("assistant", "b")), HERE)
    (whole,) = renderer("chatml_default_system", 1000, "all", cut).render(talk)
    (same,) = renderer("chatml_default_system", len(whole.ids), "all", cut).render(talk)
    assert same.ids.tolist() == whole.ids.tolist()
    (without_break,) = renderer("chatml_default_system", len(whole.ids) - 1, "all", cut).render(talk)
    assert without_break.ids.tolist() == whole.ids[:-1].tolist()  # only the line break after the end token
    assert without_break.cut == 0
    assert TINY.decode(without_break.ids[without_break.trained]) == "b<|im_end|>"


def test_an_answer_that_is_too_long_loses_its_tail_and_its_end() -> None:
    talk = Conversation((Message("user", "hi"), Message("assistant", "word " * 200)), HERE)
    (whole,) = renderer("chatml_default_system", 10_000, "all", "split").render(talk)
    (part,) = renderer("chatml_default_system", 100, "all", "split").render(talk)
    assert len(part.ids) == 100
    assert part.cut == len(whole.ids) - 100
    assert TINY.id_of("<|im_end|>") not in part.ids[part.trained].tolist()
    assert part.ids.tolist() == whole.ids[:100].tolist()


def test_a_question_that_is_too_long_is_left_out_and_counted() -> None:
    messages = [Message("system", "s")]
    for i, length in enumerate((1, 300, 1, 300)):
        messages += [Message("user", f"q{i} " + "x " * length), Message("assistant", f"a{i}")]
    talk = Conversation(tuple(messages), HERE)
    parts, rejected = parts_of(renderer("chatml_default_system", 60, "all", "split"), talk)
    assert not rejected
    assert [part.dropped for part in parts] == [(), (3, 4, 7, 8)]
    assert parts[1].cut > 1200
    parts, rejected = parts_of(renderer("chatml_default_system", 60, "all", "left"), talk)
    assert not parts
    assert "stand before the first answer" in rejected[0].reason


def test_a_question_without_answer_at_the_end_is_counted() -> None:
    talk = Conversation((Message("user", "a"), Message("assistant", "b"), Message("user", "c " * 50)), HERE)
    (part,) = renderer("chatml_default_system", 60, "all", "split").render(talk)
    assert part.dropped == (2,)
    assert part.cut > 100
    assert TINY.decode(part.ids).endswith("b<|im_end|>\n")


def test_split_under_train_on_last_is_left() -> None:
    messages = tuple(Message("assistant" if i % 2 else "user", f"m{i} " + "x " * 20) for i in range(8))
    talk = Conversation(messages, HERE)
    (split,) = renderer("chatml_default_system", 120, "last", "split").render(talk)
    (left,) = renderer("chatml_default_system", 120, "last", "left").render(talk)
    assert split.ids.tolist() == left.ids.tolist()
    assert split.dropped == left.dropped != ()
    assert set(split.turns[split.trained].tolist()) == {7}


def test_a_part_with_nothing_to_learn_is_counted() -> None:
    messages = [Message("assistant" if i % 2 else "user", f"m{i} " + "x " * 20) for i in range(6)]
    messages[3] = replace(messages[3], trained=False)
    parts = renderer("chatml_default_system", 130, "all", "split").render(Conversation(tuple(messages), HERE))
    assert [sorted(set(p.turns[p.trained].tolist())) for p in parts] == [[1], [5]]
    assert parts[1].dropped == (2, 3)


def test_tools_stay_with_every_part() -> None:
    template = JinjaTemplate(zoo.template_source("qwen2_tools"), TINY)
    messages: list[Message] = []
    for i in range(4):
        call = {"name": "look", "arguments": {"n": i}}
        messages += [Message("user", f"q{i}"), Message("assistant", "", (call,)), Message("tool", f"r{i}")]
        messages.append(Message("assistant", f"a{i}"))
    talk = Conversation(tuple(messages), HERE, ({"name": "look"},))
    parts = Renderer(TINY, template, 330).render(talk)
    assert len(parts) > 1
    assert all("<tools>" in TINY.decode(part.ids) for part in parts)
    assert sorted(t for part in parts for t in set(part.turns[part.trained].tolist())) == [1, 3, 5, 7, 9, 11, 13, 15]


def test_a_chat_that_the_assistant_opens() -> None:
    messages = [Message("assistant", "welcome " * 5)]
    messages += [Message("user" if i % 2 else "assistant", f"m{i} " + "x " * 20) for i in range(1, 7)]
    parts = renderer("chatml_default_system", 200, "all", "split").render(Conversation(tuple(messages), HERE))
    assert len(parts) > 1
    assert [turn for part in parts for turn in sorted(set(part.turns.tolist()) - {-1})] == list(range(7))
