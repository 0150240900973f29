"""The compute type follows the measured rates, and is said in one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from camelid.model import precision
from camelid.model.precision import Measurement, compute_dtype, measure_compute_dtype


def test_both_types_are_really_multiplied() -> None:
    measured = measure_compute_dtype(seconds=0.02)
    assert measured.gflops_float32 > 0.1
    assert measured.gflops_bfloat16 > 0.1
    faster = measured.gflops_bfloat16 > 1.2 * measured.gflops_float32
    assert measured.dtype == (torch.bfloat16 if faster else torch.float32)


@pytest.mark.parametrize(
    ("rates", "dtype"),
    [
        ([180.0, 20.0], torch.float32),  # AVX2: bfloat16 is emulated
        ([130.0, 350.0], torch.bfloat16),  # avx512_bf16
        ([100.0, 110.0], torch.float32),  # a narrow win is not worth the accuracy
    ],
)
def test_the_clearly_faster_type_is_chosen(
    rates: list[float], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_gflops", lambda dtypes, seconds: rates)
    measured = measure_compute_dtype()
    assert measured == Measurement(dtype, rates[0], rates[1])
    name = str(dtype).removeprefix("torch.")
    assert str(measured) == (
        f"compute type: {name} (measured on this CPU: float32 {rates[0]:.0f} GFLOP/s, bfloat16 {rates[1]:.0f} GFLOP/s)"
    )


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_is_asked(supported: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert measure_compute_dtype(device="cuda").dtype == dtype


def test_a_type_asked_for_is_obeyed_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_gflops", lambda dtypes, seconds: pytest.fail("measured"))
    assert compute_dtype("bfloat16") == (torch.bfloat16, "compute type: bfloat16 (as asked)")
    assert compute_dtype("float32") == (torch.float32, "compute type: float32 (as asked)")


@pytest.mark.parametrize(("name", "ours"), [("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256"), ("LRU_CACHE_CAPACITY", "64")])
@pytest.mark.parametrize("users", [None, "32"])
def test_caches_of_products_are_bounded_unless_the_user_says_otherwise(name: str, ours: str, users: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if key != name}
    if users is not None:
        environment[name] = users
    code = f"import camelid.model, os; print(os.environ[{name!r}])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (users or ours)
