"""SIGKILL at random moments, many of them inside a save: nothing wedges, nothing differs (Shows 6)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import tiny_base

from camelid.model.presets import converted_preset

HERE = Path(__file__).parent


def _kill(folder: Path, base: str, method: str, kills: int) -> dict[str, int]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
    }
    command = [sys.executable, str(HERE / "kill_harness.py"), str(folder), base, method, str(kills)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("base", "method", "kills"),
    [
        pytest.param("tiny", "lora", 8, id="a-few-lora"),
        pytest.param("tiny", "full", 8, id="a-few-full", marks=pytest.mark.slow),
        pytest.param("nano", "lora", 100, id="a-hundred-lora", marks=pytest.mark.slow),
        pytest.param("nano", "full", 100, id="a-hundred-full", marks=pytest.mark.slow),
    ],
)
def test_kills(tmp_path: Path, base: str, method: str, kills: int) -> None:
    if base == "tiny" or converted_preset(base) is None:
        base = str(tiny_base())
    report = _kill(tmp_path, base, method, kills)
    print(report)
    assert report["kills"] == kills
    assert report["wedged"] == report["lost"] == 0
    assert report["identical"] == report["finished"] >= 1
    # a handful of kills is too few for a share: there, one inside a save must do
    assert report["inside_save"] >= (0.3 * kills if kills >= 50 else 1)
    assert report["resumed"] >= 0.4 * kills, "the kills must land after a first checkpoint to prove anything"
