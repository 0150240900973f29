"""The files of a Hugging Face tokenizer -> the tokenizer's metadata in a GGUF file.

The inverse of gguf_tokenizer.py. Byte-level BPE is written under the name by which llama.cpp knows its way of cutting
text (`tokenizer.ggml.pre`); a tokenizer that cuts in a way that llama.cpp has no name for is refused, for under any
other name the same text would give other tokens and a worse model, silently. BPE of SentencePiece's kind is written
with scores, from which llama.cpp makes the merges again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.gguf import Value
from camelid.model.gguf_pretokenizers import EACH_DIGIT, GPT2, PRE_TOKENIZERS
from camelid.model.gguf_tokenizer import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, UNUSED, USER_DEFINED

# The names tried in this order: several mean the same cut.
_NAMES = ("gpt-2", "smollm", "qwen2", "llama-bpe", "smaug-bpe", "tekken", "gpt-4o", "default")
_FOR_FAMILY = {"glm4": ("glm4", "chatglm-bpe")}
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
# Two spellings of "in any case" that files use for the same pattern.
_ANY_CASE = {"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])": "(?i:'s|'t|'re|'ve|'m|'ll|'d)"}


@dataclass(frozen=True, slots=True)
class TokenTable:
    """What goes into the metadata, and what a user should know about it (one line each)."""

    metadata: dict[str, Value]
    notes: tuple[str, ...]


def token_table(
    directory: Path,
    vocabulary: Vocabulary,
    *,
    rows: int,
    family: str,
    template: str | None,
    stop_ids: Sequence[int] = (),
) -> TokenTable:
    """The metadata for the tokenizer in `directory`, which `vocabulary` was read from.

    rows: of the embedding; ids that no token has are filled up with unused ones. template: the chat template.
    stop_ids: where an answer ends, the template's own end first. Raises `UserError` for a tokenizer that llama.cpp
    would read as another one.
    """
    source = json.loads(vocabulary.backend.to_str())
    writer = _Writer(directory, source, vocabulary, rows)
    if source["model"]["type"] != "BPE":
        writer.refuse(f"it is of the kind {source['model']['type']}, and only BPE can be written")
    sentencepiece = bool(source["model"].get("byte_fallback")) or SPACE in json.dumps(
        [source["normalizer"], source["pre_tokenizer"]], ensure_ascii=False
    )
    own = writer.sentencepiece() if sentencepiece else writer.byte_level(family)
    metadata: dict[str, Value] = {**own, **writer.special(stop_ids)}
    if template is not None:
        metadata["tokenizer.chat_template"] = template
    return TokenTable(metadata, tuple(writer.notes))


class _Writer:
    """Collects the metadata of one tokenizer."""

    def __init__(self, directory: Path, source: dict[str, Any], vocabulary: Vocabulary, rows: int) -> None:
        self.directory, self.source, self.vocabulary, self.rows = directory, source, vocabulary, rows
        self.notes: list[str] = []
        self.texts: list[str | None] = [None] * rows
        for text, index in vocabulary.backend.get_vocab(with_added_tokens=True).items():
            if index >= rows:
                self.refuse(f"its token {index} is outside the embedding of {rows:,} rows")
            self.texts[index] = text

    def refuse(self, what: str) -> NoReturn:
        raise UserError(
            f"this tokenizer cannot be written as GGUF: {what}",
            where=str(self.directory / "tokenizer.json"),
            mend="use --format hf, which keeps the tokenizer as it is",
        )

    def _kinds(self) -> list[int]:
        """The kind of every id, in llama.cpp's numbers."""
        unknown = self.vocabulary.special.get("unk_token")
        byte_tokens = bool(self.source["model"].get("byte_fallback"))
        kinds = []
        for text in self.texts:
            if text is None:
                kinds.append(UNUSED)
            elif byte_tokens and _BYTE_TOKEN.fullmatch(text):
                kinds.append(BYTE)
            elif byte_tokens and text == unknown:
                kinds.append(UNKNOWN)
            elif text in self.vocabulary.control:
                kinds.append(CONTROL)
            elif text in self.vocabulary.added:
                kinds.append(USER_DEFINED)
            else:
                kinds.append(NORMAL)
        return kinds

    def _tokens(self) -> dict[str, Value]:
        for text, token in self.vocabulary.added.items():
            if (token.lstrip or token.rstrip or token.single_word) and text not in self.vocabulary.control:
                self.refuse(f"the token {text!r} takes the blanks around it, which llama.cpp cannot be told")
        texts = [f"[PAD{index}]" if text is None else text for index, text in enumerate(self.texts)]
        return {"tokenizer.ggml.tokens": texts, "tokenizer.ggml.token_type": self._kinds()}  # type: ignore[dict-item]

    def special(self, stop_ids: Sequence[int]) -> dict[str, Value]:
        """The named tokens, and whether a text begins with bos."""
        found: dict[str, Value] = {}
        names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
        for name, key in names.items():
            token = self.vocabulary.special.get(name)
            index = None if token is None else self.vocabulary.backend.token_to_id(token)
            if index is not None:
                found[f"tokenizer.ggml.{key}_token_id"] = index
        # llama.cpp stops at eos and at eot; the end of a turn comes first in `stop_ids`.
        others = [index for index in stop_ids if index != found.get("tokenizer.ggml.eos_token_id")]
        if others:
            found["tokenizer.ggml.eot_token_id"] = others[0]
        found["tokenizer.ggml.add_bos_token"] = self.vocabulary.adds_bos
        found["tokenizer.ggml.add_eos_token"] = False
        return found

    # -- byte-level BPE ------------------------------------------------------------------------------------------

    def byte_level(self, family: str) -> dict[str, Value]:
        """Merges, and the name of the cut."""
        model = self.source["model"]
        normalizer = self.source["normalizer"]
        if normalizer is not None and normalizer["type"] != "NFC":
            self.refuse(f"it changes text before cutting it ({normalizer['type']}), which llama.cpp does not")
        if normalizer is not None:
            self.notes.append("the tokenizer composes accents first (NFC) and llama.cpp does not: give it NFC text")
        patterns = self._patterns()
        whole = bool(model.get("ignore_merges"))
        candidates = [*_FOR_FAMILY.get(family, ()), *_NAMES]
        known = [(name, PRE_TOKENIZERS[name]) for name in candidates if PRE_TOKENIZERS[name].patterns == patterns]
        name = next((name for name, cut in known if cut.whole == whole), None)
        if name is None:
            way = (
                " then ".join(patterns) if not known else "merging where llama.cpp takes a piece whole, or the reverse"
            )
            self.refuse(f"llama.cpp has no name for the way in which it cuts text ({way[:160]})")
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        return {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": name,
            **self._tokens(),
            "tokenizer.ggml.merges": merges,
        }

    def _patterns(self) -> tuple[str, ...]:
        """The patterns by which text is cut, each on the pieces of the one before."""
        steps = self.source["pre_tokenizer"]
        if steps is None:
            self.refuse("it does not cut text at all")
        steps = steps["pretokenizers"] if steps["type"] == "Sequence" else [steps]
        found: list[str] = []
        for index, step in enumerate(steps):
            last = index == len(steps) - 1
            if step["type"] == "ByteLevel" and last and not step.get("add_prefix_space"):
                found += [GPT2] if step.get("use_regex", True) else []
            elif step["type"] == "Digits" and step.get("individual_digits"):
                found.append(EACH_DIGIT)
            elif step["type"] == "Split" and "Regex" in step["pattern"] and _isolates(step):
                pattern = step["pattern"]["Regex"]
                for other, ours in _ANY_CASE.items():
                    pattern = pattern.replace(other, ours)
                found.append(pattern)
            else:
                self.refuse(f"it cuts text by {json.dumps(step, ensure_ascii=False)[:160]}")
        if steps[-1]["type"] != "ByteLevel":
            self.refuse("its pieces are not bytes")
        return tuple(found)

    # -- BPE of SentencePiece's kind -----------------------------------------------------------------------------

    def sentencepiece(self) -> dict[str, Value]:
        """Scores: the earlier a token's first merge, the better."""
        model = self.source["model"]
        ids = {text: index for index, text in enumerate(self.texts) if text is not None}
        scores = [0.0] * self.rows
        merged = set()
        for rank, pair in enumerate(model["merges"]):
            left, right = pair.split(" ", 1) if isinstance(pair, str) else pair
            if left + right not in merged:
                merged.add(left + right)
                scores[ids[left + right]] = -float(rank + 1)
        tokens = self._tokens()
        for index, text in enumerate(self.texts):
            if text is not None and text not in merged:
                scores[index] = -1e9 if tokens["tokenizer.ggml.token_type"][index] == NORMAL else 0.0  # type: ignore[index]
        return {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.pre": "default",
            **tokens,
            "tokenizer.ggml.scores": scores,  # type: ignore[dict-item]
            "tokenizer.ggml.add_space_prefix": self._space_prefix(),
        }

    def _space_prefix(self) -> bool:
        """Whether each text begins with a space that is put there."""
        normalizer, cut = self.source["normalizer"], self.source["pre_tokenizer"]
        steps = normalizer["normalizers"] if normalizer and normalizer["type"] == "Sequence" else [normalizer]
        prefix = False
        for step in steps:
            if step is None or (step["type"] == "Replace" and step["pattern"] == {"String": " "}):
                continue
            if step["type"] != "Prepend" or step["prepend"] != SPACE:
                self.refuse(f"it changes text by {json.dumps(step, ensure_ascii=False)[:160]}")
            prefix = True
        if cut is not None and cut["type"] == "Metaspace":
            prefix = prefix or cut.get("prepend_scheme", "always") != "never"
        elif cut is not None and not _is_space_split(cut):
            self.refuse(f"it cuts text by {json.dumps(cut, ensure_ascii=False)[:160]}")
        return prefix


def _isolates(step: Mapping[str, Any]) -> bool:
    """Whether a Split keeps every match as a piece and every stretch between matches as another."""
    if step["behavior"] == "Isolated":
        return not step.get("invert")
    return step["behavior"] == "Removed" and bool(step.get("invert"))


def _is_space_split(cut: Mapping[str, Any]) -> bool:
    """Gemma's: a split at spaces, which its normalizer has replaced already, so it never acts."""
    return cut["type"] == "Split" and cut["pattern"] == {"String": " "}
