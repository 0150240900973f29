"""Two gloo ranks give the numbers of one process (Shows 9)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runs_for_tests import run, tiny_recipe

WORKER = Path(__file__).parent / "gloo_worker.py"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _two_ranks(recipe: Any) -> list[dict[str, Any]]:
    values = json.dumps(recipe.model_dump(mode="json"))
    port = str(_free_port())
    workers = []
    for rank in range(2):
        # 127.0.0.1 and no more: the variables that torchrun sets
        environment = {
            **os.environ, "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
        }  # fmt: skip
        command = [sys.executable, str(WORKER), values]
        workers.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    results = []
    for worker in workers:
        out, error = worker.communicate(timeout=240)
        assert worker.returncode == 0, error.decode()[-2000:]
        results.append(json.loads(out.decode().strip().splitlines()[-1]))
    return results


@pytest.mark.parametrize("method", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_two_ranks_of_four_equal_one_of_eight(tmp_path: Path, method: str) -> None:
    shared = {"method": method, "learning_rate": 1e-3, "max_steps": 4, "eval_fraction": 0.2, "eval_steps": 2}
    alone = run(tiny_recipe(tmp_path, per_device_train_batch_size=8, output_dir=str(tmp_path / "one"), **shared))
    recipe = tiny_recipe(tmp_path, per_device_train_batch_size=4, output_dir=str(tmp_path / "two"), **shared)
    ranks = _two_ranks(recipe)
    for result in ranks:
        assert result["losses"] == pytest.approx(alone.outcome.losses, abs=1e-6 * alone.outcome.losses[0], rel=0)
        assert [loss for _, loss in result["evals"]] == pytest.approx(
            [loss for _, loss in alone.outcome.eval_losses], rel=1e-5
        )
