"""Which rows belong together, and a held-out share that parts none of them from the others.

Rows of one conversation know each other's text: where some are trained on and others held out, the held-out loss is too
good. Rows belong together that

* were read from one row of a file (a row drawn twice, the instances of one task);
* name the same conversation: `conversation_id` and the like, or the `id` of a row of turns, without the number of the
  part where a long conversation was cut (ShareGPT's `abc_0`, `abc_1`);
* ask the same: first user turn, text or texts, compared without regard to width, case and spaces.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from camelid.data.records import Conversation, Labelled, MessageTree, Preference, Ranked, Record, Text
from camelid.data.tasks.records import Tagged, TaskRecord

_PART = re.compile(r"(.+?)[_-]\d{1,4}")
# A longer series (`identity_0` ... `identity_499`), or one that all rows belong to, numbers rows and not parts.
MOST_PARTS = 100


def group_rows(records: Sequence[Record] | Sequence[TaskRecord]) -> np.ndarray:
    """(R,) int64: the number of each record's group, from 0, in order of first appearance."""
    names = [record.origin.conversation for record in records]
    stems = [match[1] if (match := _PART.fullmatch(name)) else "" for name in names]
    parts = Counter(stem for stem in stems if stem)
    parent = list(range(len(records)))
    first: dict[Any, int] = {}
    for i, record in enumerate(records):
        # records of one raw row share its Origin; lines do not tell rows apart (a JSON array may stand in one line)
        keys: list[Any] = [id(record.origin), _asked(record)]
        if names[i]:
            keys.append(("whole", names[i]))
        if stems[i] and parts[stems[i]] <= MOST_PARTS and parts[stems[i]] < len(records):
            keys += [("part", stems[i]), ("whole", stems[i])]
        for key in keys:
            a, b = _root(parent, first.setdefault(key, i)), _root(parent, i)
            parent[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(_root(parent, i), len(numbers)) for i in range(len(records))], np.int64)


def hold_out(groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(kept, held) indices of rows, ascending: a seeded share of whole groups is held out, as near `fraction` of the
    rows as the groups allow; at least one group if any is asked for, and never the last one.

    groups: (R,) int64, as `group_rows` numbers them
    """
    rows, sizes = np.arange(len(groups)), np.bincount(groups)
    if not fraction or len(sizes) < 2:
        return rows, rows[:0]
    wanted = min(len(groups) - 1, max(1, round(len(groups) * fraction)))
    order = np.random.default_rng([seed, 0x0E7A1]).permutation(len(sizes))
    chosen = np.zeros(len(sizes), bool)
    held = 0
    for group in order.tolist():
        if held + sizes[group] <= wanted:
            chosen[group] = True
            held += int(sizes[group])
    rest = order[~chosen[order]]
    if len(rest) > 1:
        smallest = int(rest[np.argmin(sizes[rest])])
        if held == 0 or held + sizes[smallest] - wanted < wanted - held:
            chosen[smallest] = True
    mine = chosen[groups]
    return rows[~mine], rows[mine]


def told(groups: np.ndarray, held: np.ndarray) -> str:
    """One line for the log."""
    sizes = np.bincount(groups)
    together = int(sizes[sizes > 1].sum())
    beside = (
        f"; {together:,} rows belong to {int((sizes > 1).sum()):,} groups that stay on one side" if together else ""
    )
    return f"held out: {len(held):,} of {len(groups):,} rows ({len(held) / len(groups):.1%}){beside}"


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def _asked(record: Record | TaskRecord) -> bytes:
    """A digest of what a record asks, or of its text."""
    match record:
        case Conversation() | Labelled():
            texts = [next((m.content for m in record.messages if m.role == "user"), "")]
        case Preference() | Ranked():
            texts = [next((m.content for m in record.prompt if m.role == "user"), "")]
        case MessageTree():
            texts = [record.root.message.content]
        case Text():
            texts = [record.text]
        case Tagged():
            texts = [" ".join(record.words)]
        case _:
            texts = sorted(record.texts)  # a pair asks the same in either order
    return digest("\0".join(map(bare, texts)))


def bare(text: str) -> str:
    """Without differences of width, case and spaces: questions that are the same so are the same question."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def digest(text: str) -> bytes:
    """16 bytes, the same for the same text on every machine."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
