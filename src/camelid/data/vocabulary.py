"""A tokenizer with the names of its special tokens: all that rendering needs, without transformers or torch.

Every base ends up as a directory in Hugging Face's layout; `Vocabulary.from_directory` reads the tokenizer's files
there (`tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, `chat_template.jinja`,
`generation_config.json`, `config.json`). All of them are input, never code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer

from camelid.errors import UserError

# The names under which a chat template sees special tokens (the same as transformers').
SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class Vocabulary:
    """The backend tokenizer plus what its side files say about special tokens and the chat template."""

    backend: Tokenizer
    special: Mapping[str, str] = field(default_factory=dict)  # "eos_token" -> "</s>"; only names in SPECIAL_NAMES
    chat_template: str | None = None  # Jinja source
    tool_template: str | None = None  # the template used when a conversation has tools, where the model brings its own
    eos_ids: tuple[int, ...] = ()  # every id at which generation stops, the tokenizer's own eos first
    adds_bos: bool = False  # the tokenizer's convention: a text begins with bos
    name: str = "tokenizer"

    @property
    def bos(self) -> str | None:
        return self._known("bos_token")

    @property
    def leading_bos(self) -> str | None:
        """What running text begins with: bos where the tokenizer's convention says so."""
        return self.bos if self.adds_bos else None

    @property
    def eos(self) -> str | None:
        return self._known("eos_token")

    @property
    def pad(self) -> str | None:
        return self._known("pad_token")

    def _known(self, name: str) -> str | None:
        """The token of that name if the vocabulary really has it: a name without an id is of no use to anyone."""
        token = self.special.get(name)
        return token if token is not None and self.backend.token_to_id(token) is not None else None

    def id_of(self, token: str) -> int:
        """Raises UserError if the vocabulary lacks the token."""
        number = self.backend.token_to_id(token)
        if number is None:
            raise UserError(f"the tokenizer has no token {token!r}", where=self.name)
        return number

    @cached_property
    def size(self) -> int:
        """One past the largest id."""
        return max(self.backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @cached_property
    def added(self) -> dict[str, AddedToken]:
        """Every added token by its spelling, special or not."""
        return {token.content: token for token in self.backend.get_added_tokens_decoder().values()}

    @cached_property
    def control(self) -> dict[str, int]:
        """Spelling -> id of every control token: flagged special, or named as one. Text never becomes one of these."""
        tokens = [text for text, token in self.added.items() if token.special]
        tokens += [token for name in SPECIAL_NAMES if (token := self._known(name))]
        return {token: self.id_of(token) for token in dict.fromkeys(tokens)}

    @cached_property
    def control_ids(self) -> frozenset[int]:
        return frozenset(self.control.values())

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of `ids`, control tokens spelled out."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=False)

    @classmethod
    def from_directory(cls, path: str | Path) -> Vocabulary:
        """Read a tokenizer directory. Raises UserError where a file is missing or damaged."""
        folder = Path(path)
        file = folder / "tokenizer.json"
        if not file.is_file():
            mend = "a base needs a tokenizer.json (transformers writes one with AutoTokenizer.save_pretrained)"
            raise UserError("no tokenizer.json here", where=str(folder), mend=mend)
        try:
            backend = Tokenizer.from_file(str(file))
        except Exception as error:  # the Rust side raises bare Exception for every kind of damage
            raise UserError(f"not a tokenizer: {error}", where=str(file)) from error
        backend.no_truncation()
        backend.no_padding()
        config = _object(folder / "tokenizer_config.json")
        _add_configured_tokens(backend, config)
        special = _special_names(_object(folder / "special_tokens_map.json"), config)
        default, tool = _chat_templates(folder, config)
        return cls(
            backend=backend,
            special=special,
            chat_template=default,
            tool_template=tool,
            eos_ids=_eos_ids(backend, special, folder),
            adds_bos=_adds_bos(backend, special, config),
            name=folder.name,
        )


def chat_template_of(directory: Path) -> str | None:
    """The chat template of a tokenizer directory, without reading its tokens. Raises UserError for damaged files."""
    return _chat_templates(directory, _object(directory / "tokenizer_config.json"))[0]


def _object(file: Path) -> dict[str, Any]:
    """A JSON object, {} where the file is absent. Raises UserError where it is damaged."""
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"cannot be read: {error}", where=str(file)) from error
    if not isinstance(value, dict):
        raise UserError("must hold a JSON object", where=str(file))
    return value


def _spelling(value: Any) -> str | None:
    """A special token is written as a string or as {"content": string, ...}."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None


def _special_names(*sources: Mapping[str, Any]) -> dict[str, str]:
    """The named special tokens; later sources overrule earlier ones."""
    special: dict[str, str] = {}
    for source in sources:
        for name in SPECIAL_NAMES:
            if name in source:
                spelling = _spelling(source[name])
                if spelling is not None:
                    special[name] = spelling
                else:
                    special.pop(name, None)  # an explicit null: the base has no such token
    return special


def _add_configured_tokens(backend: Tokenizer, config: Mapping[str, Any]) -> None:
    """`added_tokens_decoder` may name tokens or flags that tokenizer.json lacks; transformers adds them, so do we."""
    known = backend.get_added_tokens_decoder()
    listed = config.get("added_tokens_decoder")
    if not isinstance(listed, dict):
        return
    for number, entry in sorted(listed.items(), key=lambda item: int(item[0]) if item[0].isdigit() else 0):
        spelling = _spelling(entry)
        if spelling is None or not number.isdigit():
            continue
        flags = {f: bool(entry.get(f, False)) for f in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        token, old = AddedToken(spelling, **flags), known.get(int(number))
        if old is None or repr(old) != repr(token):
            # Ids are given by the backend: an entry that would land on another id is left to the base's own file.
            expected = backend.token_to_id(spelling)
            if expected == int(number) or (expected is None and backend.get_vocab_size() == int(number)):
                (backend.add_special_tokens if token.special else backend.add_tokens)([token])


def _chat_templates(folder: Path, config: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(default, tool use). `chat_template.jinja` wins over the entry in tokenizer_config.json, as in transformers."""
    named: dict[str, str] = {}
    value = config.get("chat_template")
    if isinstance(value, str):
        named["default"] = value
    elif isinstance(value, list):
        for entry in value:
            if isinstance(entry, dict) and isinstance(entry.get("template"), str):
                named[str(entry.get("name"))] = entry["template"]
    file = folder / "chat_template.jinja"
    if file.is_file():
        named["default"] = file.read_text(encoding="utf-8")
    for extra in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        named[extra.stem] = extra.read_text(encoding="utf-8")
    return named.get("default"), named.get("tool_use")


def _eos_ids(backend: Tokenizer, special: Mapping[str, str], folder: Path) -> tuple[int, ...]:
    ids: list[int] = []
    eos = special.get("eos_token")
    number = backend.token_to_id(eos) if eos else None
    if number is not None:
        ids.append(number)
    for file in ("generation_config.json", "config.json"):
        value = _object(folder / file).get("eos_token_id")
        ids += [
            v for v in (value if isinstance(value, list) else [value]) if type(v) is int
        ]  # True is an int, and no id
    return tuple(dict.fromkeys(ids))


def _adds_bos(backend: Tokenizer, special: Mapping[str, str], config: Mapping[str, Any]) -> bool:
    bos = special.get("bos_token")
    number = backend.token_to_id(bos) if bos else None
    if number is None:
        return False
    if isinstance(config.get("add_bos_token"), bool):
        return config["add_bos_token"]
    return backend.encode("a", add_special_tokens=True).ids[:1] == [number]
