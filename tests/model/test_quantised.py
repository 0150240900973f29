"""A quantised weight is its float values to everyone who asks, keeps its codes alone, and ggml's grid exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gguf import quants
from gguf.constants import GGMLQuantizationType
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from camelid.model import quantised as module
from camelid.model.projection import Projection, linear
from camelid.model.quantised import QuantisedWeight, group_of, quantised


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 300)
    monkeypatch.setattr(module, "_PIECE", 700)


def _weight(rows: int = 24, columns: int = 96, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.1


def _quantised(bits: Any, dtype: torch.dtype = torch.float32, **shape: int) -> QuantisedWeight:
    made = quantised(_weight(**shape), bits, dtype)
    assert made is not None
    return made


_GROUPS = {
    "rows": st.integers(1, 9),
    "groups": st.integers(1, 5),
    "spread": st.floats(1e-3, 30),
    "shift": st.floats(-3, 3),
    "seed": st.integers(0, 99),
}


@given(size=st.sampled_from([16, 32]), **_GROUPS)
@settings(max_examples=40)
def test_in_8_bits_no_value_is_off_by_more_than_half_a_step(
    rows: int, groups: int, size: int, spread: float, shift: float, seed: int
) -> None:
    weight = _weight(rows, groups * size, seed) * spread + shift
    made = quantised(weight, 8, torch.float32)
    assert made is not None
    by_group = weight.view(rows, -1, group_of(groups * size) or 0)
    largest = by_group.abs().amax(-1, keepdim=True)
    # half a step, and what the scale loses as float16: a share, and near zero half of its smallest step
    allowed = largest / 254 + largest * 2**-10 + 127 * 2**-25
    assert bool(((made.dense().view(by_group.shape) - by_group).abs() <= allowed).all())


@given(**_GROUPS)
@settings(max_examples=40)
def test_in_4_bits_no_group_is_further_off_than_in_ggml(
    rows: int, groups: int, spread: float, shift: float, seed: int
) -> None:
    weight = _weight(rows, groups * 32, seed) * spread + shift
    made = quantised(weight, 4, torch.float32)
    assert made is not None
    kind = GGMLQuantizationType.Q4_1
    theirs = torch.from_numpy(quants.dequantize(quants.quantize(weight.numpy(), kind), kind))
    ours, theirs = ((w - weight).view(rows, -1, 32).square().sum(-1) for w in (made.dense(), theirs))
    # where ggml's own arithmetic rounds a value the other way at a border between two codes
    assert bool((ours <= theirs * 1.001 + 1e-9).all())


def test_4_bits_fit_better_than_the_range_of_the_values() -> None:
    weight = _weight(64, 640)
    made = quantised(weight, 4, torch.float32)
    assert made is not None
    kind = GGMLQuantizationType.Q4_1
    theirs = torch.from_numpy(quants.dequantize(quants.quantize(weight.numpy(), kind), kind))
    assert float((made.dense() - weight).norm()) < 0.92 * float((theirs - weight).norm())


@pytest.mark.parametrize(("bits", "kind"), [(8, "Q8_0"), (4, "Q4_1")])
def test_what_comes_from_ggml_loses_nothing(bits: Any, kind: str) -> None:
    """So a GGUF base of these kinds is trained on in the very values that its file holds."""
    ggml = GGMLQuantizationType[kind]
    values = quants.dequantize(quants.quantize(_weight(64, 320).numpy(), ggml), ggml)
    made = quantised(torch.from_numpy(values), bits, torch.float32)
    assert made is not None
    np.testing.assert_array_equal(made.dense().numpy(), values)


def test_a_group_without_spread_and_one_of_zeros() -> None:
    weight = torch.cat((torch.full((1, 32), 0.5), torch.zeros(1, 32)))
    for bits in (8, 4):
        made: Any = quantised(weight, bits, torch.float32)
        torch.testing.assert_close(made.dense(), weight, rtol=1e-2, atol=0)
    assert quantised(torch.zeros(4, 24), 8, torch.float32) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_layer_is_that_of_the_float_values_in_both_directions(
    bits: Any, dtype: torch.dtype, bias: bool
) -> None:
    layer, dense = (nn.Linear(96, 24, bias=bias).to(dtype) for _ in range(2))
    dense.load_state_dict(layer.state_dict())
    layer.weight = nn.Parameter(_quantised(bits, dtype), requires_grad=False)
    dense.weight = nn.Parameter(layer.weight.dense(), requires_grad=False)  # type: ignore[attr-defined]
    x = torch.randn(2, 5, 96, dtype=dtype, requires_grad=True)
    factor = torch.randn(2, 5, 24, dtype=dtype)
    tolerance: dict[str, Any] = (
        {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    )
    a, b = layer(x), dense(x)
    torch.testing.assert_close(a, b, **tolerance)
    found = [torch.autograd.grad(y, _inputs(x, made), factor) for y, made in ((a, layer), (b, dense))]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


def _inputs(x: Tensor, layer: nn.Linear) -> list[Tensor]:
    return [x] if layer.bias is None else [x, layer.bias]


@pytest.mark.parametrize("bits", [8, 4])
def test_a_projection_with_an_adapter_is_that_of_the_float_values(bits: Any) -> None:
    weight = _quantised(bits)
    a, b = torch.randn(4, 96, requires_grad=True), torch.randn(24, 4, requires_grad=True)
    x = torch.randn(7, 96, requires_grad=True)
    factor = torch.randn(7, 24)
    found = []
    for base in (weight, weight.dense()):
        y = linear(x, Projection(base, None, a, b, 0.5))
        found.append([y, *torch.autograd.grad(y, [x, a, b], factor)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
def test_only_codes_are_kept_for_backward(bits: Any) -> None:
    layer = nn.Linear(96, 24, bias=False)
    layer.weight = nn.Parameter(_quantised(bits), requires_grad=False)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.randn(3, 96, requires_grad=True)).square().sum().backward()
    assert all(tensor.numel() < 24 * 96 for tensor in kept)


@pytest.mark.parametrize("bits", [8, 4])
def test_it_is_a_parameter_like_any_other(bits: Any) -> None:
    weight = _quantised(bits)
    values = weight.dense()
    layer = nn.Linear(96, 24, bias=False)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    assert (layer.weight.shape, layer.weight.dtype, layer.weight.numel()) == ((24, 96), torch.float32, 24 * 96)
    assert isinstance(layer.weight.detach().clone(), QuantisedWeight)
    ids = torch.tensor([[3, 3], [0, 23]])
    torch.testing.assert_close(nn.functional.embedding(ids, weight), values[ids], rtol=0, atol=0)
    torch.testing.assert_close(weight.index_select(0, ids[0]), values[ids[0]], rtol=0, atol=0)
    torch.testing.assert_close(weight * 2 + 1, values * 2 + 1, rtol=0, atol=0)  # no rule: it sees the values
    layer.bfloat16()
    assert isinstance(layer.weight, QuantisedWeight)
    assert layer.weight.dtype == torch.bfloat16
    torch.testing.assert_close(layer.weight.dense(), values.bfloat16(), rtol=0, atol=0)
    assert weight.stored_bytes * 8 == weight.numel() * {8: 8.5, 4: 5.0}[bits]
