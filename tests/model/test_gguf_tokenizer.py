"""Tokenizers from GGUF metadata, against independent tokenizers of the same vocabulary.

Byte-level BPE: a plain implementation below, with the patterns as llama.cpp spells them. SentencePiece: the
sentencepiece library itself, on models that it trains here and on Llama 2's.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
import sentencepiece
from gguf_writing import bpe_metadata, minimal_gguf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from camelid.errors import UserError
from camelid.model.gguf import GGUFFile
from camelid.model.gguf_pretokenizers import PRE_TOKENIZERS
from camelid.model.gguf_tokenizer import TokenizerFiles, merges_from_scores, read_tokenizer
from camelid.model.presets import PRESETS, _installed

CASES = json.loads((Path(__file__).parent.parent / "cases" / "gguf" / "smollm2_tokens.json").read_text("utf-8"))

# What people write, and what tears tokenizers: digits of all kinds, runs of spaces, joined emoji, control spellings.
SNIPPETS = [
    "Hello", " world", "你好", "，世界", "123", " 4567", "½", "１２", "don't", " WE'LL", "naïve", "\n", "\n\n",
    "\r\n", "\t",
    "  ", "   ", " ", "!", "...", "👩‍👩‍👧", "🎉", "é", "<|im_end|>", "<|im_start|>", "</s>", "<start_of_turn>",
    "def f(x):",
    "x²", "٣٤", "\u3000", "▁",
]  # fmt: skip
texts = st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=4), max_size=12).map("".join)


def files_for(folder: Path, metadata: dict[str, Any]) -> TokenizerFiles:
    with GGUFFile(minimal_gguf(folder / "t.gguf", metadata)) as file:
        return read_tokenizer(file)


def tokenizer_for(folder: Path, metadata: dict[str, Any]) -> Tokenizer:
    return Tokenizer.from_str(files_for(folder, metadata).dumps())


def plain_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a text in which nothing is a control token."""
    tokenizer.encode_special_tokens = True
    return tokenizer.encode(text, add_special_tokens=False).ids


# -- byte-level BPE -------------------------------------------------------------------------------------------------

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_ANY_CASE = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_CPP = {
    "gpt-2": [_GPT2],
    "smollm": [r"\p{N}", _GPT2],
    "qwen2": [_ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST],
    "llama-bpe": [_ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST],
    "glm4": [_ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
}


def byte_spelling() -> dict[int, str]:
    """GPT-2's letters for bytes: printable Latin-1 stands for itself, the rest for 256 + its rank."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + rank) for rank, byte in enumerate(others)}


def reference_bpe(metadata: dict[str, Any], patterns: list[str], *, whole: bool) -> Callable[[str], list[int]]:
    """Byte-level BPE as its paper has it: of all neighbouring pairs merge the one of lowest rank, leftmost first."""
    ids = {text: index for index, text in enumerate(metadata["tokenizer.ggml.tokens"])}
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(metadata["tokenizer.ggml.merges"])}
    spelling = byte_spelling()

    def cut(pieces: list[str], pattern: str) -> list[str]:
        out = []
        for piece in pieces:
            at = 0
            for match in regex.finditer(pattern, piece):
                out += [piece[at : match.start()], match.group()]
                at = match.end()
            out.append(piece[at:])
        return [piece for piece in out if piece]

    def encode(text: str) -> list[int]:
        pieces = [text]
        for pattern in patterns:
            pieces = cut(pieces, pattern)
        out = []
        for piece in pieces:
            parts = [spelling[byte] for byte in piece.encode("utf-8")]
            if whole and "".join(parts) in ids:
                out.append(ids["".join(parts)])
                continue
            while True:
                pairs = [(ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(parts))]
                rank, at = min(pairs, default=(len(ranks), 0))
                if rank == len(ranks):
                    break
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            out += [ids[part] for part in parts]
        return out

    return encode


@pytest.mark.parametrize("pre", LLAMA_CPP)
def test_bytes_are_cut_and_merged_as_llama_cpp_does(pre: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    metadata = bpe_metadata(pre)
    ours = tokenizer_for(tmp_path_factory.mktemp("bpe"), metadata)
    theirs = reference_bpe(metadata, LLAMA_CPP[pre], whole=pre == "llama-bpe")

    @settings(max_examples=60)
    @given(text=texts)
    @example(text="price: 123 and ½, 2024年12月31日")
    @example(text="  a\n\n  b   \n")
    def check(text: str) -> None:
        assert plain_ids(ours, text) == theirs(text)
        assert ours.decode(plain_ids(ours, text), skip_special_tokens=False) == text
        assert not set(plain_ids(ours, text)) & {0, 1, 2}

    check()


def test_digits_stand_alone_for_smollm_and_in_threes_for_llama(tmp_path: Path) -> None:
    """The pattern is what decides, not the vocabulary: with "12" and "123" in it, SmolLM2's cut still parts them."""
    metadata = bpe_metadata("smollm")
    metadata["tokenizer.ggml.tokens"] += ["12", "123"]
    metadata["tokenizer.ggml.token_type"] += [1, 1]
    metadata["tokenizer.ggml.merges"] += ["1 2", "12 3"]
    assert [len(plain_ids(tokenizer_for(tmp_path, metadata), text)) for text in ("123", " 123")] == [3, 4]
    metadata["tokenizer.ggml.pre"] = "llama-bpe"
    assert [len(plain_ids(tokenizer_for(tmp_path, metadata), text)) for text in ("123", " 123")] == [1, 2]


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_every_known_cut_loses_nothing(pre: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_for(tmp_path, bpe_metadata(pre))
    text = "".join(SNIPPETS) * 2
    assert tokenizer.decode(plain_ids(tokenizer, text), skip_special_tokens=False) == text


def test_smollm2_gives_the_ids_of_the_original_tokenizer() -> None:
    """The cases are published ids of the official SmolLM2 tokenizer.

    transformers 5.23 reads `pre = smollm` as plain GPT-2, without the cut at digits. On ASCII digits that shows
    nowhere (the vocabulary has no token of two digits, none of a space and a digit), but " ½" becomes "ĠÂ" + "½" there
    and "Ġ" + "Â½" in the original and in llama.cpp, which we follow.
    """
    try:
        path = _installed(PRESETS["smollm2"], *PRESETS["smollm2"].files[0])
    except UserError as error:
        pytest.skip(str(error))
    with GGUFFile(path) as file:
        files = read_tokenizer(file)
    tokenizer = Tokenizer.from_str(files.dumps())
    for text, ids in CASES:
        assert tokenizer.encode(text).ids == ids, text
    assert tokenizer.encode(" ½").tokens == ["Ġ", "Â½"]
    assert tokenizer.encode("<|im_start|>user\n你好🎉<|im_end|>").ids[0] == 1
    assert (files.config["eos_token"], files.generation["eos_token_id"]) == ("<|im_end|>", [2, 0])
    assert files.chat_template is not None
    assert "im_start" in files.chat_template


@pytest.mark.slow  # transformers needs several seconds to read the file
def test_smollm2_equals_transformers_where_no_number_occurs(shared_data: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    path = _installed(PRESETS["smollm2"], *PRESETS["smollm2"].files[0])
    with GGUFFile(path) as file:
        ours = Tokenizer.from_str(read_tokenizer(file).dumps())
    theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for name in ("wiki_en.jsonl", "wiki_zh.jsonl"):
        for line in (shared_data / "pretrain" / name).read_text(encoding="utf-8").splitlines()[:300]:
            text = regex.sub(r"\p{N}", "", json.loads(line)["text"])[:2000]
            assert ours.encode(text).ids == theirs.encode(text)


def test_control_tokens_at_the_end_stay_out_of_the_model(tmp_path: Path) -> None:
    """Llama 3 takes a piece whole if it is a token; one that spells a control token must not be found."""
    metadata = bpe_metadata("llama-bpe")
    count = len(metadata["tokenizer.ggml.tokens"])
    metadata["tokenizer.ggml.tokens"] += ["stop", "[PAD1]", "[PAD2]"]
    metadata["tokenizer.ggml.token_type"] += [3, 5, 5]
    files = files_for(tmp_path, metadata)
    tokenizer = Tokenizer.from_str(files.dumps())
    assert len(files.tokenizer["model"]["vocab"]) == count
    assert tokenizer.token_to_id("stop") == count
    assert tokenizer.get_vocab_size() == count + 1  # padding is no token
    assert tokenizer.encode("stop", add_special_tokens=False).ids == [count]
    assert count not in plain_ids(tokenizer, "stop")


def test_padding_between_keeps_every_id(tmp_path: Path) -> None:
    metadata = bpe_metadata("gpt-2")
    count = len(metadata["tokenizer.ggml.tokens"])
    metadata["tokenizer.ggml.tokens"] += ["[PAD1]", "<think>", "<stop>"]
    metadata["tokenizer.ggml.token_type"] += [5, 4, 3]
    tokenizer = tokenizer_for(tmp_path, metadata)
    assert tokenizer.encode("<think>a<stop>", add_special_tokens=False).ids[0::2] == [count + 1, count + 2]
    added = tokenizer.get_added_tokens_decoder()
    assert (added[count + 1].special, added[count + 2].special) == (False, True)


def test_bos_and_eos_as_the_file_or_llama_cpp_says(tmp_path: Path) -> None:
    def around(pre: str, **flags: bool) -> tuple[bool, bool]:
        extra = {f"ggml.{key}": value for key, value in flags.items()}
        ids = tokenizer_for(tmp_path, bpe_metadata(pre, **extra)).encode("a").ids
        return ids[0] == 0, ids[-1] == 2

    assert around("gpt-2") == (False, False)
    assert around("llama-bpe") == (True, False)  # llama.cpp adds one for Llama 3 unless told otherwise
    assert around("llama-bpe", add_bos_token=False) == (False, False)
    assert around("gpt-2", add_bos_token=True, add_eos_token=True) == (True, True)


def test_end_tokens_of_chats_stop_generation_and_are_control_tokens(tmp_path: Path) -> None:
    metadata = bpe_metadata("gpt-2", **{"ggml.eot_token_id": 1})
    count = len(metadata["tokenizer.ggml.tokens"])
    metadata["tokenizer.ggml.tokens"] += ["<|eot_id|>", "<end_of_turn>"]
    metadata["tokenizer.ggml.token_type"] += [4, 1]  # as careless converters write them
    files = files_for(tmp_path, metadata)
    assert files.generation["eos_token_id"] == [2, 1, count, count + 1, 0]
    tokenizer = Tokenizer.from_str(files.dumps())
    assert not {count, count + 1} & set(plain_ids(tokenizer, "a<|eot_id|>b<end_of_turn>"))


# -- SentencePiece --------------------------------------------------------------------------------------------------


def sentencepiece_model(*, prefix: bool, user_defined: list[str]) -> sentencepiece.SentencePieceProcessor:
    out = io.BytesIO()
    text = [
        "the cat sat on the mat and the dog ran",
        "你好世界 今天天气很好",
        "x = [1, 2, 3]  # a  list",
        "   spaces   ",
    ] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=out, vocab_size=380, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix,
        user_defined_symbols=user_defined, control_symbols=["<start_of_turn>"], allow_whitespace_only_pieces=True,
        minloglevel=2, character_coverage=1.0,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def spm_metadata(
    model: sentencepiece.SentencePieceProcessor, *, prefix: bool, user_defined: list[str]
) -> dict[str, Any]:
    """As convert_hf_to_gguf.py writes it: user-defined tokens with real spaces and the score -1000."""
    count = model.get_piece_size()
    kinds = [1] * count
    tokens = [model.id_to_piece(index) for index in range(count)]
    for index, token in enumerate(tokens):
        if model.is_unknown(index):
            kinds[index] = 2
        elif model.is_control(index):
            kinds[index] = 3
        elif model.is_byte(index):
            kinds[index] = 6
        elif token in user_defined:
            kinds[index] = 4
            tokens[index] = token.replace("▁", " ")
    scores = [-1000.0 if kind == 4 else model.get_score(index) for index, kind in enumerate(kinds)]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": model.bos_id(),
        "tokenizer.ggml.eos_token_id": model.eos_id(),
        "tokenizer.ggml.unknown_token_id": model.unk_id(),
        "tokenizer.ggml.add_space_prefix": prefix,
    }


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_gives_the_same_ids(prefix: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    # After a user-defined token llama.cpp writes the prefix once more, sentencepiece does not: so none with a prefix.
    user_defined = [] if prefix else ["▁▁", "▁▁▁", "<b>", "\n\n"]
    theirs = sentencepiece_model(prefix=prefix, user_defined=user_defined)
    metadata = spm_metadata(theirs, prefix=prefix, user_defined=user_defined)
    ours = tokenizer_for(tmp_path_factory.mktemp("spm"), metadata)

    # U+2581 itself is SentencePiece's space and comes back as one: the one letter that it cannot hold.
    @settings(max_examples=150)
    @given(text=texts.map(lambda text: text.replace("▁", "")))
    @example(text="the cat  sat   on    the mat")
    @example(text="  <b>x</b> <start_of_turn>user")
    def check(text: str) -> None:
        ids = plain_ids(ours, text)
        assert ids == theirs.encode(text)
        assert ours.decode(ids, skip_special_tokens=False) == text
        assert theirs.piece_to_id("<start_of_turn>") not in ids

    check()
    if prefix:
        assert ours.encode("the cat").ids[0] == theirs.bos_id()  # SentencePiece vocabularies add bos unless told not to


def test_llama_2_gives_the_ids_of_its_own_sentencepiece_model(shared_data: Path) -> None:
    """The tiny GGUF file carries the whole vocabulary of Llama 2; its original model lies beside it.

    transformers reads this file otherwise: it writes no space before a text that begins with one.
    """
    with GGUFFile(shared_data / "models" / "llama-2-tiny-random.gguf") as file:
        ours = Tokenizer.from_str(read_tokenizer(file).dumps())
    model = str(shared_data / "models" / "tokenizers" / "llama2_tokenizer.model")
    theirs = sentencepiece.SentencePieceProcessor(model_file=model)
    documents = [*SNIPPETS, "".join(SNIPPETS[:-1]), "  a  b   c"]
    for name in ("wiki_en.jsonl", "wiki_zh.jsonl"):
        lines = (shared_data / "pretrain" / name).read_text(encoding="utf-8").splitlines()[:60]
        documents += [json.loads(line)["text"][:1000] for line in lines]
    for text in documents:
        assert plain_ids(ours, text) == theirs.encode(text), text[:40]


def test_merges_follow_the_scores_and_never_reach_control_tokens() -> None:
    texts = ["a", "b", "c", "ab", "bc", "abc", "<s>", "<", "s", ">", "<s"]
    kinds = [1] * 6 + [3] + [1] * 4
    scores = np.array([0, 0, 0, -2, -1, -3, 0, 0, 0, 0, -4], np.float32)
    assert merges_from_scores(texts, kinds, scores) == [("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c"), ("<", "s")]


# -- faults ---------------------------------------------------------------------------------------------------------


def spm_minimum(**changes: Any) -> dict[str, Any]:
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "a"],
        "tokenizer.ggml.scores": [0.0, 0.0],
        "tokenizer.ggml.token_type": [2, 1],
    }
    return {key: value for key, value in (metadata | changes).items() if value is not None}


FAULTS = {
    "a cut not known": (bpe_metadata("deepseek-llm"), r"not known here \(tokenizer.ggml.pre = 'deepseek-llm'\)"),
    "no cut named": ({k: v for k, v in bpe_metadata().items() if k != "tokenizer.ggml.pre"}, "pre = None"),
    "no tokens": ({"tokenizer.ggml.model": "gpt2"}, "carries no tokenizer"),
    "another kind": (bpe_metadata() | {"tokenizer.ggml.model": "t5"}, "tokenizers of the kind 't5'"),
    "kinds too few": (bpe_metadata() | {"tokenizer.ggml.token_type": [1]}, "does not give a kind to each"),
    "eos outside": (bpe_metadata() | {"tokenizer.ggml.eos_token_id": 99_999}, "99999, outside the vocabulary"),
    "a merge of nothing": (bpe_metadata() | {"tokenizer.ggml.merges": ["a zzzz"]}, "merge 0 of its tokenizer"),
    "a merge of one": (bpe_metadata() | {"tokenizer.ggml.merges": ["a"]}, "merge 0 of its tokenizer"),
    "no merges": (bpe_metadata() | {"tokenizer.ggml.merges": 3}, "tokenizer.ggml.merges is missing"),
    "a token twice": (spm_minimum(**{"tokenizer.ggml.tokens": ["a", "a"]}), "1 tokens occur twice"),
    "scores too few": (spm_minimum(**{"tokenizer.ggml.scores": [0.0]}), "does not give a score to each"),
    "no scores": (spm_minimum(**{"tokenizer.ggml.scores": None}), "does not give a score to each"),
    "some bytes": (spm_minimum(**{"tokenizer.ggml.token_type": [2, 6]}), "1 of the 256 byte tokens"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_said_and_never_guessed(name: str, tmp_path: Path) -> None:
    metadata, message = FAULTS[name]
    with pytest.raises(UserError, match=message):
        files_for(tmp_path, metadata)
