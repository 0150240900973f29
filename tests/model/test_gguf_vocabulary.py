"""Tokenizers as GGUF metadata: read again they give the same ids; what llama.cpp would cut otherwise is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from export_subjects import about_tiny
from gguf_writing import bpe_metadata, minimal_gguf
from tiny import tiny_tokenizer
from tokenizers import Tokenizer

from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.gguf import GGUFFile
from camelid.model.gguf_pretokenizers import GPT2, LLAMA3, QWEN2
from camelid.model.gguf_tokenizer import read_tokenizer
from camelid.model.gguf_vocabulary import token_table
from camelid.model.presets import preset_directory
from camelid.model.probe_strings import probe_strings

TEXTS = probe_strings(["The price is $12.50, isn't it? 你好，世界！今天天气很好。"], ["<|im_end|>"], 300)


def table(tokenizer: dict[str, Any] | Path, folder: Path, *, rows: int = 512, family: str = "llama", **config: Any):
    if isinstance(tokenizer, dict):
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", **config}))
        tokenizer = folder
    vocabulary = Vocabulary.from_directory(tokenizer)
    return vocabulary, token_table(tokenizer, vocabulary, rows=rows, family=family, template=None)


def ids_again(metadata: dict[str, Any], folder: Path) -> Tokenizer:
    """The tokenizer that our reader makes of the metadata."""
    with GGUFFile(minimal_gguf(folder / "again.gguf", metadata)) as file:
        tokenizer = Tokenizer.from_str(read_tokenizer(file).dumps())
    tokenizer.encode_special_tokens = True
    return tokenizer


def source(**changes: Any) -> dict[str, Any]:
    return {**json.loads(tiny_tokenizer().to_str()), **changes}


def split(pattern: str, **more: Any) -> dict[str, Any]:
    regex = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False, **more}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [regex, byte_level]}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTES]}
QWEN_SPELLED = QWEN2.replace(
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)", "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
)
CUTS = [
    ("gpt-2", "llama", BYTES, False),
    ("smollm", "llama", DIGITS, False),
    ("qwen2", "qwen2", split(QWEN2), False),
    ("qwen2", "qwen2", split(QWEN_SPELLED), False),
    ("qwen2", "qwen2", split(QWEN2, behavior="Removed", invert=True), False),
    ("llama-bpe", "llama", split(LLAMA3), True),
    ("smaug-bpe", "llama", split(LLAMA3), False),
    ("chatglm-bpe", "glm4", split(LLAMA3), False),
    ("glm4", "glm4", split(LLAMA3), True),
]


@pytest.mark.parametrize(("name", "family", "cut", "whole"), CUTS, ids=[f"{c[0]}-{i}" for i, c in enumerate(CUTS)])
def test_every_cut_is_written_under_llama_cpps_name(
    tmp_path: Path, name: str, family: str, cut: dict[str, Any], whole: bool
) -> None:
    tokenizer = source(pre_tokenizer=cut)
    tokenizer["model"]["ignore_merges"] = whole
    vocabulary, written = table(tokenizer, tmp_path, family=family)
    assert written.metadata["tokenizer.ggml.pre"] == name
    again = ids_again(written.metadata, tmp_path)
    vocabulary.backend.encode_special_tokens = True
    for text in TEXTS:
        assert again.encode(text, add_special_tokens=False).ids == vocabulary.backend.encode(text).ids, text


REFUSED = [
    ("a cut without a name", source(pre_tokenizer=split(r"\p{Han}+|\s+")), "no name for the way in which it cuts text"),
    ("no cut", source(pre_tokenizer=None), "does not cut text at all"),
    ("words", source(pre_tokenizer={"type": "Whitespace"}), "it cuts text by"),
    ("no bytes", source(pre_tokenizer={"type": "Digits", "individual_digits": True}), "its pieces are not bytes"),
    ("lower case", source(normalizer={"type": "Lowercase"}), "changes text before cutting it"),
    ("a space first", source(pre_tokenizer={**BYTES, "add_prefix_space": True}), "it cuts text by"),
    ("too large", source(), "outside the embedding of 300 rows"),
]


@pytest.mark.parametrize(("tokenizer", "message"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_a_tokenizer_that_llama_cpp_would_read_as_another_is_refused(
    tmp_path: Path, tokenizer: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        table(tokenizer, tmp_path, rows=300 if "rows" in message else 512)
    assert "tokenizer.json" in str(caught.value)
    assert "--format hf" in str(caught.value)


def test_nano_has_a_cut_of_its_own_and_says_so() -> None:
    with pytest.raises(UserError, match=r"llama.cpp has no name for the way in which it cuts text"):
        table(preset_directory("nano"), Path(), rows=4096)


def test_a_normal_form_is_noted(tmp_path: Path) -> None:
    _, written = table(source(normalizer={"type": "NFC"}), tmp_path)
    assert "NFC" in written.notes[0]


def test_kinds_named_tokens_and_ends(tmp_path: Path) -> None:
    about = about_tiny()
    written = token_table(
        about.tokenizer, about.vocabulary, rows=512, family="llama", template="T", stop_ids=about.stop_ids
    )
    found, original = written.metadata, bpe_metadata()
    size = len(original["tokenizer.ggml.tokens"])
    for key in ("tokens", "token_type"):
        assert found[f"tokenizer.ggml.{key}"][:size] == original[f"tokenizer.ggml.{key}"]  # type: ignore[index]
    assert found["tokenizer.ggml.merges"] == original["tokenizer.ggml.merges"]
    assert set(found["tokenizer.ggml.token_type"][size:]) == {5}  # type: ignore[index]
    assert (found["tokenizer.ggml.eos_token_id"], found["tokenizer.ggml.bos_token_id"]) == (2, 0)
    assert (found["tokenizer.ggml.add_bos_token"], found["tokenizer.chat_template"]) == (False, "T")


def sentencepiece(prefix: bool) -> dict[str, Any]:
    """A small vocabulary of SentencePiece's kind, as Hugging Face writes Llama 2's and Gemma's."""
    pieces = [
        "<unk>",
        "<|im_end|>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"abcd你好",
        "ab",
        "cd",
        "abcd",
        "▁a",
    ]
    merges = [["a", "b"], ["c", "d"], ["ab", "cd"], ["▁", "a"]]
    steps: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    if prefix:
        steps.insert(0, {"type": "Prepend", "prepend": "▁"})
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return source(
        added_tokens=[{"id": 0, "content": "<unk>", **token}, {"id": 1, "content": "<|im_end|>", **token}],
        normalizer={"type": "Sequence", "normalizers": steps},
        pre_tokenizer=None,
        post_processor=None,
        decoder=None,
        model={
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
            "vocab": {piece: index for index, piece in enumerate(pieces)}, "merges": merges,
        },
    )  # fmt: skip


@pytest.mark.parametrize("prefix", [False, True])
def test_sentencepiece_is_written_as_scores(tmp_path: Path, prefix: bool) -> None:
    vocabulary, written = table(sentencepiece(prefix), tmp_path, unk_token="<unk>")
    assert written.metadata["tokenizer.ggml.model"] == "llama"
    assert written.metadata["tokenizer.ggml.add_space_prefix"] is prefix
    again = ids_again(written.metadata, tmp_path)
    for text in ("abcd", "ab cd a", "你好 abc", "é😀", " a  b"):
        assert again.encode(text).ids == vocabulary.backend.encode(text).ids, text


@pytest.mark.slow
def test_the_real_smollm2_is_written_as_it_was_read() -> None:
    try:
        directory = preset_directory("smollm2")
    except UserError as error:
        pytest.skip(str(error))
    _, written = table(directory, Path(), rows=49_152)
    assert written.metadata["tokenizer.ggml.pre"] == "smollm"
    assert GPT2  # the cut behind that name, after each digit
