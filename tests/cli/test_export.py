"""`camelid export` from the command line: what is written loads elsewhere, and what fails leaves nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import tiny_base
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from camelid.cli import export_gguf
from camelid.cli.export import ExportOptions, _sweep, _target
from camelid.cli.main import app
from camelid.errors import UserError
from camelid.model import export as model_export
from camelid.model.gguf import GGUFFile
from camelid.model.llama_runtime import llama_cpp_installed
from camelid.model.task_info import TaskInfo

needs_llama_cpp = pytest.mark.skipif(
    not llama_cpp_installed(), reason="llama-cpp-python is not installed (pip install '.[gguf]')"
)
FEW = ["--check-prompts", "3", "--check-strings", "40"]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@cache
def adapter() -> Path:
    """A PEFT adapter on the tiny base, its B no longer zero."""
    folder = Path(mkdtemp(prefix="tiny-adapter-"))
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    peft: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_base()), config)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    peft.peft_config["default"].base_model_name_or_path = str(tiny_base())
    peft.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["export", *arguments, *FEW])


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 60)[None]).logits


def test_an_adapter_is_merged_into_a_directory_that_transformers_loads(tmp_path: Path) -> None:
    result = run(str(tiny_base()), "--format", "hf", "--adapter", str(adapter()), "--output", "out", "--json")
    assert result.exit_code == 0, result.output
    note = json.loads(result.stdout)
    assert [check["holds"] for check in note["checks"]] == [True] * len(note["checks"])
    names = [check["name"] for check in note["checks"]]
    assert names[:2] == ["merged = unmerged", "weights"]
    assert note["checks"][0]["figures"]["unmerged_exactly"] is True
    from peft import PeftModel

    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base()), str(adapter()))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    torch.testing.assert_close(logits(merged), logits(theirs), rtol=1e-5, atol=1e-5)
    assert merged.generation_config.eos_token_id[0] == 2
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "passed: merged = unmerged" in card
    assert "用 Camelid 做的对话模型" in card


def test_a_model_that_answers_with_classes_is_still_scored(tmp_path: Path) -> None:
    info = TaskInfo("classify", ("bad", "good"), "words", "en", {"0": "bad", "1": "good"})
    info.save(Path(shutil.copytree(adapter(), tmp_path / "tuned")))
    result = run("tuned", "--format", "hf", "--output", "out")
    assert result.exit_code == 0, result.output
    assert TaskInfo.load(tmp_path / "out") == info
    assert "camelid eval out FILE" in (tmp_path / "out" / "README.md").read_text("utf-8")
    (tmp_path / "rows.jsonl").write_text('{"text": "fine", "label": 1}\n{"text": "poor", "label": 0}\n')
    scores = [CliRunner().invoke(app, ["eval", model, "rows.jsonl", "--json"]) for model in ("tuned", "out")]
    before, after = (json.loads(score.stdout) for score in scores)
    assert {**before, "model": ""} == {**after, "model": ""}
    assert after["task"] == "classify"


@pytest.mark.parametrize("kind", ["bf16", "f16"])
def test_a_half_precision_directory_has_shards_and_is_what_it_says(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_export.write_hf, "__kwdefaults__", {"shard_size": "100KB"})
    result = run(str(tiny_base()), "--format", "hf", "--quantise", kind, "--output", "out")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == {"bf16": "bfloat16", "f16": "float16"}[kind]


@needs_llama_cpp
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_a_gguf_file_with_everything_beside_it(tmp_path: Path, architecture: str) -> None:
    result = run(str(tiny_base(architecture)), "--format", "gguf", "--output", "out", "--json")
    assert result.exit_code == 0, result.output
    note = json.loads(result.stdout)
    names = [check["name"] for check in note["checks"]]
    assert names == [
        "stored weights",
        "tokens in llama.cpp",
        "chat template in llama-cpp-python",
        "answers as before",
        "llama.cpp: logits",
        "llama.cpp: greedy answers",
    ]
    assert note["checks"][-1]["figures"]["identical"] == 3
    (file,) = (tmp_path / "out").glob("*.gguf")
    text = (tmp_path / "out" / "Modelfile").read_text()
    assert text.startswith(f"FROM ./{file.name}\nTEMPLATE ")
    assert 'PARAMETER stop "<|im_end|>"' in text


@needs_llama_cpp
def test_llama_cpps_quantiser_and_the_rise_of_perplexity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_gguf, "perplexity_texts", lambda: ["Hello there, how are you? 你好，世界。" * 3])
    result = run(str(tiny_base()), "--format", "gguf", "--quantise", "Q5_0", "--output", "out", "--json")
    assert result.exit_code == 0, result.output
    rise = next(check for check in json.loads(result.stdout)["checks"] if check["name"] == "perplexity")
    assert rise["figures"]["before"] > 1
    assert abs(rise["figures"]["rise"]) < 0.1
    figures = {"before": 0, "after": 0, "lost": 0, "gained": 0, "asked": 3}
    assert figures in [check["figures"] for check in json.loads(result.stdout)["checks"]]
    assert [path.name for path in (tmp_path / "out").glob("*.f32")] == []


@needs_llama_cpp
def test_an_adapter_alone_is_compared_on_its_base(tmp_path: Path) -> None:
    result = run(str(adapter()), "--format", "gguf", "--lora-only", "--output", "out", "--json")
    assert result.exit_code == 0, result.output
    with GGUFFile(next((tmp_path / "out").glob("*.gguf"))) as file:
        assert file.metadata["general.type"] == "adapter"
        assert file.metadata["adapter.lora.alpha"] == 8.0
        assert {name.rpartition(".")[2] for name in file.tensors} == {"lora_a", "lora_b"}
    assert not (tmp_path / "out" / "base.gguf").exists()
    assert "ADAPTER ./" in (tmp_path / "out" / "Modelfile").read_text()
    assert json.loads(result.stdout)["checks"][-1]["figures"]["identical"] == 3


def test_without_llama_cpp_the_file_is_written_and_what_was_not_compared_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_gguf, "llama_cpp_installed", lambda: False)
    result = run(str(tiny_base()), "--format", "gguf", "--quantise", "q8_0", "--output", "out")
    assert result.exit_code == 0, result.output
    assert "SKIP  not compared in llama.cpp, which is not installed" in result.output
    assert "note: not compared in llama.cpp" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_a_comparison_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_gguf, "STORED_BOUNDS", {"F16": 1e-9, "F32": 1e-9})
    result = run(str(tiny_base()), "--format", "gguf", "--output", "out")
    assert result.exit_code == 2
    assert "FAIL  stored weights" in result.output
    assert "nothing is kept" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export_gguf, "write_model", full)
    result = run(str(tiny_base()), "--format", "gguf", "--output", "out")
    assert result.exit_code == 2
    assert "camelid: out: not saved, the disk is full (No space left on device)" in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_seen_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = model_export.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(model_export.shutil, "disk_usage", lambda _: usage)
    result = run(str(tiny_base()), "--format", "hf", "--output", "out")
    assert result.exit_code == 2
    assert "GB are free" in result.output


REFUSED = [
    (["--format", "gguf", "--quantise", "q3_x"], "no quantisation is called 'q3_x'"),
    (["--format", "hf", "--quantise", "q8_0"], "a Hugging Face directory is written as f32, bf16, f16"),
    (["--format", "hf", "--lora-only"], "--lora-only is for --format gguf"),
    (["--format", "gguf", "--lora-only"], "this model has no adapter"),
    (["--format", "gguf", "--output", "full"], "there is something else already"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    result = run(str(tiny_base()), *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_nano_is_refused_as_gguf_with_the_reason() -> None:
    result = run("nano", "--format", "gguf")
    assert result.exit_code == 2
    assert "llama.cpp has no name for the way in which it cuts text" in result.output
    assert "--format hf" in result.output


def test_what_a_killed_export_left_is_removed_and_a_running_ones_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, alive = (tmp_path / f".out.partial-{pid}" for pid in (ended.pid, os.getpid()))
    for folder in (dead, alive):
        folder.mkdir()
    _sweep(tmp_path / "out")
    assert (dead.exists(), alive.exists()) == (False, True)


def test_an_export_may_replace_an_export(tmp_path: Path) -> None:
    options = ExportOptions("nano", "hf")
    assert _target(options, "f32") == Path("exports/nano-hf-f32")
    former = tmp_path / "exports" / "nano-hf-f32"
    former.mkdir(parents=True)
    (former / "old.bin").write_text("")
    with pytest.raises(UserError, match="something else"):
        _target(options, "f32")
    (former / "export.json").write_text("{}")
    assert _target(options, "f32").is_dir()


@needs_llama_cpp
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("f16", 45), ("q8_0", 15), ("q4_k_m", 0)])
def test_the_real_base_answers_as_before(
    tmp_path: Path, kind: str, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the converted base of this machine
    monkeypatch.chdir(tmp_path)
    arguments = ["export", "smollm2", "--format", "gguf", "--quantise", kind, "--output", "out", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--check-prompts", "50", "--check-strings", "2000"])
    assert result.exit_code == 0, result.output
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["tokens in llama.cpp"]["figures"] == {"strings": 2000, "different": 0}
    assert checks["answers as before"]["figures"]["identical"] >= least
