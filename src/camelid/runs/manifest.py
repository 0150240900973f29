"""manifest.json: everything that a run was made from, by hash, so that it can be made again or found to differ.

The answer to "which data, which template, which code was this?", written by each run without being asked.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

import camelid
from camelid.errors import UserError

FORMAT = 1
# What must not change between two starts of one run; the rest (machine, versions) may, and is kept per start.
FIXED = ("data", "eval_data", "template", "base", "seed")
PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "safetensors",
    "numpy",
    "pydantic",
    "pyarrow",
    "gguf",
    "jinja2",
)


def make_manifest(
    *,
    data: Sequence[Mapping[str, Any]],
    eval_data: Sequence[Mapping[str, Any]] = (),
    template: Mapping[str, Any],
    base: Mapping[str, Any],
    seed: int,
    dtype: Mapping[str, Any],
    now: str | None = None,
    accelerators: Sequence[str] = (),
    step: int = 0,
) -> dict[str, Any]:
    """The manifest of one start.

    `data`, `eval_data`: see `describe_files`. `template`: {"name", "sha256"}. `base`: {"label", "sha256", ...}.
    `dtype`: the measurement behind the compute type, for example {"chosen": "float32", "float32_gflops": 180.0, ...}.
    `now`: the time that the template was told. `accelerators`: names of the GPUs used, from whoever may import torch.
    `step`: where this start begins.
    """
    return {
        "format": FORMAT,
        "data": [dict(file) for file in data],
        "eval_data": [dict(file) for file in eval_data],
        "template": dict(template),
        "base": dict(base),
        "seed": seed,
        "start": {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "step": step,
            "code": code_version(),
            "packages": package_versions(),
            "hardware": hardware(accelerators),
            "dtype": dict(dtype),
            "now": now,
        },
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """Raises UserError if it is unreadable."""
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError("the manifest is unreadable", where=str(path), mend="choose another output_dir") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(
            "the manifest is of another version of Camelid", where=str(path), mend="choose another output_dir"
        )
    return manifest


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of the fixed inputs has changed, one phrase each."""
    changed = []
    for key in FIXED:
        before, after = earlier.get(key), json.loads(json.dumps(now.get(key)))
        if before == after:
            continue
        if key in ("data", "eval_data") and isinstance(before, list) and isinstance(after, list):
            hashes = {str(file.get("file")): file.get("sha256") for file in before}
            names = [
                str(file.get("file")) for file in after if hashes.pop(str(file.get("file")), None) != file.get("sha256")
            ]
            changed.append(f"{key}: {', '.join([*names, *hashes][:3]) or 'other row counts'} changed")
        elif isinstance(before, Mapping) and isinstance(after, Mapping):
            fields = [name for name in {**before, **after} if before.get(name) != after.get(name)]
            changed.append(f"{key}: {', '.join(f'{f} was {before.get(f)}, is {after.get(f)}' for f in fields[:2])}")
        else:
            changed.append(f"{key} was {before}, is {after}")
    return changed


def describe_files(files: Iterable[Path], rows: Mapping[str, int] | None = None) -> list[dict[str, Any]]:
    """[{"file", "sha256", "bytes", "rows"}] for data files; `rows`: file as given -> rows kept. Raises OSError."""
    described = []
    for file in files:
        digest, size = hash_file(file)
        entry: dict[str, Any] = {"file": str(file), "sha256": digest, "bytes": size}
        if rows is not None and str(file) in rows:
            entry["rows"] = rows[str(file)]
        described.append(entry)
    return described


def hash_file(path: Path) -> tuple[str, int]:
    """(sha256 in hex, bytes)."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()


def hash_text(text: str) -> str:
    """sha256 in hex of a template or any other text."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of the packages that a result can depend on, those that are installed."""
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def code_version() -> dict[str, Any]:
    """{"camelid": version, "commit": hash or None, "modified": whether files differ from that commit, or None}."""
    folder = Path(camelid.__file__).resolve().parent
    # An installed package may lie inside somebody else's repository (a .venv in it): only a tracked one counts.
    tracked = _git(folder, "ls-files", "--error-unmatch", "errors.py")
    commit = _git(folder, "rev-parse", "HEAD") if tracked is not None else None
    status = _git(folder, "status", "--porcelain", "--", ".") if commit else None
    return {
        "camelid": importlib.metadata.version("camelid"),
        "commit": commit,
        "modified": None if status is None else bool(status),
    }


def hardware(accelerators: Sequence[str] = ()) -> dict[str, Any]:
    """One line for people, and its parts: processor, cores this process may use, memory in bytes, accelerators."""
    processor = _processor()
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    memory = psutil.virtual_memory().total
    devices = ", ".join(accelerators) if accelerators else "no GPU"
    plural = "" if cores == 1 else "s"
    line = f"{processor}, {cores} core{plural}, {memory / 2**30:.0f} GiB, {devices}, {platform.system()}"
    return {
        "line": line,
        "processor": processor,
        "cores": cores,
        "memory_bytes": memory,
        "accelerators": list(accelerators),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown processor"


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, or None where there is no git, no repository, or no answer within five seconds."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
