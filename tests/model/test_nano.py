"""The shipped nano base is the one that its card describes."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from camelid.data.bpe import END_OF_TEXT, TURN_END, TURN_START
from camelid.data.templates.formats import FORMATS
from camelid.data.vocabulary import Vocabulary

NANO = Path(str(resources.files("camelid"))) / "assets" / "nano"
ROW = re.compile(r"^\| `([^`]+)` \| ([\d,]+) \| `([0-9a-f]{64})` \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def card() -> str:
    return (NANO / "README.md").read_text("utf-8")


def test_files_are_those_of_the_card(card: str) -> None:
    listed = {name: (int(size.replace(",", "")), digest) for name, size, digest in ROW.findall(card)}
    shipped = {file.name: file for file in NANO.iterdir() if file.name != "README.md"}
    assert set(listed) == set(shipped)
    for name, file in shipped.items():
        assert listed[name] == (file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()), name


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in NANO.iterdir()) <= 6_000_000


def test_it_is_a_plain_llama_with_grouped_queries_and_tied_embeddings() -> None:
    config = json.loads((NANO / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["tie_word_embeddings"]
    assert 1 < config["num_key_value_heads"] < config["num_attention_heads"]


def test_its_vocabulary_speaks_chatml() -> None:
    vocabulary = Vocabulary.from_directory(NANO)
    assert vocabulary.control == {END_OF_TEXT: 0, TURN_START: 1, TURN_END: 2}
    assert vocabulary.eos_ids == (0, 2)
    assert vocabulary.chat_template == FORMATS["chatml"].source.lstrip("\n")


def test_the_card_names_licence_and_limits(card: str) -> None:
    for needed in ("CC BY-SA 4.0", "Loss of the first 100 steps", "bits per byte", "Limits"):
        assert needed in card


@pytest.mark.slow
def test_the_corpus_is_the_same_on_every_machine(card: str, shared_data: Path, tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "make_nano.py"
    subprocess.run([sys.executable, script, "prepare", shared_data, "--folder", tmp_path], check=True)
    for file in sorted(tmp_path.glob("*.jsonl")):
        assert hashlib.sha256(file.read_bytes()).hexdigest() in card, file.name
    assert (tmp_path / "base" / "tokenizer.json").read_bytes() == (NANO / "tokenizer.json").read_bytes()
