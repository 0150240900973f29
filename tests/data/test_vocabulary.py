"""A tokenizer directory as bases have it: what is read, which file wins, and what is at fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cases.templates import zoo
from tokenizers import Tokenizer, processors

from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small base: tokenizer.json with </s> and <s> as special tokens."""
    zoo.vocabulary_named("tiny", None).backend.save(str(tmp_path / "tokenizer.json"))
    write(tmp_path, "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>", "pad_token": None})
    return tmp_path


def write(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def test_the_plain_case(folder: Path) -> None:
    vocabulary = Vocabulary.from_directory(folder)
    assert (vocabulary.bos, vocabulary.eos, vocabulary.pad) == ("<s>", "</s>", None)
    assert vocabulary.eos_ids == (vocabulary.id_of("</s>"),)
    assert vocabulary.chat_template is None
    assert not vocabulary.adds_bos
    assert vocabulary.size == vocabulary.backend.get_vocab_size()
    assert vocabulary.control["<|im_end|>"] in vocabulary.control_ids
    assert vocabulary.decode(vocabulary.backend.encode("你好 <|im_end|>").ids) == "你好 <|im_end|>"


def test_special_tokens_written_as_objects(folder: Path) -> None:
    write(folder, "special_tokens_map.json", {"bos_token": {"content": "<s>", "lstrip": False}, "unk_token": "<unk>"})
    write(folder, "tokenizer_config.json", {"eos_token": {"__type": "AddedToken", "content": "<|im_end|>"}})
    vocabulary = Vocabulary.from_directory(folder)
    assert dict(vocabulary.special) == {"bos_token": "<s>", "unk_token": "<unk>", "eos_token": "<|im_end|>"}


def test_tokenizer_config_overrules_the_special_tokens_map(folder: Path) -> None:
    write(folder, "special_tokens_map.json", {"eos_token": "<|im_end|>", "pad_token": "<unk>"})
    vocabulary = Vocabulary.from_directory(folder)
    assert vocabulary.eos == "</s>"
    assert vocabulary.pad is None  # an explicit null


def test_a_named_token_that_is_not_in_the_vocabulary_is_none(folder: Path) -> None:
    write(folder, "tokenizer_config.json", {"eos_token": "<nowhere>"})
    vocabulary = Vocabulary.from_directory(folder)
    assert vocabulary.eos is None
    assert vocabulary.eos_ids == ()
    with pytest.raises(UserError, match="no token '<nowhere>'"):
        vocabulary.id_of("<nowhere>")


def test_every_end_token_of_generation_config_stops(folder: Path) -> None:
    write(folder, "generation_config.json", {"eos_token_id": [7, 5, 7]})
    write(folder, "config.json", {"eos_token_id": 9})
    vocabulary = Vocabulary.from_directory(folder)
    assert vocabulary.eos_ids == (vocabulary.id_of("</s>"), 7, 5, 9)


def test_the_template_file_overrules_the_entry(folder: Path) -> None:
    config = {"eos_token": "</s>", "chat_template": "old"}
    write(folder, "tokenizer_config.json", config)
    assert Vocabulary.from_directory(folder).chat_template == "old"
    write(folder, "chat_template.jinja", "new\n")
    assert Vocabulary.from_directory(folder).chat_template == "new\n"


def test_named_templates_in_a_list_or_a_folder(folder: Path) -> None:
    templates = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    write(folder, "tokenizer_config.json", {"eos_token": "</s>", "chat_template": templates})
    vocabulary = Vocabulary.from_directory(folder)
    assert (vocabulary.chat_template, vocabulary.tool_template) == ("plain", "tools")
    (folder / "additional_chat_templates").mkdir()
    write(folder / "additional_chat_templates", "tool_use.jinja", "newer")
    assert Vocabulary.from_directory(folder).tool_template == "newer"


def test_whether_texts_begin_with_bos(folder: Path) -> None:
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    number = backend.token_to_id("<s>")
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", number)])
    backend.save(str(folder / "tokenizer.json"))
    assert Vocabulary.from_directory(folder).adds_bos
    write(folder, "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False})
    assert not Vocabulary.from_directory(folder).adds_bos


def test_tokens_that_only_the_config_names_are_added(folder: Path) -> None:
    size = Vocabulary.from_directory(folder).size
    entry = {"content": "<extra>", "special": True, "lstrip": False, "rstrip": True, "normalized": False}
    far = {"content": "<far>", "special": True}
    added = {str(size): entry, str(size + 40): far, "nonsense": entry, str(size + 1): {"no": "content"}}
    write(folder, "tokenizer_config.json", {"eos_token": "</s>", "added_tokens_decoder": added})
    vocabulary = Vocabulary.from_directory(folder)
    assert vocabulary.control["<extra>"] == size
    assert vocabulary.added["<extra>"].rstrip
    assert "<far>" not in vocabulary.control  # its id would not be the one that the config says


def test_flags_in_the_config_overrule_the_file(folder: Path) -> None:
    number = Vocabulary.from_directory(folder).id_of("<|im_end|>")
    entry = {"content": "<|im_end|>", "special": False, "rstrip": True}
    added = {str(number): entry}
    write(folder, "tokenizer_config.json", {"eos_token": "</s>", "added_tokens_decoder": added})
    assert Vocabulary.from_directory(folder).added["<|im_end|>"].rstrip


def test_padding_and_truncation_of_the_file_are_off(folder: Path) -> None:
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.enable_truncation(2)
    backend.enable_padding(length=50)
    backend.save(str(folder / "tokenizer.json"))
    assert len(Vocabulary.from_directory(folder).backend.encode("a b c d e").ids) == 9


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tokenizer.json", None, "no tokenizer.json here"),
        ("tokenizer.json", "{}", "not a tokenizer"),
        ("tokenizer_config.json", "{", "cannot be read"),
        ("tokenizer_config.json", "[1]", "must hold a JSON object"),
        ("generation_config.json", "nan?", "cannot be read"),
    ],
)
def test_faults_name_the_file(folder: Path, name: str, value: str | None, message: str) -> None:
    if value is None:
        (folder / name).unlink()
    else:
        write(folder, name, value)
    with pytest.raises(UserError, match=message) as caught:
        Vocabulary.from_directory(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("value", [{"eos_token_id": "2"}, {"eos_token_id": None}, {"eos_token_id": [True, None, 3.5]}])
def test_odd_values_are_not_ids(folder: Path, value: Any) -> None:
    write(folder, "generation_config.json", value)
    vocabulary = Vocabulary.from_directory(folder)
    assert vocabulary.eos_ids == (vocabulary.id_of("</s>"),)
