"""What labels are called: a file's `0` and `1` become `negative` and `positive`, in answers and in every figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from camelid.data.tasks.records import Tagged, TaskRecord
from camelid.data.tasks.schemes import OUTSIDE


def named(records: Sequence[TaskRecord], names: Mapping[str, str]) -> list[TaskRecord]:
    """The records with their labels, or the types of their entities, as `names` calls them; others stay."""
    return [_named(record, names) for record in records] if names else list(records)


def unused(records: Sequence[TaskRecord], names: Mapping[str, str]) -> list[str]:
    """The keys of `names` that no record has (before it is named)."""
    found: set[str] = set()
    for record in records:
        found |= {tag[2:] for tag in record.tags} if isinstance(record, Tagged) else {record.label}
    return [name for name in names if name not in found]


def _named(record: TaskRecord, names: Mapping[str, str]) -> TaskRecord:
    if isinstance(record, Tagged):
        tags = tuple(tag if tag == OUTSIDE else f"{tag[:2]}{names.get(tag[2:], tag[2:])}" for tag in record.tags)
        return replace(record, tags=tags)
    return replace(record, label=names.get(record.label, record.label))
