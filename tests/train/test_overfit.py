"""Every method can learn: 64 real rows by heart, on a small pretrained base, with gradient checkpointing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from runs_for_tests import run, tiny_recipe

from camelid.model.virtual_tokens import attached

SST2 = Path(__file__).parents[3] / "shared" / "data" / "nlu" / "glue" / "SST-2" / "dev.tsv"
METHODS: dict[str, dict[str, Any]] = {
    "full": {"learning_rate": 3e-3},
    "freeze": {"learning_rate": 3e-2, "freeze": {"last_layers": 1}},
    "lora": {"learning_rate": 2e-2},
    "dora": {"method": "lora", "learning_rate": 2e-2, "lora": {"use_dora": True}},
    "prompt": {"learning_rate": 0.1},
    "ptuning": {"learning_rate": 2e-2, "prompt": {"encoder_hidden_size": 64}},
    "prefix": {"learning_rate": 2e-2, "prefix": {"encoder_hidden_size": 64}},
    "ptuning2": {"learning_rate": 0.1},
}


@pytest.mark.slow
@pytest.mark.skipif(not SST2.is_file(), reason="the shared data is not beside this checkout")
@pytest.mark.parametrize("name", METHODS)
def test_64_rows_are_learnt_by_heart_and_the_base_stays_as_it_was(name: str, tmp_path: Path) -> None:
    """Shows 1. nano has grouped queries (6 heads, 2 of keys)."""
    fields: dict[str, Any] = {
        "method": name,
        "base": "nano",
        "task": "classify",
        "data": f"{SST2}#64",
        "max_length": 24,
        "per_device_train_batch_size": 64,
        "max_steps": 120,
        "max_rejected": 0,
        "gradient_checkpointing": True,
        "lr_scheduler_type": "constant",
        **METHODS[name],
    }
    before: dict[str, torch.Tensor] = {}

    def remember(setup: Any) -> None:
        before.update({n: p.detach().clone() for n, p in setup.trainable.lm.named_parameters() if not p.requires_grad})

    done = run(tiny_recipe(tmp_path, **fields), hook=remember)
    assert min(done.outcome.losses) < 0.05
    lm = done.setup.trainable.lm
    assert before or name == "full"
    for parameter, value in before.items():
        assert torch.equal(lm.get_parameter(parameter), value), parameter
    assert (attached(lm) is not None) is (name in ("prompt", "ptuning", "prefix", "ptuning2"))
