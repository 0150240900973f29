"""`camelid plan`: what it says is what a run then needs; what cannot fit is refused with edits that do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from program import camelid, recipe_file
from tiny import tiny_base

from camelid.train.plan.machines import parse_memory


def planned(recipe: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """(exit code, the plan, standard error)."""
    code, out, err = camelid("plan", recipe, *arguments, "--json")
    return code, json.loads(out) if out else {}, err


def values(file: Path) -> int:
    """Bytes of the tensors in a safetensors file."""
    content = file.read_bytes()
    return len(content) - 8 - int.from_bytes(content[:8], "little")


SUBJECTS: list[dict[str, Any]] = [
    {"method": "lora"},
    {"method": "ptuning2", "base": "qwen3"},
    {"method": "freeze", "freeze": {"last_layers": 1}, "optim": "muon"},
]
MORE: list[dict[str, Any]] = [
    {"method": "full"},
    {"method": "ptuning", "base": "mistral"},
    {"method": "full", "base": "glm4", "optim": "adafactor", "gradient_checkpointing": True},
]


@pytest.mark.parametrize(
    "fields",
    [*SUBJECTS, *(pytest.param(f, marks=pytest.mark.slow) for f in MORE)],
    ids=lambda f: "-".join(str(v) for v in f.values()),
)
def test_sizes_are_exact(fields: dict[str, Any], tmp_path: Path) -> None:
    """Parameters, tokens and bytes on the disk equal those of the run."""
    base = str(tiny_base(fields.get("base", "llama")))
    recipe = recipe_file(tmp_path, **{**fields, "base": base, "save_steps": 1})
    code, plan, err = planned(recipe)
    assert code == 0, err
    assert not (tmp_path / "run").exists()
    code, out, err = camelid("train", recipe, "--json")
    assert code == 0, err
    run = json.loads(out)
    assert plan["parameters"] == run["parameters"]
    assert plan["trained_parameters"] == run["trained_parameters"]
    assert plan["time"]["steps"] == run["steps"] == 3
    assert plan["time"]["useful_tokens"] == run["useful_tokens"]
    assert plan["time"]["computed_tokens"] == run["computed_tokens"]
    assert plan["disk"]["final_bytes"] == sum(map(values, (tmp_path / "run" / "final").glob("*.safetensors")))
    kept = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert len(kept) == plan["disk"]["checkpoints"] == 2
    assert plan["disk"]["checkpoint_bytes"] == sum(map(values, kept[-1].glob("*.safetensors")))


def described_base(folder: Path, **shape: int) -> Path:
    """A base of another shape, its configuration and tokenizer alone: a plan needs no weights."""
    target = folder / "base"
    shutil.copytree(tiny_base(), target, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "head_dim": None, **shape}))
    return target


@pytest.mark.slow
def test_a_recipe_that_cannot_fit_is_refused_with_edits_that_do(tmp_path: Path) -> None:
    base = described_base(tmp_path, hidden_size=512, intermediate_size=1408, num_hidden_layers=16)
    recipe = recipe_file(tmp_path, base=str(base), method="full")
    code, plan, err = planned(recipe, "--memory=1.3GB")
    assert code == 2
    assert not plan["fits"]
    last = err.strip().splitlines()[-1]
    assert last.startswith("camelid: ")
    assert ["method=lora"] in [edit["overrides"] for edit in plan["edits"]]
    for edit in plan["edits"]:
        assert " ".join(edit["overrides"]) in last
        code, again, err = planned(recipe, *edit["overrides"], "--memory=1.3GB")
        assert code == 0, err
        assert again["fits"]
        assert again["memory"]["peak_memory_bytes"] == pytest.approx(edit["peak_memory_bytes"], rel=0.15)


def test_what_no_edit_can_mend_is_said(tmp_path: Path) -> None:
    code, plan, err = planned(recipe_file(tmp_path), "--memory", "20MB")
    assert code == 2
    assert plan["edits"] == []
    assert "smaller base" in err


def test_a_named_gpu(tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, dtype="auto")
    code, plan, _ = planned(recipe, "--gpu", "rtx4090")
    assert code == 0
    assert plan["machine"] == {"name": "RTX 4090", "memory_bytes": round(24e9 - 0.7e9), "dtype": "bfloat16"}
    assert not plan["time"]["measured"]
    assert plan["money"]["label"] == "RTX 4090, rented"
    code, _, err = planned(recipe, "--gpu", "RTX 4091")
    assert code == 2
    assert "did you mean 'RTX 4090'?" in err


def test_the_table_names_what_is_asked(tmp_path: Path) -> None:
    code, out, _ = camelid("plan", recipe_file(tmp_path, eval_fraction=0.2, retention=True))
    assert code == 0
    for word in ("memory", "the program itself", "time", "disk", "download", "money", "evaluations", "forgotten"):
        assert word in out


@pytest.mark.parametrize(
    ("text", "size"), [("8GB", 8e9), ("512 MiB", 512 * 2**20), ("1.5g", 1.5e9)], ids=["GB", "MiB", "g"]
)
def test_sizes_of_memory(text: str, size: float) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["much", "-3GB", "0"])
def test_no_size_of_memory(text: str, tmp_path: Path) -> None:
    code, _, err = planned(recipe_file(tmp_path), f"--memory={text}")
    assert code == 2
    assert "8GB" in err


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_peak_of_a_real_run_is_the_planned_one(method: str, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, base="smollm2", method=method, learning_rate=1e-4, max_steps=2)
    results = {}
    for verb in ("plan", "train"):
        command = [sys.executable, "-m", "camelid", verb, str(recipe), "--json"]
        results[verb] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    ratio = results["plan"]["memory"]["peak_memory_bytes"] / results["train"]["peak_memory_bytes"]
    assert 0.9 < ratio < 1.1
