"""What is freed goes back to the system when it is asked for."""

from __future__ import annotations

import platform

import psutil
import pytest

from camelid.runs.memory import give_back_memory

BLOCKS, SIZE = 50_000, 2_000  # 100 MB of small blocks


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives back by itself, or never")
def test_freed_blocks_go_back() -> None:
    process = psutil.Process()
    blocks = [b"x" * SIZE for _ in range(BLOCKS)]
    kept = blocks[::100]  # among them, so that the heap cannot shrink by itself
    del blocks
    held = process.memory_info().rss
    give_back_memory()
    assert held - process.memory_info().rss > BLOCKS * SIZE // 2
    assert set(kept) == {b"x" * SIZE}
