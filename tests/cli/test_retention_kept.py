"""What a base can do before training is asked once: by whom again, and what makes it be asked anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from program import camelid, recipe_file
from tiny import tiny_base, tiny_model

from camelid.cli import retention
from camelid.evaluate import exam, general
from camelid.evaluate.retention import load_questions
from camelid.model import quantised_load


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each measurement, a short one; everything is worth keeping, in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(retention, "_WORTH_KEEPING", 0.0)
    questions = load_questions()[:3]
    monkeypatch.setattr(general, "load_questions", lambda: questions)
    monkeypatch.setattr(general, "SKILL_ROWS", 4)
    for language in exam.TEXT_TOKENS:
        monkeypatch.setitem(exam.TEXT_TOKENS, language, 1)
    calls: list[None] = []
    measure = retention.measure_general

    def counted(*arguments: object, **named: object) -> object:
        calls.append(None)
        return measure(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(retention, "measure_general", counted)
    return calls


def _train(folder: Path, name: str, **fields: object) -> tuple[str, str]:
    """(what it said, its before.json)."""
    run = folder / name
    values = {"max_steps": 1, "method": "lora", "retention": True, "output_dir": str(run), **fields}
    code, _, err = camelid("train", recipe_file(folder, **values), "--json")
    assert code == 0, err
    return err, (run / "before.json").read_text()


def _kept(folder: Path) -> list[Path]:
    return sorted((folder / "cache/camelid/measured").glob("*"))


def test_a_base_is_asked_once(tmp_path: Path, measured: list[None]) -> None:
    said, before = _train(tmp_path, "first")
    assert "measuring general text" in said
    assert len(measured) == 2, "before and after"
    said, again = _train(tmp_path, "second", learning_rate=3e-2, seed=7, lora={"r": 4})
    assert len(measured) == 3, "after"
    (file,) = _kept(tmp_path)
    assert str(file) in said
    assert "measuring general text" not in said
    assert again == before
    assert _train(tmp_path, "full", method="full", max_length=200)[1] == before
    assert len(measured) == 4
    shutil.rmtree(tmp_path / "cache")
    assert _train(tmp_path, "alone", seed=7)[1] == before
    assert len(measured) == 6


def _copy(folder: Path) -> Path:
    return Path(shutil.copytree(tiny_base(), folder / "base"))


def _other_weights(folder: Path) -> dict[str, object]:
    base = _copy(folder)
    tiny_model("llama", seed=5).save_pretrained(base)
    return {"base": str(base)}


def _other_config(folder: Path) -> dict[str, object]:
    file = _copy(folder) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rms_norm_eps": 0.1}))
    return {"base": str(file.parent)}


def _other_template(folder: Path) -> dict[str, object]:
    file = _copy(folder) / "tokenizer_config.json"
    config = json.loads(file.read_text())
    config["chat_template"] = config["chat_template"].replace("message['content'] +", "message['content'] + '!' +")
    file.write_text(json.dumps(config))
    return {"base": str(file.parent)}


def _bfloat16(folder: Path) -> dict[str, object]:
    return {"dtype": "bfloat16"}


def _four_bits(folder: Path) -> dict[str, object]:
    return {"quantization": "4bit"}


@pytest.mark.parametrize("change", [_other_weights, _other_config, _other_template, _bfloat16, _four_bits])
def test_another_base_is_asked_anew(
    tmp_path: Path, measured: list[None], change: Callable[[Path], dict[str, object]]
) -> None:
    _train(tmp_path, "first")
    _train(tmp_path, "second", **change(tmp_path))
    assert len(measured) == 4
    assert len(_kept(tmp_path)) == 2


def test_other_bits_are_asked_anew(tmp_path: Path, measured: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
    _train(tmp_path, "first", quantization="4bit")
    own = quantised_load.bits_of
    monkeypatch.setattr(quantised_load, "bits_of", lambda *a, **k: dict.fromkeys(own(*a, **k), 8))
    _train(tmp_path, "second", quantization="4bit")
    assert len(measured) == 4


def test_a_damaged_file_is_named_and_made_anew(tmp_path: Path, measured: list[None]) -> None:
    before = _train(tmp_path, "first")[1]
    (file,) = _kept(tmp_path)
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    said, again = _train(tmp_path, "second")
    assert f"WARNING: {file} cannot be read" in said
    assert len(measured) == 4
    assert again == before
    assert file.read_text() == whole


def test_a_cache_that_takes_nothing_ends_no_run(tmp_path: Path, measured: list[None]) -> None:
    (tmp_path / "cache").write_text("a file, where a folder should be")
    said, _ = _train(tmp_path, "first")
    assert "could not be kept" in said
    assert len(measured) == 2


def test_what_is_measured_at_once_is_not_kept(
    tmp_path: Path, measured: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_WORTH_KEEPING", 1e9)
    _train(tmp_path, "first")
    assert not _kept(tmp_path)
