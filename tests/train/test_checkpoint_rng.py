"""Random states: after a save, a load and a restore, every generator goes on as if nothing had happened."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.errors import UserError
from camelid.train.checkpoint import capture_rng, load_checkpoint, restore_rng, save_checkpoint


@pytest.fixture(autouse=True)
def _leave_the_generators_as_they_were() -> Iterator[None]:
    before = capture_rng()
    yield
    restore_rng(*before)


def draw() -> list[float]:
    dropped = torch.nn.functional.dropout(torch.ones(20), 0.5).tolist()
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.randn(()).item(), *dropped]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_generators_go_on_exactly_through_a_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, seed: int, draws: int
) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    for _ in range(draws):
        draw()  # an odd number of gaussians leaves one cached in each of two generators
    tensors, state = capture_rng()
    root = tmp_path_factory.getbasetemp() / "rng"
    loaded = load_checkpoint(save_checkpoint(root, 1, {"rng": tensors}, {"rng": state}))
    expected = [draw() for _ in range(3)]
    torch.manual_seed(seed + 1)
    restore_rng(loaded.tensors["rng"], loaded.state["rng"])
    assert [draw() for _ in range(3)] == expected


def test_capture_draws_nothing() -> None:
    torch.manual_seed(5)
    capture_rng()
    first = draw()
    torch.manual_seed(5)
    assert draw()[4:] == first[4:]


@pytest.mark.parametrize("name", ["python", "numpy", "torch_cpu"])
def test_a_missing_state_is_named_and_nothing_is_touched(name: str) -> None:
    tensors, state = capture_rng()
    del tensors[name]
    torch.manual_seed(77)
    before = torch.get_rng_state()
    with pytest.raises(UserError, match=name):
        restore_rng(tensors, state)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_state_of_another_kind_of_device_is_refused() -> None:
    tensors, state = capture_rng()
    if "torch_cuda" in tensors:
        del tensors["torch_cuda"]
    else:
        tensors["torch_cuda"] = torch.zeros(16, dtype=torch.uint8)
    with pytest.raises(UserError, match="GPU"):
        restore_rng(tensors, state)


def test_checkpoints_hold_no_pickle(tmp_path: Path) -> None:
    tensors, state = capture_rng()
    path = save_checkpoint(tmp_path, 1, {"rng": tensors}, {"rng": state})
    assert sorted(file.name for file in path.iterdir()) == ["manifest.json", "rng.safetensors", "state.json"]
