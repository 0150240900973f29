"""Frozen weights kept in 8 or 4 bits: a tensor that is dequantised where it is multiplied, and only there.

QLoRA's idea (Dettmers et al. 2023) on any device: the base stays quantised, an adapter is trained on it in float. The
layouts are ggml's Q8_0 and Q4_1, codes and float16 scales of groups of 32 along a row, so a base that comes from a GGUF
of those kinds (smollm2) loses nothing. Values are computed in float32 and rounded once.

A `QuantisedWeight` stands where a float parameter stood, in transformers' own modules, with its shape and type. Any
operation that has no rule of its own here sees the float values. Products have one: they keep the codes for the
backward pass and never more than a block of float values (`WeightProduct`).

Shape legend: O rows (outputs), I columns (inputs), G groups of a row, S values of a group, N rows of an input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from camelid.model.quantised_codes import eight_bits, four_bits

Bits = Literal[8, 4]

_BLOCK = 1 << 18  # values dequantised at a time: the float32 ones stay in the cache of a core
_PIECE = 1 << 22  # values of a large weight (an embedding) that are there at a time


def group_of(columns: int) -> int | None:
    """Values that share a scale: 32 as in ggml, 16 where a row is no multiple of that; None: it stays in float."""
    return next((size for size in (32, 16) if columns % size == 0), None)


@final
class QuantisedWeight(Tensor):
    """A frozen weight (O, I), in 8 bits (scale * code) or in 4 (scale * code + low).

    codes: (O, I) int8, or (O, I / 2) uint8: of each byte the low half belongs to the first half of the row
    scale, low: (O, G) float16; low is None in 8 bits
    """

    codes: Tensor
    scale: Tensor
    low: Tensor | None

    @staticmethod
    def __new__(cls, codes: Tensor, scale: Tensor, low: Tensor | None, dtype: torch.dtype) -> QuantisedWeight:
        columns = codes.shape[1] * (1 if low is None else 2)
        made = Tensor._make_wrapper_subclass(cls, (len(codes), columns), dtype=dtype, device=codes.device)  # type: ignore[attr-defined]
        made.codes, made.scale, made.low = codes, scale, low
        return made

    @property
    def bits(self) -> Bits:
        return 8 if self.low is None else 4

    @property
    def stored_bytes(self) -> int:
        """Bytes that it takes."""
        return sum(part.numel() * part.element_size() for part in self.parts)

    @property
    def parts(self) -> list[Tensor]:
        """The tensors that it consists of."""
        return [part for part in (self.codes, self.scale, self.low) if part is not None]

    def rows(self, which: Tensor | slice) -> QuantisedWeight:
        """Some rows: views for a slice, copies for indices (n,)."""
        low = None if self.low is None else self.low[which]
        return QuantisedWeight(self.codes[which], self.scale[which], low, self.dtype)

    def pieces(self) -> Iterator[tuple[slice, Tensor]]:
        """(rows, their float values) for consecutive rows, at most `_PIECE` values at a time."""
        step = max(1, _PIECE // self.shape[1])
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield rows, self.rows(rows).dense()

    def dense(self) -> Tensor:
        """(O, I) in its type, contiguous."""
        out = torch.empty(self.shape, dtype=self.dtype, device=self.codes.device)
        step = max(1, _BLOCK // self.shape[1])
        for start in range(0, len(self), step):
            self._write(slice(start, start + step), out[start : start + step])
        return out

    def _write(self, rows: slice, out: Tensor) -> None:
        codes, scale = self.codes[rows], self.scale[rows].float()[..., None]
        if self.low is None:
            values = codes.float()
            values.view(*scale.shape[:2], -1).mul_(scale)
        else:
            half = codes.shape[1]
            values = torch.empty(out.shape, dtype=torch.float32, device=out.device)
            values[:, :half] = codes & 15
            values[:, half:] = codes >> 4
            values.view(*scale.shape[:2], -1).mul_(scale).add_(self.low[rows].float()[..., None])
        out.copy_(values)

    def fill(self, start: int, values: Tensor) -> None:
        """Quantise float values (n, I) into the rows from `start` on."""
        step = max(1, _BLOCK // self.shape[1])
        for begin in range(0, len(values), step):
            piece = values[begin : begin + step].float()
            rows = slice(start + begin, start + begin + len(piece))
            groups = piece.view(len(piece), self.scale.shape[1], -1)
            if self.low is None:
                self.scale[rows], found = eight_bits(groups)
                self.codes[rows] = found.view(piece.shape)
                continue
            self.scale[rows], self.low[rows], found = four_bits(groups)
            first, second = found.to(torch.uint8).view(piece.shape).chunk(2, 1)
            self.codes[rows] = first | (second << 4)

    def remade(self, change: Callable[[Tensor], Tensor], dtype: torch.dtype | None = None) -> QuantisedWeight:
        """The same weight over other parts, which `change` makes from these; in its own type or another."""
        codes, scale, *low = (change(part) for part in self.parts)
        return QuantisedWeight(codes, scale, low[0] if low else None, dtype or self.dtype)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"QuantisedWeight({tuple(self.shape)}, {self.bits} bits, {self.dtype})"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.linear and isinstance(_argument(args, kwargs, 1, "weight"), cls):
            return _linear(*args, **kwargs)
        with torch._C.DisableTorchFunctionSubclass():  # results are of their own type, not of this one
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        rule = _RULES.get(func)
        if rule is not None and isinstance(args[0], cls):
            made = rule(*args, **kwargs)
            if made is not NotImplemented:
                return made
        args, kwargs = tree_map(lambda value: value.dense() if isinstance(value, cls) else value, (args, kwargs))
        return func(*args, **kwargs)


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str) -> Any:
    return args[place] if len(args) > place else kwargs.get(name)


def _same(weight: QuantisedWeight, **kwargs: Any) -> QuantisedWeight:
    return weight.remade(lambda part: part)


def _clone(weight: QuantisedWeight, **kwargs: Any) -> QuantisedWeight:
    return weight.remade(torch.clone)


def _to(weight: QuantisedWeight, *, dtype: Any = None, device: Any = None, **kwargs: Any) -> Any:
    dtype = dtype or weight.dtype
    if not dtype.is_floating_point:
        return NotImplemented
    return weight.remade(lambda part: part.to(device) if device is not None else part.clone(), dtype)


def _embedding(weight: QuantisedWeight, ids: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return weight.rows(ids.reshape(-1)).dense().view(*ids.shape, -1)


def _index_select(weight: QuantisedWeight, dim: int, index: Tensor) -> Any:
    return weight.rows(index).dense() if dim == 0 else NotImplemented


_ATEN = torch.ops.aten
_RULES: dict[Any, Any] = {
    _ATEN.detach.default: _same,
    _ATEN.alias.default: _same,
    _ATEN.clone.default: _clone,
    _ATEN._to_copy.default: _to,
    _ATEN.embedding.default: _embedding,
    _ATEN.index_select.default: _index_select,
}


def times_transposed(x_NI: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + bias, (N, O): a piece of a large quantised weight at a time. Without gradients."""
    if not isinstance(weight, QuantisedWeight):
        return nn.functional.linear(x_NI, weight, bias)
    if weight.numel() <= _PIECE:
        return nn.functional.linear(x_NI, weight.dense().to(x_NI.dtype), bias)
    out = x_NI.new_empty(len(x_NI), len(weight))
    for rows, values in weight.pieces():
        out[:, rows] = nn.functional.linear(x_NI, values.to(x_NI.dtype), None if bias is None else bias[rows])
    return out


def times(x_NO: Tensor, weight: Tensor, onto: Tensor | None = None) -> Tensor:
    """x W, (N, I), added to `onto` in place where it is given. Without gradients."""
    if not isinstance(weight, QuantisedWeight):
        return x_NO @ weight if onto is None else onto.addmm_(x_NO, weight)
    for rows, values in weight.pieces():
        values = values.to(x_NO.dtype)
        onto = x_NO[:, rows] @ values if onto is None else onto.addmm_(x_NO[:, rows], values)
    assert onto is not None
    return onto


class WeightProduct(torch.autograd.Function):
    """x W^T + bias for rows x (N, I) and a frozen quantised weight, whose codes alone are kept for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: QuantisedWeight, bias: Tensor | None) -> Tensor:  # type: ignore[override]
        ctx.weight = weight
        return times_transposed(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_bias = grads[0].sum(0) if ctx.needs_input_grad[2] else None
        return times(grads[0], ctx.weight) if ctx.needs_input_grad[0] else None, None, grad_bias


def _linear(input: Tensor, weight: QuantisedWeight, bias: Tensor | None = None) -> Tensor:
    """torch.nn.functional.linear with a quantised weight: (..., I) -> (..., O)."""
    kind = input.device.type
    if torch.is_autocast_enabled(kind):
        input = input.to(torch.get_autocast_dtype(kind))
    if bias is not None:
        bias = bias.to(input.dtype)
    rows: Any = WeightProduct.apply(input.reshape(-1, input.shape[-1]), weight, bias)
    return rows.view(*input.shape[:-1], -1)


def quantised(weight: Tensor, bits: Bits, dtype: torch.dtype) -> QuantisedWeight | None:
    """A float weight (O, I) in 8 or 4 bits, to be computed with in `dtype`; None for rows that no group divides."""
    made = unfilled(tuple(weight.shape), bits, dtype, weight.device)
    if made is not None:
        made.fill(0, weight.detach())
    return made


def unfilled(
    shape: tuple[int, ...], bits: Bits, dtype: torch.dtype, device: torch.device | None = None
) -> QuantisedWeight | None:
    """Room for a quantised weight (O, I); None for rows that no group divides."""
    rows, columns = shape
    size = group_of(columns)
    if size is None:
        return None
    scale = torch.zeros(rows, columns // size, dtype=torch.float16, device=device)
    if bits == 8:
        codes = torch.zeros(rows, columns, dtype=torch.int8, device=device)
        return QuantisedWeight(codes, scale, None, dtype)
    codes = torch.zeros(rows, columns // 2, dtype=torch.uint8, device=device)
    return QuantisedWeight(codes, scale, torch.zeros_like(scale), dtype)


def weights_of(model: nn.Module) -> dict[str, QuantisedWeight]:
    """The quantised weights of a model by name, a tied one once."""
    return {name: p for name, p in model.named_parameters() if isinstance(p, QuantisedWeight)}


def bits_per_weight(weights: dict[str, QuantisedWeight]) -> float:
    """What they take on the average; nan for none."""
    values = sum(w.numel() for w in weights.values())
    return 8 * sum(w.stored_bytes for w in weights.values()) / values if values else math.nan
