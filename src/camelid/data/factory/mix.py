"""One data set out of several: which share each source gets, which of its rows are drawn and how often, in what order.

A source of n rows and weight w is drawn from with probability proportional to w * n^T, T being the temperature: with
T = 1 every row of every source counts alike (times its source's weight, as in a recipe), with T = 0 the shares are the
weights themselves, equal where none is given. Between the two small sources are favoured, as in multilingual training
(Devlin et al. 2018 for BERT with T = 0.7, Xue et al. 2021 for mT5 with 0.3, there called alpha or S).
"""

from __future__ import annotations

import json
import math
import random
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from camelid.data.locate import SourceSpec
from camelid.errors import UserError
from camelid.runs.durable import not_saved


@dataclass(frozen=True, slots=True)
class Weighted:
    """A source with its weight, and what the user calls it."""

    name: str
    spec: SourceSpec
    weight: float = 1.0


def weighted(text: str) -> Weighted:
    """`rows.jsonl=3`, `rows.jsonl#500=0.5` or `rows.jsonl`, whose weight is 1. Raises UserError."""
    name, mark, number = text.rpartition("=")
    if not mark or not name or Path(text).exists():
        return Weighted(text, SourceSpec.of(text))
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not 0 < weight < 1e6:
        raise UserError(f"weight {number!r} is no positive number", where=text, mend=f"for example {name}=2")
    return Weighted(name, SourceSpec.of(name), weight)


def probabilities(sizes: Sequence[int], weights: Sequence[float], temperature: float) -> list[float]:
    """How likely a row of the mixture is to come from each source: in proportion to weight * size^temperature."""
    logs = [math.log(w) + temperature * math.log(n) for n, w in zip(sizes, weights, strict=True)]
    parts = [math.exp(one - max(logs)) for one in logs]
    return [part / sum(parts) for part in parts]


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows to draw from each source, and from the replay."""

    drawn: list[int]
    replayed: int = 0


def make_plan(
    sizes: Sequence[int],
    shares: Sequence[float],
    *,
    count: int | None,
    cap: int | None,
    replay_size: int = 0,
    replay_share: float = 0.0,
) -> Plan:
    """How many rows come from where.

    count: rows of the mixture; None: as many as there are, or the most that keeps the shares under the cap if that is
    fewer; cap: how often one row may come at most. What a source cannot give under the cap goes to the others by their
    shares; if all are used up, there are fewer rows. The replay's share is kept in any case: raises UserError where the
    cap does not allow it.
    """
    most = [math.inf if cap is None else cap * size for size in sizes]
    if count is None:
        count = sum(sizes) + replay_size
        if cap is not None:
            reached = [limit / (share * (1 - replay_share)) for limit, share in zip(most, shares, strict=True)]
            if replay_share:
                reached.append(cap * replay_size / replay_share)
            count = max(1, min(count, math.floor(min(reached) + 1e-9)))  # where a limit divides by its share exactly
    replayed = round(count * replay_share)
    wanted = count - replayed
    if wanted > sum(most):
        wanted = sum(limit for limit in most if limit < math.inf)
        replayed = round(wanted * replay_share / (1 - replay_share))
    if cap is not None and replayed > cap * replay_size:
        raise UserError(
            f"{replay_size:,} rows of replay, each at most {cap} times, are no {replay_share:.0%} of "
            f"{int(wanted) + replayed:,} rows",
            where="--replay",
            mend=f"--cap {math.ceil(replayed / replay_size)}, a smaller --count or --replay-share, or more rows",
        )
    return Plan(allocate(int(wanted), shares, most), replayed)


def allocate(total: int, shares: Sequence[float], most: Sequence[float]) -> list[int]:
    """`total` in whole parts by shares, none above its limit; what one cannot take goes to the others by theirs.

    Parts are rounded by the largest remainder. The limits hold `total` together.
    """
    exact = [Fraction(share) for share in shares]
    quotas = [Fraction(0)] * len(exact)
    free = set(range(len(exact)))
    rest = Fraction(total)
    while free:
        scale = rest / sum(exact[i] for i in free)
        full = {i for i in free if exact[i] * scale >= most[i]}
        for i in full or free:
            quotas[i] = Fraction(most[i]) if i in full else exact[i] * scale
        rest -= sum(quotas[i] for i in full)
        free = free - full if full else set()
    parts = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(parts)), key=lambda i: (parts[i] - quotas[i], i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


class RowStore:
    """The rows of one source, in a temporary file: in memory are eight bytes a row.

    folder: where the file lies; it has no name there and is gone however the program ends
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starts = array("q")
        self._digest = blake2b(digest_size=16)
        self._end = 0
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise not_saved(error, folder) from error

    def add(self, value: Any) -> None:
        line = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._file.write(line)
        except OSError as error:
            raise not_saved(error, self._folder) from error
        self._digest.update(line)
        self._starts.append(self._end)
        self._end += len(line)

    def __getitem__(self, number: int) -> Any:
        self._file.seek(self._starts[number])
        return json.loads(self._file.readline())

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def digest(self) -> str:
        """The same for the same rows, whatever the file is called and however it is laid out."""
        return self._digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._file.close()


def draw_order(stores: Sequence[RowStore], counts: Sequence[int], seed: int) -> Iterator[tuple[int, int]]:
    """(source, row) of every row of the mixture in order; of a source no row comes twice more often than another.

    Depends on the rows and the seed only: not on the order of the sources, nor on the names of their files.
    """
    order = array("q")
    by_rows = sorted(range(len(stores)), key=lambda i: stores[i].digest)
    for place, i in enumerate(by_rows):
        size = len(stores[i])
        whole, rest = divmod(counts[i], size)
        chance = random.Random(f"mix:{seed}:{stores[i].digest}")
        for _ in range(whole):
            order.extend(_packed(place, row) for row in range(size))
        order.extend(_packed(place, row) for row in chance.sample(range(size), rest))
    random.Random(f"mix:{seed}").shuffle(order)
    for one in order:
        yield by_rows[one >> 40], one & (1 << 40) - 1


def _packed(source: int, row: int) -> int:
    return source << 40 | row
