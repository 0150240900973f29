"""The byte-level BPE that we train: lossless, deterministic, control tokens apart from text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from camelid.data.bpe import CONTROL_TOKENS, END_OF_TEXT, TURN_END, TURN_START, save_tokenizer, train_bpe
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

TEXTS = [
    "The quick brown fox jumps over the lazy dog. The dog isn't amused, and the fox doesn't care.\n",
    "骆驼是一种哺乳动物，骆驼生活在沙漠里。骆驼的背上有驼峰，驼峰里储存着脂肪。\n",
    "In 1990 there were 1234 camels; 在1990年有1234只骆驼。\n\n  def camel(x):\n      return x + 1\n",
] * 3
SIZE = 400


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(TEXTS, vocabulary_size=SIZE)


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


@given(text=st.text())
def test_every_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    if any(control in text for control in CONTROL_TOKENS):
        return
    assert tokenizer.decode(encode(tokenizer, text), skip_special_tokens=False) == text


def test_vocabulary_is_exact_and_control_tokens_come_first(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == SIZE
    assert [tokenizer.token_to_id(token) for token in CONTROL_TOKENS] == [0, 1, 2]
    assert tokenizer.encode("camel").ids[0] == 0, "a text begins with <|endoftext|> where special tokens are asked for"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("camel骆驼camel", ["camel", "骆驼", "camel"]),
        ("a 骆驼", ["a", " ", "骆驼"]),
        ("1234", ["1", "2", "3", "4"]),
        ("in 1990", ["in", " 1", "9", "9", "0"]),
        ("isn't don’t", ["isn", "'t", " don", "’t"]),
        ("(camel) [camel", ["(", "camel", ")", " [", "camel"]),
        ("沙漠。\n骆驼", ["沙漠", "。\n", "骆驼"]),
        ("a\n\n  b", ["a", "\n\n", " ", " b"]),
        ("naïve café", ["naïve", " café"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("ラクダ верблюд", ["ラクダ", " верблюд"]),
    ],
)
def test_merges_do_not_cross_pieces(tokenizer: Tokenizer, text: str, pieces: list[str]) -> None:
    assert tokenizer.pre_tokenizer is not None
    cut = [text[start:end] for _, (start, end) in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    assert cut == pieces


def test_same_texts_same_tokenizer(tokenizer: Tokenizer) -> None:
    assert train_bpe(iter(TEXTS), vocabulary_size=SIZE).to_str() == tokenizer.to_str()


@pytest.mark.parametrize(("texts", "size", "message"), [(TEXTS, 258, "at least 259"), (["ab"], 300, "more text")])
def test_impossible_sizes_are_the_users_fault(texts: list[str], size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train_bpe(texts, vocabulary_size=size)


def test_directory_is_read_by_our_vocabulary(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path / "base", chat_template="{{ messages }}", max_length=512)
    vocabulary = Vocabulary.from_directory(tmp_path / "base")
    assert vocabulary.size == SIZE
    assert (vocabulary.bos, vocabulary.eos, vocabulary.pad) == (END_OF_TEXT,) * 3
    assert vocabulary.adds_bos
    assert vocabulary.control == {END_OF_TEXT: 0, TURN_START: 1, TURN_END: 2}
    assert vocabulary.chat_template == "{{ messages }}"
    assert json.loads((tmp_path / "base" / "tokenizer_config.json").read_text())["model_max_length"] == 512
