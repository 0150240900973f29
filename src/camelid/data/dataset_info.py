"""LLaMA-Factory's `dataset_info.json`: names for data sets, and which of their columns mean what.

An entry: {"file_name" or "hf_hub_url", "formatting": "alpaca" | "sharegpt", "ranking", "subset", "split",
"num_samples", "columns": {...}, "tags": {...}}. Where `columns` is given, only the columns that it names are read, as
LLaMA-Factory does.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid.data.formats.fields import RowFault, kind, listed
from camelid.errors import UserError

FILE_NAME = "dataset_info.json"
# LLaMA-Factory's name for a column -> the field name that `camelid.data.formats` knows.
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
_SHAREGPT = {"messages": "conversations"}
_EITHER = {name: name for name in ("history", "system", "tools", "chosen", "rejected", "kto_tag")}
_MEDIA = ("images", "videos", "audios")
_ROLE_TAGS = {
    "user_tag": ("human", "human"),
    "assistant_tag": ("gpt", "gpt"),
    "observation_tag": ("observation", "observation"),
    "function_tag": ("function_call", "function_call"),
    "system_tag": ("system", "system"),
}  # tag -> (LLaMA-Factory's default word, our word)


@dataclass(frozen=True)
class ColumnMapping:
    """Renames the columns of a row, and the keys and roles of its turns, to the usual ones."""

    columns: dict[str, str]  # ours -> the file's; empty: the row's own names
    role_key: str = "from"
    content_key: str = "value"
    roles: dict[str, str] | None = None  # the file's word -> ours; None: the usual words

    def apply(self, row: Any) -> Any:
        """The row under the usual names; raises `RowFault` where a turn is not what the tags say."""
        if not isinstance(row, dict):
            return row
        if self.columns:
            row = {ours: row[theirs] for ours, theirs in self.columns.items() if theirs in row}
        if self.roles is None:
            return row
        turns = ("conversations", "messages", "chosen", "rejected")
        return {key: self._turns(value, key) if key in turns else value for key, value in row.items()}

    def _turns(self, value: Any, field: str) -> Any:
        if isinstance(value, dict):
            return self._turn(value)
        if isinstance(value, str) and field in ("chosen", "rejected"):
            return value
        return [self._turn(turn) for turn in listed(value, field)]

    def _turn(self, turn: Any) -> dict[str, Any]:
        if not isinstance(turn, dict):
            raise RowFault(f"a turn is {kind(turn)}, not an object")
        word = turn.get(self.role_key)
        assert self.roles is not None
        known = self.roles.get(word) if isinstance(word, str) else None
        if known is None:
            raise RowFault(f"unknown role {str(word)[:20]!r} (dataset_info.json knows {', '.join(self.roles)})")
        kept = {key: value for key, value in turn.items() if key not in (self.role_key, self.content_key)}
        return {**kept, "from": known, "value": turn.get(self.content_key)}


@dataclass(frozen=True)
class Entry:
    """One data set that a dataset_info.json names."""

    name: str
    file: Path | None  # a file or a directory
    hub: str | None  # an id on the Hugging Face hub
    subset: str | None
    split: str | None
    sample: int | None
    mapping: ColumnMapping | None


def read_info(path: Path) -> dict[str, dict[str, Any]] | None:
    """The entries of a dataset_info.json, or None when it is another file of that name (`datasets` writes one)."""
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot be read: {error}", where=str(path)) from error
    if not isinstance(content, dict) or not content:
        return None
    sources = ("file_name", "hf_hub_url", "ms_hub_url", "script_url", "cloud_file_name")
    is_ours = all(isinstance(entry, dict) and any(source in entry for source in sources) for entry in content.values())
    return content if is_ours else None


def entry(path: Path, name: str) -> Entry:
    """The entry `name` of a dataset_info.json; raises `UserError` with the nearest names when there is none."""
    info = read_info(path)
    if info is None:
        raise UserError("names no data sets in LLaMA-Factory's way", where=str(path))
    if name not in info:
        near = difflib.get_close_matches(name, info, n=3) or sorted(info)[:5]
        raise UserError(f"has no data set {name!r}", where=str(path), mend=f"it has {', '.join(near)}")
    return _entry(path, name, info[name])


def entry_of_file(path: Path) -> Entry | None:
    """The entry that a dataset_info.json beside `path` has for it, if that says something about its columns."""
    beside = path.parent / FILE_NAME
    info = read_info(beside) if beside.is_file() and beside != path else None
    for name, fields in (info or {}).items():
        if fields.get("file_name") == path.name and {"columns", "tags"} & fields.keys():
            return _entry(beside, name, fields)
    return None


def _entry(path: Path, name: str, fields: dict[str, Any]) -> Entry:
    where = f"{path}:{name}"
    file_name, hub = fields.get("file_name"), fields.get("hf_hub_url")
    file = path.parent / file_name if isinstance(file_name, str) else None
    if file is not None and not file.exists() and isinstance(hub, str):
        file = None
    if file is None and not isinstance(hub, str):
        mend = "download it and name it under file_name"
        if "script_url" in fields:
            raise UserError("is made by a script, and scripts of data sets are not run", where=where, mend=mend)
        raise UserError("has neither file_name nor hf_hub_url", where=where, mend=mend)
    sample = fields.get("num_samples")
    if sample is not None and (not isinstance(sample, int) or isinstance(sample, bool) or sample < 1):
        raise UserError("num_samples is no positive number", where=where)
    return Entry(
        name=name,
        file=file,
        hub=None if file is not None else str(hub),
        subset=_word(fields, "subset", where),
        split=_word(fields, "split", where),
        sample=sample,
        mapping=_mapping(fields, where),
    )


def _word(fields: dict[str, Any], key: str, where: str) -> str | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{key} is {kind(value)}, not text", where=where)
    return value


def _mapping(fields: dict[str, Any], where: str) -> ColumnMapping | None:
    formatting = fields.get("formatting", "alpaca")
    if formatting not in ("alpaca", "sharegpt", "openai"):
        raise UserError(f"unknown formatting {formatting!r}", where=where, mend="alpaca, sharegpt and openai are known")
    columns, tags = fields.get("columns") or {}, fields.get("tags") or {}
    for given in (columns, tags):
        if not isinstance(given, dict) or not all(isinstance(value, str | None) for value in given.values()):
            raise UserError("columns and tags hold names, each for one name", where=where)
    columns = {theirs: column for theirs, column in columns.items() if column is not None}
    tags = {tag: word for tag, word in tags.items() if word is not None}
    known = {**(_ALPACA if formatting == "alpaca" else _SHAREGPT), **_EITHER}
    renamed: dict[str, str] = {}
    for theirs, column in columns.items():
        if theirs in _MEDIA:
            raise UserError(f"has {theirs}, and only text is trained", where=where)
        if theirs not in known:
            near = difflib.get_close_matches(theirs, known, n=1) or list(known)
            raise UserError(f"unknown column {theirs!r}", where=where, mend=f"known: {', '.join(near)}")
        renamed[known[theirs]] = column
    if set(renamed) == {"instruction"}:  # LLaMA-Factory's way to name the text of a pretraining corpus
        renamed = {"text": renamed["instruction"]}
    return _tagged(renamed, tags, where) if tags else (ColumnMapping(renamed) if renamed else None)


def _tagged(columns: dict[str, str], tags: dict[str, str], where: str) -> ColumnMapping:
    for tag in tags:
        if tag not in _ROLE_TAGS and tag not in ("role_tag", "content_tag"):
            raise UserError(f"unknown tag {tag!r}", where=where, mend=f"known: {', '.join(_ROLE_TAGS)}")
    roles = {tags.get(tag, default): ours for tag, (default, ours) in _ROLE_TAGS.items()}
    return ColumnMapping(columns, tags.get("role_tag", "from"), tags.get("content_tag", "value"), roles)
