"""The meter of rows: what it says, and how often."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from camelid.data.ledger import Ledger
from camelid.data.sources import read_records
from camelid.runs.meter import Meter


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_log_there_is_a_line_now_and_then() -> None:
    times: Iterator[float] = iter([0.0, *(float(second) for second in range(1, 41))])
    shares = iter(number / 40 for number in range(15, 60))
    log = io.StringIO()
    with Meter("rows", lambda: next(shares), stream=log, clock=lambda: next(times)) as meter:
        for _ in range(20):
            meter.step(100)
        for _ in range(20):
            meter.step()
    assert log.getvalue() == "1,500 rows · 100/s · 38% · 25 s left\n2,010 rows · 67/s · 40% · 45 s left\n"


def test_what_is_slow_is_told_by_the_minute_and_with_a_note() -> None:
    times: Iterator[float] = iter([0.0, 30.0, 60.0, 90.0])
    log = io.StringIO()
    with Meter("rows", lambda: 0.0, lambda: "7 answers", stream=log, clock=lambda: next(times)) as meter:
        meter.step(2)
        meter.step(0)
    assert log.getvalue() == "2 rows · 4/min · 7 answers\n2 rows · 2/min · 7 answers\n"


def test_on_a_terminal_there_is_a_bar_that_goes_away() -> None:
    terminal = _Terminal()
    ticks = iter(range(100))
    with Meter("rows", stream=terminal, clock=lambda: float(next(ticks))) as meter:
        meter.step(5)
        meter.step(5)
    assert "10 rows · 5/s" in terminal.getvalue()
    assert "left" not in terminal.getvalue(), "nobody knows how much there is"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_how_much_of_the_files_has_been_read(tmp_path: Path, suffix: str) -> None:
    import gzip

    for name in ("a", "b"):
        text = "".join(f'{{"text": "row {i} of {name}"}}\n' for i in range(2000)).encode()
        (tmp_path / f"{name}.jsonl{suffix}").write_bytes(gzip.compress(text) if suffix else text)
    ledger = Ledger()
    assert ledger.share == 0
    records = read_records(str(tmp_path / f"*.jsonl{suffix}"), seed=0, ledger=ledger, chunk=1000)
    shares = [ledger.share for _ in records]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.55
    assert 0.45 < shares[1999] <= 0.5 < shares[-1] <= 1
    assert ledger.share == 1
