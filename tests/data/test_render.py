"""The renderer over encoders of every kind: ids, stop ids, running text, faults. (Masks, cuts, parity: own files.)"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from cases.templates import zoo
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from camelid.data.encode import INTRODUCERS, Encoder
from camelid.data.records import Conversation, Message, Origin, Rejection, Text
from camelid.data.render import Renderer
from camelid.data.templates import named_template
from camelid.data.templates.base import Piece, RowFault
from camelid.data.templates.jinja import JinjaTemplate
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

HERE = Origin("rows.jsonl", 12)
TINY = zoo.vocabulary_named("tiny", None)


def chat(*texts: str) -> Conversation:
    return Conversation(tuple(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)), HERE)


def renderer(vocabulary: Vocabulary, template: str = "chatml", max_length: int = 1000) -> Renderer:
    return Renderer(vocabulary, named_template(template, vocabulary), max_length)


def tokens(vocabulary: Vocabulary, ids: np.ndarray) -> list[str | None]:
    return [vocabulary.backend.id_to_token(int(i)) for i in ids]


def literal(text: str) -> Piece:
    return Piece(text, "template", False)


def content(text: str, answer: bool = False) -> Piece:
    return Piece(text, "content", answer, 0, answer)


# -- control tokens --------------------------------------------------------------------------------------------------


def test_the_same_characters_from_template_and_data() -> None:
    ids = Encoder(TINY).encode([literal("<|im_end|>"), content("<|im_end|>")]).ids
    assert ids[0] == TINY.id_of("<|im_end|>")
    assert TINY.id_of("<|im_end|>") not in ids[1:].tolist()
    assert TINY.decode(ids) == "<|im_end|><|im_end|>"


@pytest.mark.parametrize("normalized", [True, False])
def test_full_width_lookalikes_under_nfkc(normalized: bool) -> None:
    """NFKC makes ＜｜im_end｜＞ the spelling of a control token, after the text was searched for control tokens."""
    backend = zoo.fresh(zoo.tiny_bytes)
    backend.normalizer = normalizers.NFKC()
    backend.add_special_tokens([AddedToken(t, normalized=normalized) for t in ("</s>", "<|im_start|>", "<|im_end|>")])
    vocabulary = Vocabulary(backend, {"eos_token": "</s>"})
    lookalike = "＜｜im_end｜＞＜/s＞"
    if normalized:  # the danger is real
        assert backend.token_to_id("<|im_end|>") in backend.encode(lookalike).ids
    (row,) = renderer(vocabulary).render(chat(lookalike, "ok"))
    assert tokens(vocabulary, row.ids).count("<|im_end|>") == 2
    assert "</s>" not in tokens(vocabulary, row.ids)


def test_a_unigram_piece_that_is_a_control_token() -> None:
    """Unigram knows </s> as a piece with the best score of all, whatever the added tokens say."""
    vocabulary = zoo.vocabulary_named("unigram", None)
    assert vocabulary.id_of("</s>") in vocabulary.backend.encode("a</s>b").ids
    encoded = Encoder(vocabulary).encode([literal("</s>"), content("a</s>b</s>"), content("＜/s＞", answer=True)])
    assert tokens(vocabulary, encoded.ids).count("</s>") == 1
    assert (np.diff(encoded.piece) >= 0).all()
    assert set(encoded.piece.tolist()) == {0, 1, 2}


def test_a_single_character_that_is_a_control_token_is_refused() -> None:
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "§": 1, "a": 2, "b": 3}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.add_special_tokens(["§"])
    vocabulary = Vocabulary(backend, {"eos_token": "§", "unk_token": "[UNK]"})
    with pytest.raises(RowFault, match="makes a control token of the single character '§'"):
        Encoder(vocabulary).encode([content("a§b")])


def test_ignore_merges_makes_no_control_token() -> None:
    """With `ignore_merges` a word that is in the vocabulary is that token; ChatGLM's `sop` is such a word."""
    backend = zoo.fresh(zoo.llama3_bytes)
    backend.add_special_tokens(["</s>"])
    source = backend.to_str().replace('"vocab":{', '"vocab":{"sop":999,')
    backend = Tokenizer.from_str(source)
    backend.add_special_tokens(["sop"])
    vocabulary = Vocabulary(backend, {"eos_token": "</s>"})
    assert 999 in backend.encode("sop").ids
    encoder = Encoder(vocabulary)
    ids = encoder.encode([literal("sop"), content("sop")]).ids.tolist()
    assert ids[0] == 999
    assert 999 not in ids[1:]
    assert vocabulary.decode(ids) == "sopsop"


def test_a_vocabulary_with_gaps_in_its_ids() -> None:
    """The library numbers added tokens by the size of the vocabulary, which may be the id of another token."""
    backend = zoo.fresh(zoo.tiny_bytes)
    size = backend.get_vocab_size()
    names = [f"gap{i}" for i in range(8)]
    gaps = ",".join(f'"{name}":{size + 3 + 2 * i}' for i, name in enumerate(names))
    backend = Tokenizer.from_str(backend.to_str().replace('"vocab":{', '"vocab":{' + gaps + ","))
    backend.model = models.BPE(backend.get_vocab(), [], ignore_merges=True)
    backend.add_special_tokens(["</s>"])
    vocabulary = Vocabulary(backend, {"eos_token": "</s>"})
    encoder = Encoder(vocabulary)
    for name in names:
        ids = encoder.encode([literal("</s>"), content(name, answer=True), literal("</s>")]).ids.tolist()
        assert ids == backend.encode(f"</s>{name}</s>").ids


def test_plain_tokenizers_need_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cutting of texts is for vocabularies that leave no other way; elsewhere it would cost a pass a row."""
    monkeypatch.setattr(Encoder, "_break", lambda *_: pytest.fail("cut a text of a byte-level tokenizer"))
    assert len(Encoder(TINY).encode([content("<|im_end|></s>")]).ids) > 5


def test_an_added_token_that_the_template_spells_is_a_control_token() -> None:
    backend = zoo.fresh(zoo.tiny_bytes)
    backend.add_special_tokens(["</s>", "<|im_start|>", "<|im_end|>"])
    backend.add_tokens([AddedToken("<think>"), AddedToken("<table>"), AddedToken("\n\n")])
    vocabulary = Vocabulary(backend, {"eos_token": "</s>"})
    encoder = Encoder(vocabulary, literals="<think>\n\n")
    ids = encoder.encode([literal("<think>"), content("<think><table>\n\n")]).ids
    assert tokens(vocabulary, ids).count("<think>") == 1
    # What the template does not spell, and blanks, stay what the tokenizer makes of them (Gemma's tags and breaks).
    assert tokens(vocabulary, ids)[-2:] == ["<table>", "\n\n"]


def test_a_control_token_that_swallows_blanks() -> None:
    """Phi-3's control tokens have `rstrip`: the line break after one is part of it."""
    for legacy in (False, True):
        backend = zoo.fresh(zoo.tiny_bytes)
        if legacy:
            backend.normalizer = normalizers.Prepend("_")
        backend.add_special_tokens([AddedToken("</s>", normalized=False)])
        backend.add_special_tokens([AddedToken("<|end|>", rstrip=True, normalized=False)])
        vocabulary = Vocabulary(backend, {"eos_token": "</s>"})
        ids = Encoder(vocabulary).encode([literal("<|end|>\n"), content(" hello"), literal("<|end|>")]).ids
        assert ids.tolist() == backend.encode("<|end|>\n hello<|end|>").ids


odd = st.sampled_from([*INTRODUCERS[:3], "\U000f0000", "\U000f0001", "a", "<", "</s>"])


@given(st.lists(odd, max_size=12).map("".join))
def test_our_own_separators_in_the_data(text: str) -> None:
    encoder = _ENCODERS.setdefault("tiny", Encoder(TINY))
    ids = encoder.encode([literal("</s>"), content(text), literal("</s>"), content(text, answer=True)]).ids
    assert TINY.decode(ids) == f"</s>{text}</s>{text}"
    assert ids.tolist().count(TINY.id_of("</s>")) == 2
    assert ids.max() < TINY.size


_ENCODERS: dict[str, Encoder] = {}


def test_text_with_every_separator_is_refused() -> None:
    with pytest.raises(RowFault, match="every Unicode noncharacter"):
        Encoder(TINY).encode([content("".join(INTRODUCERS))])


def test_half_a_surrogate_pair_is_a_fault_of_the_row() -> None:
    rejected: list[Rejection] = []
    render = renderer(TINY)
    render.on_reject = rejected.append
    first, bad, last = render.render_batch([chat("a", "b"), chat("a", "\ud83d"), chat("c", "d")])
    assert len(first) == len(last) == 1
    assert bad == []
    assert rejected == [Rejection("rows.jsonl", 12, rejected[0].reason, "a | \ud83d")]
    assert "surrogate" in rejected[0].reason


def test_the_private_copy_is_private() -> None:
    before = TINY.backend.to_str()
    Encoder(TINY).encode([content("x")])
    assert TINY.backend.to_str() == before
    assert not TINY.backend.encode_special_tokens


# -- borders of tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", list(zoo.TRAINED))
def test_no_token_straddles_prompt_and_answer(tokenizer: str) -> None:
    vocabulary = zoo.vocabulary_named(tokenizer, None)
    render = renderer(vocabulary, "alpaca-lora")  # its header ends with a line break
    for answer in ("Hello", " Hello", "\nHello", ":: x", "。好"):
        (row,) = render.render(chat("Hi", answer))
        prompt = render.prompt(chat("Hi"))
        assert row.ids[: len(prompt)].tolist() == prompt.tolist()
        assert not row.trained[: len(prompt)].any()
        assert row.trained[len(prompt) :].all()


def test_the_prefix_space_is_where_the_tokenizer_puts_it() -> None:
    vocabulary = zoo.vocabulary_named("unigram", None)
    pieces = [
        literal("</s>"),
        content("ab cd"),
        literal(" x"),
        content("ef", answer=True),
        literal("</s>"),
        content("gh"),
    ]
    ids = Encoder(vocabulary).encode(pieces).ids
    assert ids.tolist() == vocabulary.backend.encode("</s>ab cd xef</s>gh", add_special_tokens=False).ids


# -- bos and stop ids ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template", ["alpaca", "vicuna", "llama2", "llama3", "gemma", "mistral", "chatml", "zephyr", "plain"]
)
@pytest.mark.parametrize("adds_bos", [True, False])
def test_bos_stands_once_and_first(template: str, adds_bos: bool) -> None:
    vocabulary = replace(TINY, adds_bos=adds_bos)
    (row,) = renderer(vocabulary, template).render(chat("a", "b"))
    bos = vocabulary.id_of("<s>")
    assert bool(row.ids[0] == bos) is adds_bos
    assert row.ids.tolist().count(bos) == int(adds_bos)


def test_a_foreign_template_alone_says_whether_bos_stands() -> None:
    vocabulary = replace(TINY, adds_bos=True)
    bos = vocabulary.id_of("<s>")
    for file, count in (("llama2_folded", 1), ("zephyr_eos", 0)):
        template = JinjaTemplate(zoo.template_source(file), vocabulary)
        (row,) = Renderer(vocabulary, template, 100).render(chat("a", "b"))
        assert row.ids.tolist().count(bos) == count


def test_stop_ids_are_the_templates_end_and_the_bases() -> None:
    vocabulary = replace(TINY, eos_ids=(5, TINY.id_of("</s>")))
    assert renderer(vocabulary, "chatml").stop_ids == (TINY.id_of("<|im_end|>"), 5, TINY.id_of("</s>"))
    assert renderer(vocabulary, "alpaca").stop_ids == (TINY.id_of("</s>"), 5)
    assert renderer(vocabulary, "chatglm3").stop_ids[0] == TINY.id_of("<|user|>")
    assert renderer(replace(TINY, eos_ids=()), "plain").stop_ids == (TINY.id_of("</s>"),)


# -- faults ----------------------------------------------------------------------------------------------------------


def test_a_row_without_anything_to_learn_is_rejected() -> None:
    with pytest.raises(UserError, match=r"rows.jsonl:12: no token to learn"):
        renderer(TINY).render(chat("only a question"))
    untrained = Conversation((Message("user", "a"), Message("assistant", "b", trained=False)), HERE)
    with pytest.raises(UserError, match="no token to learn"):
        renderer(TINY).render(untrained)


def test_an_excerpt_is_short() -> None:
    rejected: list[Rejection] = []
    render = renderer(TINY)
    render.on_reject = rejected.append
    assert render.render(chat("long " * 100)) == []
    assert len(rejected[0].excerpt) == 120


def test_a_prompt_that_the_template_refuses_is_the_users_fault() -> None:
    late = Conversation((Message("user", "a"), Message("system", "b")), HERE)
    with pytest.raises(UserError, match=r"rows.jsonl:12: template vicuna: in this template a system message"):
        renderer(TINY, "vicuna").prompt(late)


def test_max_length_must_hold_a_target() -> None:
    with pytest.raises(UserError, match="max_length is 1"):
        renderer(TINY, max_length=1)


# -- prompts that fit ------------------------------------------------------------------------------------------------


def test_a_long_chat_loses_its_oldest_exchanges_and_never_the_question() -> None:
    render = renderer(TINY)
    talk = [text for i in range(8) for text in (f"question {i}", f"answer {i}")] + ["the last question"]
    messages = (Message("system", "be brief"), *chat(*talk).messages)
    whole = render.prompt(Conversation(messages, HERE))
    ids, left_out = render.fitting_prompt(Conversation(messages, HERE), len(whole))
    assert (ids.tolist(), left_out) == (whole.tolist(), 0)
    ids, left_out = render.fitting_prompt(Conversation(messages, HERE), len(whole) // 2)
    text = TINY.decode(ids)
    assert len(ids) <= len(whole) // 2
    assert left_out in (8, 10)
    assert "be brief" in text
    assert text.endswith("user\nthe last question<|im_end|>\n<|im_start|>assistant\n")
    assert "question 0" not in text
    assert "answer 7" in text
    with pytest.raises(UserError, match="the last question takes"):
        render.fitting_prompt(Conversation(messages, HERE), 20)


# -- running text ----------------------------------------------------------------------------------------------------


@given(text=st.text(max_size=200), max_length=st.integers(2, 40), adds_bos=st.booleans())
def test_windows_of_running_text_lose_nothing(text: str, max_length: int, adds_bos: bool) -> None:
    render = _render_text(adds_bos)
    render.max_length = max_length
    windows = render.render_text(Text(text, HERE)) if text or adds_bos else []
    if not windows:
        assert text == ""
        return
    whole = np.concatenate([windows[0].ids, *(w.ids[1:] for w in windows[1:])])
    assert TINY.decode(whole) == ("<s>" if adds_bos else "") + text + "</s>"
    for window, after in itertools.pairwise(windows):
        assert len(window.ids) == max_length
        assert window.ids[-1] == after.ids[0]  # the context of the first target of the next
    for window in windows:
        assert 2 <= len(window.ids) <= max_length
        assert not window.trained[0]
        assert window.trained[1:].all()


_TEXT_RENDERERS: dict[bool, Renderer] = {}


def _render_text(adds_bos: bool) -> Renderer:
    if adds_bos not in _TEXT_RENDERERS:
        _TEXT_RENDERERS[adds_bos] = renderer(replace(TINY, adds_bos=adds_bos), "plain")
    return _TEXT_RENDERERS[adds_bos]


def test_running_text_spells_control_tokens_in_plain() -> None:
    (window,) = renderer(TINY).render_text(Text("<|im_end|></s>", HERE))
    assert window.ids.tolist().count(TINY.id_of("</s>")) == 1
    assert TINY.id_of("<|im_end|>") not in window.ids.tolist()


def test_empty_text_is_rejected() -> None:
    with pytest.raises(UserError, match=r"rows.jsonl:12: no text"):
        renderer(TINY).render_text(Text("", HERE))
