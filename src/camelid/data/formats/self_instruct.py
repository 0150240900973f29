"""Seed records of Self-Instruct: {instruction, instances: [{input, output}, ...]}; each instance is a row."""

from __future__ import annotations

from typing import Any

from camelid.data.formats import alpaca
from camelid.data.formats.fields import RowFault, kind, listed
from camelid.data.records import Conversation, Origin, Ranked

NAME = "Self-Instruct"


def recognises(keys: frozenset[str]) -> bool:
    return "instruction" in keys and "instances" in keys


def convert(row: dict[str, Any], origin: Origin, notes: list[str]) -> list[Conversation | Ranked]:
    instances = listed(row["instances"], "instances")
    if not instances:
        raise RowFault("instances is empty")
    records: list[Conversation | Ranked] = []
    for number, instance in enumerate(instances, 1):
        if not isinstance(instance, dict):
            raise RowFault(f"instance {number} is {kind(instance)}, not an object")
        one = {"instruction": row["instruction"], "input": instance.get("input"), "output": instance.get("output")}
        records += alpaca.convert(one, origin, notes)
    return records
