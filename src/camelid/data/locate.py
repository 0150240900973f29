"""From what the user wrote under `data:` to the files (or hub ids) that it means."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camelid.data import dataset_info, directory, hub
from camelid.data.dataset_info import ColumnMapping
from camelid.data.readers import open_rows
from camelid.data.readers.rows import CHUNK, RowSource
from camelid.errors import UserError

_GLOB = ("*", "?", "[")


@dataclass(frozen=True)
class SourceSpec:
    """One source of rows, as a recipe writes it."""

    path: str  # a file, a glob, a directory, an id on the hub, or a name of a dataset_info.json
    weight: float = 1.0  # how often each row is used: 2.5 is twice, and half of the rows a third time
    sample: int | None = None  # so many rows at random (`path#500` says the same)
    split: str | None = None  # of a directory or an id; where there are several, "train" is read
    name: str | None = None  # of a configuration of a directory or an id that has several

    def __post_init__(self) -> None:
        where = f"data source {self.path}"
        if not isinstance(self.path, str) or not self.path.strip():
            raise UserError("a data source needs a path", mend="for example data: my_rows.jsonl")
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float) or not 0 < self.weight < 1e6:
            raise UserError(f"weight {self.weight!r} is no positive number", where=where)
        whole = isinstance(self.sample, int) and not isinstance(self.sample, bool)
        if self.sample is not None and (not whole or self.sample < 1):
            raise UserError(f"sample {self.sample!r} is no positive whole number", where=where)
        for key in ("split", "name"):
            value = {"split": self.split, "name": self.name}[key]
            if value is not None and not isinstance(value, str):
                raise UserError(f"{key} {value!r} is not text", where=where)

    @classmethod
    def of(cls, value: str | Path | Mapping[str, Any] | SourceSpec) -> SourceSpec:
        """Read a path (`rows.jsonl#500` samples), a mapping of the fields above, or a spec as it is."""
        if isinstance(value, SourceSpec):
            return value
        if isinstance(value, str | Path):
            value = {"path": str(value)}
        if not isinstance(value, Mapping):
            raise UserError(f"a data source is a path or a mapping, not {value!r:.50}", mend="data: my_rows.jsonl")
        fields = cls.__dataclass_fields__
        for key in value:
            if key not in fields:
                near = difflib.get_close_matches(str(key), fields, n=1) or list(fields)
                raise UserError(f"a data source has no field {key!r}", mend=f"known: {', '.join(near)}")
        if "path" not in value:
            raise UserError("a data source needs a path", mend="for example data: [{path: my_rows.jsonl, weight: 2}]")
        path, sample = _split_sample(value["path"])
        if sample is not None and value.get("sample") is not None:
            raise UserError(f"{value['path']} is sampled twice", mend="leave out either #N or sample")
        return cls(**{**value, "path": path, "sample": sample if sample is not None else value.get("sample")})


def _split_sample(path: Any) -> tuple[Any, int | None]:
    if not isinstance(path, str):
        return path, None
    before, mark, number = path.rpartition("#")
    if not mark or not before or not number.isascii() or not number.isdigit() or Path(path).exists():
        return path, None
    return before, int(number)


@dataclass(frozen=True)
class Part:
    """One file, or one id: what it is called in rejections, and how it is opened."""

    label: str
    open: Callable[[], RowSource]
    mapping: ColumnMapping | None = None


@dataclass
class Located:
    """A source with its parts; `sample` may come from dataset_info.json; `remark` is for the user."""

    spec: SourceSpec
    parts: list[Part]
    sample: int | None = None
    remark: str = field(default="")


def locate(spec: SourceSpec, chunk: int = CHUNK) -> Located:
    """Find what a source means; raises `UserError` with the nearest names when it means nothing."""
    path = Path(spec.path).expanduser()
    try:
        path.exists()
    except OSError as error:  # a name longer than any file's: somebody pasted the rows themselves
        raise UserError(f"is no path: {error.strerror}", where=f"{spec.path:.50}") from error
    file, _, entry_name = spec.path.partition(f"{dataset_info.FILE_NAME}:")
    if entry_name:
        return _entry(spec, dataset_info.entry(Path(file).expanduser() / dataset_info.FILE_NAME, entry_name), chunk)
    if path.is_file():
        return _file(spec, path, chunk)
    if path.is_dir():
        files, remark = directory.files_of(path, spec.split, spec.name)
        return Located(spec, [_part(found, chunk) for found in files], spec.sample, remark)
    if any(mark in spec.path for mark in _GLOB):
        _no_split(spec)
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if not found:
            raise UserError("no file matches this pattern", where=spec.path)
        return Located(spec, [_part(one, chunk) for one in found], spec.sample)
    for info in _infos(path):
        if path.name in (dataset_info.read_info(info) or {}):
            return _entry(spec, dataset_info.entry(info, path.name), chunk)
    if hub.is_id(spec.path) and not _looks_like_a_file(path):
        if hub.can_load():
            return _hub(spec, spec.path, None)
        raise UserError(
            "no file or directory of this name",
            where=spec.path,
            mend=f"if it is an id on the Hugging Face hub: {hub.PIP}{_or_near(path)}",
        )
    raise UserError("no such file, directory or data set", where=spec.path, mend=_nearest(path))


def _file(spec: SourceSpec, path: Path, chunk: int) -> Located:
    if path.name == dataset_info.FILE_NAME:
        names = dataset_info.read_info(path)
        if names is not None:
            raise UserError(
                "names data sets and is none", where=spec.path, mend=f"choose one: {spec.path}:{next(iter(names))}"
            )
    _no_split(spec)
    return Located(spec, [_part(path, chunk)], spec.sample)


def _no_split(spec: SourceSpec) -> None:
    for key, value in (("split", spec.split), ("name", spec.name)):
        if value is not None:
            raise UserError(f"a file has no {key}", where=spec.path, mend=f"leave out {key}: {value}")


def _part(path: Path, chunk: int, mapping: ColumnMapping | None = None) -> Part:
    if mapping is None:
        beside = dataset_info.entry_of_file(path)
        mapping = beside.mapping if beside else None
    return Part(str(path), lambda: open_rows(path, chunk), mapping)


def _entry(spec: SourceSpec, entry: dataset_info.Entry, chunk: int) -> Located:
    split, name = spec.split or entry.split, spec.name or entry.subset
    sample = spec.sample if spec.sample is not None else entry.sample
    if entry.file is None:
        assert entry.hub is not None
        located = _hub(SourceSpec(entry.hub, split=split, name=name), entry.hub, entry.mapping)
        return Located(spec, located.parts, sample)
    if entry.file.is_dir():
        files, remark = directory.files_of(entry.file, split, name)
        return Located(spec, [_part(found, chunk, entry.mapping) for found in files], sample, remark)
    if not entry.file.is_file():
        raise UserError(f"its file {entry.file} does not exist", where=spec.path, mend=_nearest(entry.file))
    return Located(spec, [_part(entry.file, chunk, entry.mapping)], sample)


def _hub(spec: SourceSpec, identity: str, mapping: ColumnMapping | None) -> Located:
    part = Part(identity, lambda: hub.open_id(identity, spec.name, spec.split), mapping)
    return Located(spec, [part], spec.sample, f"read from the Hugging Face hub, split {spec.split or 'train'}")


def _infos(path: Path) -> list[Path]:
    """The dataset_info.json files in which a name may be found: beside it, and for a bare name also in data/."""
    folders = [path.parent] if path.parent != Path() else [Path(), Path("data")]
    return [info for info in (folder / dataset_info.FILE_NAME for folder in folders) if info.is_file()]


def _looks_like_a_file(path: Path) -> bool:
    return path.parent.is_dir() or path.suffix.lower() in (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".txt")


def _nearest(path: Path) -> str:
    near = _near(path)
    return f"did you mean {' or '.join(near)}?" if near else "check the path"


def _or_near(path: Path) -> str:
    near = _near(path)
    return f"; or did you mean {' or '.join(near)}?" if near else ""


def _near(path: Path) -> list[str]:
    """Names like the missing one: of files beside it and of the data sets that a dataset_info.json there names."""
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    for info in _infos(path):
        beside += list(dataset_info.read_info(info) or {})
    names = difflib.get_close_matches(path.name, beside, n=2)
    return [str(path.parent / name) for name in names]
