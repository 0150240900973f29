"""The tokenizer that a GGUF file's metadata describes, as the files of a Hugging Face directory.

Two kinds are read: byte-level BPE (`gpt2`: merges listed, pieces cut as `tokenizer.ggml.pre` names) and SentencePiece
BPE (`llama`: scores listed, from which the merges follow). Control tokens become special tokens; no merge leads to
one, so text of the user's can never become one either.

The files are written as JSON and then loaded once by the `tokenizers` library, so a vocabulary that it would refuse
later is refused here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from camelid.errors import UserError
from camelid.model.gguf import GGUFFile
from camelid.model.gguf_pretokenizers import PRE_TOKENIZERS, PreTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"  # how SentencePiece spells a space

# Tokens that end a turn or a text in some family. Files do not always mark them as control tokens or name them
# (llama.cpp looks for the same spellings); a model that has one is meant to stop there.
END_TOKENS = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
    "<|end_of_turn|>", "<｜end▁of▁sentence｜>", "<|user|>", "<|observation|>", "<EOT>", "<eos>",
)  # fmt: skip
CHAT_TOKENS = frozenset((*END_TOKENS, "<|im_start|>", "<start_of_turn>", "<|start_header_id|>", "<|end_header_id|>",
                         "<|begin_of_text|>", "<|assistant|>", "<|system|>",
                         "<start_of_image>", "<end_of_image>", "[multimodal]"))  # fmt: skip

_NAMES = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What goes into `tokenizer.json`, `tokenizer_config.json` and (ids only) `generation_config.json`."""

    tokenizer: dict[str, Any]
    config: dict[str, Any]
    generation: dict[str, Any]
    chat_template: str | None

    def dumps(self) -> str:
        """`tokenizer.json` as text; checked by loading it. Raises `UserError`."""
        text = json.dumps(self.tokenizer, ensure_ascii=False, separators=(",", ":"))
        from tokenizers import Tokenizer

        try:
            Tokenizer.from_str(text)
        except Exception as error:  # tokenizers raises bare Exception for whatever it refuses
            raise UserError(
                f"the tokenizer in the GGUF file is not sound: {error}", mend="use another conversion of the model"
            ) from None
        return text


class _Vocabulary:
    """The token table of the metadata, checked: texts, kinds and scores of equal length, ids in range."""

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.texts = self._strings("tokens")
        count = len(self.texts)
        kinds = self.find("token_type")
        if kinds is None:
            kinds = np.full(count, NORMAL)
        if not isinstance(kinds, np.ndarray) or len(kinds) != count:
            self.fault(f"tokenizer.ggml.token_type does not give a kind to each of the {count:,} tokens")
        self.kinds: list[int] = [int(kind) for kind in kinds]
        self.ids = {text: index for index, text in enumerate(self.texts)}
        if len(self.ids) != count:
            self.fault(f"{count - len(self.ids):,} tokens occur twice in its vocabulary")
        for index, text in enumerate(self.texts):
            if text in CHAT_TOKENS and self.kinds[index] in (NORMAL, USER_DEFINED):
                self.kinds[index] = CONTROL
        self.named = {name: self._named(key) for name, key in _NAMES.items()}
        # The named tokens steer the model: never to be spelled by text.
        for name in ("bos", "eos"):
            token = self.named[name]
            if token is not None and self.kinds[token] in (NORMAL, USER_DEFINED):
                self.kinds[token] = CONTROL

    def fault(self, what: str, mend: str = "download or install it again") -> NoReturn:
        raise UserError(what, where=str(self.file.path), mend=mend)

    def find(self, key: str) -> Any:
        return self.file.metadata.get(f"tokenizer.ggml.{key}")

    def flag(self, key: str, default: bool) -> bool:
        value = self.find(key)
        return value if isinstance(value, bool) else default

    def _strings(self, key: str) -> list[str]:
        value = self.find(key)
        if not isinstance(value, list) or not value:
            self.fault(f"the GGUF file carries no tokenizer (tokenizer.ggml.{key} is missing)")
        return value

    def _named(self, key: str) -> int | None:
        value = self.find(key)
        if value is None:
            return None
        if type(value) is not int or not 0 <= value < len(self.texts):
            self.fault(f"tokenizer.ggml.{key} is {value!r}, outside the vocabulary of {len(self.texts):,} tokens")
        return value

    def merges(self) -> list[tuple[str, str]]:
        pairs = []
        for index, merge in enumerate(self._strings("merges")):
            left, space, right = merge.partition(" ")
            if not space or left not in self.ids or right not in self.ids or left + right not in self.ids:
                self.fault(f"merge {index:,} of its tokenizer, {merge!r}, is not made of its tokens")
            pairs.append((left, right))
        return pairs

    def of_kind(self, *kinds: int) -> Iterable[int]:
        return (index for index, kind in enumerate(self.kinds) if kind in kinds)

    def end_ids(self) -> list[int]:
        """The end of text first, then every other token at which the model is meant to stop."""
        ids = [self.named["eos"], self._named("eot_token_id"), self._named("eom_token_id")]
        ids += [self.ids.get(text) for text in END_TOKENS]
        return list(dict.fromkeys(i for i in ids if i is not None and self.kinds[i] != UNKNOWN))


def read_tokenizer(file: GGUFFile) -> TokenizerFiles:
    """The tokenizer files for an open GGUF file. Raises `UserError` for one that is unknown or not sound."""
    vocabulary = _Vocabulary(file)
    model = vocabulary.find("model")
    if model == "gpt2":
        cut = _pre_tokenizer(vocabulary)
        tokenizer, bos = _byte_level(vocabulary, cut), vocabulary.flag("add_bos_token", cut.bos)
    elif model == "llama":
        tokenizer, bos = _sentencepiece(vocabulary), vocabulary.flag("add_bos_token", True)
    else:
        vocabulary.fault(
            f"tokenizers of the kind {model!r} cannot be read from GGUF", mend="give the model's Hugging Face directory"
        )
    eos = vocabulary.flag("add_eos_token", False)
    tokenizer["post_processor"] = _post_processor(vocabulary, bos, eos, tokenizer["post_processor"])
    return TokenizerFiles(
        tokenizer=tokenizer,
        config=_config(vocabulary, bos, eos),
        generation=_generation(vocabulary),
        chat_template=_chat_template(vocabulary),
    )


def _pre_tokenizer(vocabulary: _Vocabulary) -> PreTokenizer:
    name = vocabulary.find("pre")
    if name not in PRE_TOKENIZERS:
        vocabulary.fault(
            f"the tokenizer cuts text in a way that is not known here (tokenizer.ggml.pre = {name!r})",
            mend=f"known are {', '.join(sorted(PRE_TOKENIZERS))}; or give the model's Hugging Face directory",
        )
    return PRE_TOKENIZERS[name]


def _byte_level(vocabulary: _Vocabulary, cut: PreTokenizer) -> dict[str, Any]:
    merges = vocabulary.merges()
    size = _model_size(vocabulary)
    split = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in cut.patterns
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return _tokenizer(
        vocabulary,
        model={
            "vocab": {text: index for index, text in enumerate(vocabulary.texts[:size])},
            "merges": merges,
            "byte_fallback": False,
            "fuse_unk": False,
            "unk_token": None,
            "ignore_merges": cut.whole,
        },
        normalizer=None,
        pre_tokenizer={"type": "Sequence", "pretokenizers": [*split, byte_level]},
        post_processor=byte_level,
        decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    )


def _model_size(vocabulary: _Vocabulary) -> int:
    """How many tokens of the table belong to the BPE model itself, the rest being added tokens or padding.

    Control tokens at the end stay out, as in the original files: then not even a piece of text that spells one whole
    (`ignore_merges`) finds it. The library numbers added tokens on from the model's, so only a dense end can go.
    """
    end = max(vocabulary.of_kind(NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE), default=-1) + 1
    size = max(vocabulary.of_kind(NORMAL, BYTE), default=-1) + 1
    return end if UNUSED in vocabulary.kinds[size:end] else size


def _sentencepiece(vocabulary: _Vocabulary) -> dict[str, Any]:
    scores = vocabulary.find("scores")
    if not isinstance(scores, np.ndarray) or len(scores) != len(vocabulary.texts):
        vocabulary.fault(f"tokenizer.ggml.scores does not give a score to each of {len(vocabulary.texts):,} tokens")
    unknown = vocabulary.named["unk"]
    bytes_held = sum(kind == BYTE for kind in vocabulary.kinds)
    if bytes_held not in (0, 256):
        vocabulary.fault(f"its vocabulary has {bytes_held} of the 256 byte tokens")
    steps: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    prefix = vocabulary.flag("add_space_prefix", True)
    if prefix:
        steps.insert(0, {"type": "Prepend", "prepend": SPACE})
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return _tokenizer(
        vocabulary,
        model={
            "vocab": vocabulary.ids,
            "merges": merges_from_scores(vocabulary.texts, vocabulary.kinds, scores),
            "byte_fallback": bytes_held == 256,
            "fuse_unk": True,
            "unk_token": vocabulary.texts[unknown] if unknown is not None else None,
            "ignore_merges": False,
        },
        normalizer={"type": "Sequence", "normalizers": steps},
        pre_tokenizer=None,
        post_processor=None,
        decoder={"type": "Sequence", "decoders": decoders},
    )


def merges_from_scores(texts: list[str], kinds: list[int], scores: np.ndarray) -> list[tuple[str, str]]:
    """The merges that SentencePiece's BPE makes: any two neighbours that form a token, the best score first.

    Only ordinary tokens take part (kinds: the GGUF token types): SentencePiece never merges into a control token.
    """
    ordinary = {text: index for index, text in enumerate(texts) if kinds[index] == NORMAL and text}
    order = sorted(ordinary.values(), key=lambda index: -scores[index])
    merges: list[tuple[str, str]] = []
    append = merges.append
    for index in order:
        text = texts[index]
        pairs = [
            (text[:cut], text[cut:]) for cut in range(1, len(text)) if text[:cut] in ordinary and text[cut:] in ordinary
        ]
        if len(pairs) > 1:
            pairs.sort(key=lambda pair: (ordinary[pair[0]], ordinary[pair[1]]))
        for pair in pairs:
            append(pair)
    return merges


def _tokenizer(
    vocabulary: _Vocabulary, *, model: dict[str, Any], normalizer: Any, pre_tokenizer: Any, post_processor: Any,
    decoder: Any,
) -> dict[str, Any]:  # fmt: skip
    """The whole `tokenizer.json`; `post_processor` is completed by the caller."""
    added = [
        {
            "id": index,
            "content": vocabulary.texts[index],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": vocabulary.kinds[index] != USER_DEFINED,
        }
        for index in vocabulary.of_kind(UNKNOWN, CONTROL, USER_DEFINED)
        if vocabulary.texts[index]
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            **model,
        },
    }


def _post_processor(vocabulary: _Vocabulary, bos: bool, eos: bool, inner: dict[str, Any] | None) -> Any:
    """Beginning and end tokens around a plain text, as the file asks; chat templates write their own."""
    wanted = [name for name, on in (("bos", bos), ("eos", eos)) if on and vocabulary.named[name] is not None]
    if not wanted:
        return inner
    tokens = {name: vocabulary.texts[vocabulary.named[name] or 0] for name in wanted}

    def around(*kinds: tuple[str, int]) -> list[dict[str, Any]]:
        pieces: list[dict[str, Any]] = []
        for sequence, type_id in kinds:
            pieces += [{"SpecialToken": {"id": tokens["bos"], "type_id": type_id}}] if "bos" in tokens else []
            pieces.append({"Sequence": {"id": sequence, "type_id": type_id}})
            pieces += [{"SpecialToken": {"id": tokens["eos"], "type_id": type_id}}] if "eos" in tokens else []
        return pieces

    template = {
        "type": "TemplateProcessing",
        "single": around(("A", 0)),
        "pair": around(("A", 0), ("B", 1)),
        "special_tokens": {
            text: {"id": text, "ids": [vocabulary.ids[text]], "tokens": [text]} for text in tokens.values()
        },
    }
    return {"type": "Sequence", "processors": [inner, template]} if inner else template


def _config(vocabulary: _Vocabulary, bos: bool, eos: bool) -> dict[str, Any]:
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": bos,
        "add_eos_token": eos,
        "clean_up_tokenization_spaces": False,
    }
    for name, index in vocabulary.named.items():
        if index is not None:
            config[f"{name}_token"] = vocabulary.texts[index]
    length = vocabulary.file.metadata.get(f"{vocabulary.file.metadata.get('general.architecture')}.context_length")
    if type(length) is int:
        config["model_max_length"] = length
    return config


def _generation(vocabulary: _Vocabulary) -> dict[str, Any]:
    ends = vocabulary.end_ids()
    ids = {"bos_token_id": vocabulary.named["bos"], "pad_token_id": vocabulary.named["pad"]}
    return {key: value for key, value in ids.items() if value is not None} | ({"eos_token_id": ends} if ends else {})


def _chat_template(vocabulary: _Vocabulary) -> str | None:
    template = vocabulary.file.metadata.get("tokenizer.chat_template")
    return template if isinstance(template, str) and template.strip() else None
