"""Data sets by their id on the Hugging Face hub, through the `datasets` package where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import re
from collections.abc import Iterator

from camelid.data.readers.rows import RawRow, RowSource
from camelid.errors import UserError

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
PIP = "pip install datasets"


def is_id(text: str) -> bool:
    """Whether text has the form of an id, owner/name."""
    return _ID.fullmatch(text) is not None


def can_load() -> bool:
    """Whether the `datasets` package is installed."""
    return importlib.util.find_spec("datasets") is not None


def open_id(identity: str, config: str | None, split: str | None) -> RowSource:
    """Stream the rows of a data set; raises `UserError` when the hub, the package or the data set is missing."""
    if not can_load():
        raise UserError("an id on the Hugging Face hub needs the package datasets", where=identity, mend=PIP)
    datasets = importlib.import_module("datasets")
    try:
        rows = datasets.load_dataset(identity, config, split=split or "train", streaming=True)
    except Exception as error:  # the package raises a dozen unrelated types; all mean that this id cannot be had
        raise _cannot(identity, error) from error
    return RowSource(_rows(identity, iter(rows)))


def _rows(identity: str, rows: Iterator[dict[str, object]]) -> Iterator[RawRow]:
    for number in itertools.count(1):
        try:
            row = next(rows, None)
        except Exception as error:  # as above: the network, or a file of the data set, failed on the way
            raise _cannot(identity, error) from error
        if row is None:
            return
        yield RawRow(number, row, "", True)


def _cannot(identity: str, error: Exception) -> UserError:
    return UserError(f"cannot be loaded: {type(error).__name__}: {error}", where=identity)
