"""Directories: which files of one are the data, and which split they belong to.

A directory of one's own files, a data set repository of the Hugging Face hub (shards named by split, perhaps described
in the front matter of README.md), or what `datasets` wrote with `save_to_disk`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from camelid.data.readers import PLAIN_TEXT, STRUCTURED, kind_of
from camelid.errors import UserError

_NOT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "package.json"}
_NOT_TEXT = re.compile(r"readme|licen[cs]e|copying|notice|requirements|changelog|citation", re.IGNORECASE)
_SPLIT = re.compile(
    r"(?:^|[\W_])(?:(train|training)|(validation|valid|val|dev)|(test|testing|eval|evaluation))(?=[\W_\d]|$)",
    re.IGNORECASE,
)


def files_of(directory: Path, split: str | None, config: str | None) -> tuple[list[Path], str]:
    """The data files of a directory in order, and a remark for the user ("" where nothing was left out).

    Raises `UserError` when there are none, or none of that split.
    """
    described = _described(directory, config)
    if described is None and config is not None:
        raise UserError(f"README.md describes no configuration {config!r}", where=str(directory))
    if described is None:
        found = _data_files(directory)
        described = _by_split(directory, found) or {"": found}
    splits = [name for name in described if name]
    if split is not None and split not in described:
        raise UserError(f"has no split {split!r}", where=str(directory), mend=f"it has {', '.join(splits) or 'none'}")
    if split is None and "train" in described and len(described) > 1:
        return described["train"], f"split train of {', '.join(splits)}"
    chosen = described[split] if split is not None else [file for files in described.values() for file in files]
    if not chosen:
        kinds = " ".join(sorted(STRUCTURED | PLAIN_TEXT))
        raise UserError("holds no data files", where=str(directory), mend=f"known kinds: {kinds}")
    return chosen, ""


def _data_files(directory: Path) -> list[Path]:
    files = sorted(path for path in directory.rglob("*") if path.is_file() and _is_data(path.relative_to(directory)))
    for state in directory.rglob("state.json"):
        _check_indices(state)
    structured = [path for path in files if kind_of(path) in STRUCTURED]
    return structured or [path for path in files if kind_of(path) in PLAIN_TEXT and not _NOT_TEXT.search(path.name)]


def _is_data(path: Path) -> bool:
    if any(part.startswith((".", "__")) for part in path.parts) or path.name in _NOT_DATA:
        return False
    return not path.name.startswith("cache-")  # what `datasets` leaves behind beside its Arrow files


def _check_indices(state: Path) -> None:
    """Refuse a saved data set that is a selection of its own files: reading the files would undo the selection."""
    try:
        content = json.loads(state.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot be read: {error}", where=str(state)) from error
    if isinstance(content, dict) and (content.get("_indices_data_files") or content.get("_indices_files")):
        raise UserError(
            "is a selection of its files", where=str(state.parent), mend="save it again after flatten_indices()"
        )


def _by_split(directory: Path, files: list[Path]) -> dict[str, list[Path]] | None:
    """Files by the split that their names tell, when every one of them tells one."""
    splits: dict[str, list[Path]] = {}
    for path in files:
        found = _SPLIT.search(path.relative_to(directory).as_posix())
        if not found:
            return None
        name = ("train", "validation", "test")[next(i for i, group in enumerate(found.groups()) if group)]
        splits.setdefault(name, []).append(path)
    return splits


def _described(directory: Path, config: str | None) -> dict[str, list[Path]] | None:
    """Files by split as the front matter of README.md says (`configs: [{config_name, data_files}]`), if it does."""
    readme = directory / "README.md"
    if not readme.is_file():
        return None
    front = re.match(r"---\r?\n(.*?)\r?\n---", readme.read_text("utf-8", errors="replace"), re.DOTALL)
    try:
        matter = yaml.safe_load(front.group(1)) if front else None
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"its front matter is no YAML: {' '.join(str(error).split())}", where=str(readme)) from error
    configs = matter.get("configs") if isinstance(matter, dict) else None
    configs = [c for c in configs if isinstance(c, dict) and "data_files" in c] if isinstance(configs, list) else []
    if not configs:
        return None
    chosen = _choose(configs, config, directory)
    splits: dict[str, list[Path]] = {}
    for split, pattern in _patterns(chosen["data_files"]):
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise UserError(f"names files outside its directory: {pattern}", where=str(readme))
        found = sorted(path for path in directory.glob(pattern) if path.is_file())
        splits.setdefault(split, []).extend(found)
    return splits


def _choose(configs: list[dict[str, Any]], config: str | None, directory: Path) -> dict[str, Any]:
    names = [str(one.get("config_name", "default")) for one in configs]
    if config is not None:
        if config in names:
            return configs[names.index(config)]
        raise UserError(f"has no configuration {config!r}", where=str(directory), mend=f"it has {', '.join(names)}")
    if len(configs) == 1:
        return configs[0]
    for name, one in zip(names, configs, strict=True):
        if name == "default" or one.get("default") is True:
            return one
    raise UserError("has several configurations", where=str(directory), mend=f"choose: name: {' | '.join(names)}")


def _patterns(data_files: Any) -> list[tuple[str, str]]:
    """(split, glob) pairs of the ways in which the hub lets `data_files` be written."""
    if isinstance(data_files, str):
        return [("train", data_files)]
    if isinstance(data_files, dict):
        pairs = [(str(split), paths) for split, paths in data_files.items()]
    else:
        items = data_files if isinstance(data_files, list) else []
        pairs = [
            (str(item.get("split", "train")), item.get("path")) if isinstance(item, dict) else ("train", item)
            for item in items
        ]
    return [
        (split, path)
        for split, paths in pairs
        for path in (paths if isinstance(paths, list) else [paths])
        if isinstance(path, str)
    ]
