"""Streaming clients that come and go leave nothing behind: benchmarks/serve_clients.py in short and in long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


def run(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "benchmarks" / "serve_clients.py"), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_clients_that_come_and_go() -> None:
    result = run(
        "--clients", "12", "--seconds", "1.5", "--slots", "6", "--overload-seconds", "1.5", "--freed-within", "4"
    )
    assert result["streams"]["hung_up"] > 10
    assert result["overload"]["statuses"]["429"] > 50


@pytest.mark.slow
def test_two_hundred_clients_for_five_minutes() -> None:
    result = run("--clients", "200", "--seconds", "300")
    assert result["streams"]["hung_up"] > 1000
    assert result["streams"]["whole"] > 100
    memory = result["rss_mb_after_each_round"]
    assert memory[-1] < 1.05 * memory[len(memory) // 4], "it grows"
