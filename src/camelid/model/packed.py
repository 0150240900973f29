"""Linear layers laid out once for many small products, as generation needs them on a CPU.

A decoding step multiplies a few rows with every weight of the model. An ordinary product first copies the weight into
the order that its kernel reads; here that is done once (oneDNN's blocked layout): 1.6 to 2.6 times as fast from 2 to 64
rows, and each row of the result has the same bits whatever rows stand beside it, so that an answer does not depend
on its batch (tests/model/test_packed.py, benchmarks/RESULTS.md).

Layers that read the same input (q, k, v; gate, up) are one product. A packed layer can carry several adapters, and the
routing says for each row which one is meant: LoRA as its two factors, any other kind of adapter as a weight of its own.

Shape legend: N rows, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from camelid.model.projection import Projection, projection_of
from camelid.model.quantised import QuantisedWeight


@dataclass
class Routing:
    """Which rows of the present batch go through which adapter; shared by all packed layers of a model.

    rows: of each adapter its rows (M,) int64, None where all rows are its own; rows of no adapter are the base's
    """

    rows: dict[str, Tensor | None] = field(default_factory=dict)


def packs(weight: Tensor) -> bool:
    """Whether there is a packed product for this weight: on a CPU with oneDNN, in float32 or a fast bfloat16."""
    if isinstance(weight, QuantisedWeight):
        return False  # a float copy of it is what was to be saved: it is dequantised in each product
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


@final
class Product:
    """x W^T + bias with W (O, I) laid out for the device's kernels: (N, I) -> (N, O)."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.packed, weight = packs(weight), weight.detach()
        # 64 is the number of rows that the layout is chosen for; on AVX2 all numbers give the same
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, 64) if self.packed else weight
        self.bias = None if bias is None else bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        if not self.packed:
            return nn.functional.linear(x, self.weight, self.bias)
        # on AVX-512 a single row of more than 1,024 inputs would be added up in another order; two cost the same
        rows = x.expand(2, -1) if len(x) == 1 else x
        return torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")[: len(x)]


@dataclass
class _Adapter:
    """One adapter of a joint layer, by part: factors (a, b) of a low-rank update, or a weight in the base's place.

    joint: all low-rank updates as one: a's below each other, b's along a diagonal; made when first needed. (A product
    costs 60 us however small it is.)
    """

    factors: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    instead: dict[int, Product] = field(default_factory=dict)
    joint: tuple[Product, Product] | None = None

    def _joined(self, sizes: Sequence[int]) -> tuple[Product, Product]:
        """The low-rank updates as one, for parts with so many outputs each."""
        down = torch.cat([a for a, _ in self.factors.values()])
        up = down.new_zeros(sum(sizes), len(down))
        column = 0
        for part, (a, b) in self.factors.items():
            start = sum(sizes[:part])
            up[start : start + len(b), column : column + len(a)] = b
            column += len(a)
        return Product(down, None), Product(up, None)

    def apply(self, x: Tensor, y: Tensor, sizes: Sequence[int]) -> None:
        """Put the adapter on y (N, O) for inputs x (N, I)."""
        if self.factors:
            self.joint = self.joint or self._joined(sizes)
            down, up = self.joint
            y.add_(up(down(x)))
        for part, product in self.instead.items():
            start = sum(sizes[:part])
            y[:, start : start + sizes[part]].copy_(product(x))


@final
class PackedLinear(nn.Module):
    """One or several linear layers on one input, joined, without gradients, with the adapters that a Routing asks for.

    parts: the layers, in the order of their outputs; adapters that they hold are packed under the name `adapter`
    """

    def __init__(self, parts: Sequence[Projection], routing: Routing, adapter: str = "") -> None:
        super().__init__()
        self.sizes = [len(part.weight) for part in parts]
        first = parts[0].weight
        if len(parts) == 1 or isinstance(first, QuantisedWeight):  # quantised ones are used where they are
            self._products = [Product(part.weight, _joint_bias([part])) for part in parts]
        else:
            self._products = [Product(torch.cat([part.weight.detach() for part in parts]), _joint_bias(parts))]
        self._in_features, self._dtype = first.shape[1], first.dtype
        self._routing = routing
        self._adapters: dict[str, _Adapter] = {}
        for i, part in enumerate(parts):
            if part.a is not None:
                self.add(adapter, i, part)

    def add(self, name: str, part: int, update: Projection) -> None:
        """An adapter's low-rank update of the layer number `part`, under `name`."""
        assert update.a is not None
        assert update.b is not None
        adapter = self._adapters.setdefault(name, _Adapter())
        adapter.factors[part] = (
            update.a.detach().to(self._dtype),
            (update.b.detach() * update.scale).to(self._dtype),
        )
        adapter.joint = None

    def put(self, name: str, part: int, weight: Tensor, bias: Tensor | None) -> None:
        """A weight that takes the place of the layer number `part` for rows of the adapter `name`."""
        self._adapters.setdefault(name, _Adapter()).instead[part] = Product(weight.to(self._dtype), bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O), the layers' outputs side by side."""
        rows = x.reshape(-1, self._in_features)
        y = self._products[0](rows)
        if len(self._products) > 1:
            y = torch.cat([y, *(product(rows) for product in self._products[1:])], -1)
        for name, chosen in self._routing.rows.items():
            adapter = self._adapters.get(name)
            if adapter is None:
                continue  # it leaves this layer as it is
            if chosen is None:
                adapter.apply(rows, y, self.sizes)
                continue
            mine = y.index_select(0, chosen)
            adapter.apply(rows.index_select(0, chosen), mine, self.sizes)
            y.index_copy_(0, chosen, mine)
        return y.view(*x.shape[:-1], y.shape[-1])


def _joint_bias(parts: Sequence[Projection]) -> Tensor | None:
    if all(part.bias is None for part in parts):
        return None
    first = parts[0].weight
    return torch.cat(
        [part.weight.new_zeros(len(part.weight)) if part.bias is None else part.bias for part in parts]
    ).to(first.dtype)


def plain_projection(module: nn.Module) -> Projection | None:
    """What a module computes without gradients, if that is a linear layer, trained or not, perhaps with an adapter."""
    if type(module) is nn.Linear:
        hooked: Any = module._forward_hooks or module._forward_pre_hooks
        return None if hooked else Projection(module.weight, module.bias)
    return projection_of(module)
