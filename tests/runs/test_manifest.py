"""The manifest: true hashes, honest code version, and no surprise about what changed."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import camelid
from camelid.errors import UserError
from camelid.runs import manifest as module
from camelid.runs.manifest import (
    code_version,
    describe_files,
    differences,
    hardware,
    hash_file,
    hash_text,
    make_manifest,
    package_versions,
    read_manifest,
)


def example(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "data": [{"file": "a", "sha256": "1"}, {"file": "b", "sha256": "2"}],
        "template": {"name": "chatml", "sha256": "3"},
        "base": {"label": "nano", "sha256": "4"},
        "seed": 1,
        "dtype": {"chosen": "float32"},
    }
    return make_manifest(**{**values, **changes})


def test_files_are_described_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{}\n" * 1000)
    entry = describe_files([tmp_path / "a.jsonl"], {str(tmp_path / "a.jsonl"): 1000})[0]
    assert entry == {
        "file": str(tmp_path / "a.jsonl"),
        "sha256": hashlib.sha256(b"{}\n" * 1000).hexdigest(),
        "bytes": 3000,
        "rows": 1000,
    }
    assert "rows" not in describe_files([tmp_path / "a.jsonl"])[0]
    assert hash_file(tmp_path / "a.jsonl") == (entry["sha256"], 3000)
    assert hash_text("模板") == hashlib.sha256("模板".encode()).hexdigest()


DIFFERENCES = [
    ({}, []),
    ({"data": [{"file": "a", "sha256": "9"}, {"file": "b", "sha256": "2"}]}, ["data: a changed"]),
    ({"data": [{"file": "a", "sha256": "1"}]}, ["data: b changed"]),
    ({"data": [{"file": "b", "sha256": "2"}, {"file": "a", "sha256": "1"}]}, ["data: other row counts changed"]),
    ({"eval_data": [{"file": "c", "sha256": "5"}]}, ["eval_data: c changed"]),
    ({"seed": 2}, ["seed was 1, is 2"]),
    ({"template": {"name": "llama3", "sha256": "3"}}, ["template: name was chatml, is llama3"]),
    ({"dtype": {"chosen": "bfloat16"}, "accelerators": ["H100"], "step": 40}, []),
]


@pytest.mark.parametrize(("changes", "expected"), DIFFERENCES, ids=[str(list(change)) for change, _ in DIFFERENCES])
def test_only_changed_inputs_are_differences(changes: dict[str, Any], expected: list[str]) -> None:
    earlier = json.loads(json.dumps(example()))
    assert differences(earlier, example(**changes)) == expected


def test_the_code_version_is_that_of_this_repository() -> None:
    folder = Path(camelid.__file__).parent
    commit = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    version = code_version()
    assert version["camelid"] == camelid.__version__
    assert version["commit"] == (commit.stdout.strip() or None)


def test_inside_somebody_elses_repository_no_commit_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / ".venv" / "camelid"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "errors.py").write_text("")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    monkeypatch.setattr(camelid, "__file__", str(package / "__init__.py"))
    assert (code_version()["commit"], code_version()["modified"]) == (None, None)


def test_without_git_there_is_simply_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*arguments: Any, **keywords: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(module.subprocess, "run", absent)
    assert code_version()["commit"] is None


def test_versions_and_hardware_name_what_matters() -> None:
    assert {"python", "torch", "transformers", "numpy"} <= set(package_versions())
    assert "no-such-package" not in package_versions(["no-such-package"])
    described = hardware(["NVIDIA H100"])
    assert described["line"].endswith("NVIDIA H100, Linux") or "NVIDIA H100" in described["line"]
    assert described["cores"] >= 1
    assert described["memory_bytes"] > 2**28
    assert "no GPU" in hardware()["line"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 99}', b"\xff", b"[" * 100_000])
def test_an_unreadable_manifest_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json"):
        read_manifest(tmp_path / "manifest.json")
