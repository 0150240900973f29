"""What is freed goes back to the system: when it is asked for, and when rows have left too much of it unused."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.runs import memory
from camelid.runs.memory import HeapLimit, give_back_memory, resident_memory

BLOCKS, SIZE = 50_000, 2_000  # 100 MB of small blocks
MIB = 1 << 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives back by itself, or never")
def test_freed_blocks_go_back() -> None:
    blocks = [b"x" * SIZE for _ in range(BLOCKS)]
    kept = blocks[::100]  # among them, so that the heap cannot shrink by itself
    del blocks
    held = resident_memory()
    give_back_memory()
    assert held - resident_memory() > BLOCKS * SIZE // 2
    assert set(kept) == {b"x" * SIZE}


@dataclass
class Process:
    """One that grows by what each row adds, all of which can be given back but what is in use."""

    held: int = 0
    given_back: list[int] = field(default_factory=list)
    in_use: int = 0

    def rows(self, added: list[int]) -> list[int]:
        """What is held after each row."""
        after: list[int] = []
        limit = HeapLimit(lambda: self.held, self._give_back)
        for row in added:
            with limit.row():
                self.held += row
            after.append(self.held)
        return after

    def _give_back(self) -> None:
        self.given_back.append(self.held)
        self.held = self.in_use


@given(st.lists(st.integers(0, 500 * MIB), max_size=60))
def test_a_process_holds_no_more_than_a_few_rows_add(added: list[int]) -> None:
    """At most a quarter more than the largest row, and the rows during which it may not give back again."""
    process = Process()
    process.rows(added)
    most = max(added, default=0)
    assert process.held <= max(1.25 * most, 64 * MIB) + memory._ROWS * most
    assert len(process.given_back) <= len(added) / memory._ROWS


@given(first=st.integers(0, 2000 * MIB), later=st.lists(st.integers(0, MIB), max_size=40))
def test_rows_that_find_room_cost_nothing(first: int, later: list[int]) -> None:
    process = Process()
    process.rows([first, *later])
    assert process.given_back == []


def test_holes_are_given_back_once_in_eight_rows() -> None:
    process = Process()
    after = process.rows([100 * MIB] * 24)
    assert after == [100 * MIB * (i % 8) for i in range(1, 25)]
    assert process.given_back == [800 * MIB] * 3


def test_what_is_in_use_is_asked_for_once() -> None:
    process = Process(in_use=800 * MIB)
    process.rows([*[100 * MIB] * 8, *[0] * 40])
    assert process.given_back == [800 * MIB]
