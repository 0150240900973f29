"""Tensors without memory, and a ledger of the memory that they would take.

The training code itself is run, every operation of it, on tensors that have a shape, a type and a place but no bytes
(PyTorch's FakeTensorMode). The ledger sees each storage begin and end, so the peak that it finds is that of this very
code: what a layer keeps for backward, what autograd frees when, the largest temporary. Small tensors of indices are
real, because their values decide shapes.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from camelid.model.quantised import QuantisedWeight

_ATEN: Any = torch.ops.aten
# numbers whose values are read: kept real, as indices are
_RANGES = (_ATEN.arange.default, _ATEN.arange.start, _ATEN.arange.start_step)
# glibc gives freed memory of larger tensors back to the system at once (M_MMAP_THRESHOLD's limit); what smaller ones
# leave is used again, but stays a part of the process
LARGE = 32 << 20
# between an operation and who asked for it
_WRAPPERS = ("torch._compile", "torch._dynamo", "torch.utils._python_dispatch")
# these only look at memory that is there
_FREE = ("view", "reshape", "expand", "permute", "transpose", "slice", "select", "detach", "alias", "squeeze", "split")


@dataclass(frozen=True)
class Moment:
    """The most bytes of tensors during a stretch of time: together, of large ones, and of all others."""

    live: float
    large: float
    small: float

    def or_more(self, other: Moment) -> Moment:
        """The larger of each."""
        return Moment(max(self.live, other.live), max(self.large, other.large), max(self.small, other.small))

    def plus(self, other: Moment) -> Moment:
        """Both together."""
        return Moment(self.live + other.live, self.large + other.large, self.small + other.small)

    def less(self, other: Moment) -> Moment:
        """Without what is in the other."""
        return Moment(self.live - other.live, self.large - other.large, self.small - other.small)

    def towards(self, other: Moment, steps: float) -> Moment:
        """The straight line from self through `other`, so many times as far."""
        a, b = astuple(self), astuple(other)
        return Moment(*(x + (y - x) * steps for x, y in zip(a, b, strict=True)))


@final
class Ledger(TorchDispatchMode):
    """Bytes of the storages that live, their peak, and the work of the operations; entered inside `without_memory`.

    flops: of products; moved: bytes that all operations read and write; operations: those that compute
    shapes: the products that differ
    curve: where it is a list, what lives when each new storage is there
    """

    def __init__(self) -> None:
        super().__init__()
        self._live = self._large = 0
        self._most = self.now
        self.flops = self.moved = self.operations = 0
        self.shapes: set[tuple[Any, ...]] = set()
        self.curve: list[Moment] | None = None
        self._known: dict[int, int] = {}

    def since(self) -> Moment:
        """The most since the last call (or the start); counting begins anew."""
        most, self._most = self._most, self.now
        return most

    @property
    def now(self) -> Moment:
        """What lives."""
        return Moment(self._live, self._large, self._live - self._large)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation: on real tensors where all are real, else without memory."""
        kwargs = kwargs or {}
        if QuantisedWeight in types:
            return NotImplemented  # its own operations come here, one by one
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        mask = not tensors and kwargs.get("dtype") == torch.bool  # model/attend.py keeps one for every later run
        if func in _RANGES or mask or (tensors and not any(isinstance(x, FakeTensor) for x in tensors)):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func is _ATEN._local_scalar_dense.default:
            return 1.0  # a value that is read here (a norm, a step's number) decides no size
        if func is _ATEN.index.Tensor:
            args = (args[0], [_places(index) for index in args[1]])
        if func is _ATEN.add.Tensor and _is_sum_of_gradients(args):
            self._work(func, args, kwargs, args[0], tensors, [args[0]])
            return args[0]
        out = func(*args, **kwargs)
        made = [x for x in tree_leaves(out) if isinstance(x, FakeTensor)]
        for tensor in made:
            self._count(tensor)
        self._work(func, args, kwargs, out, tensors, made)
        return out

    def _work(self, func: Any, args: Any, kwargs: Any, out: Any, read: list[Tensor], made: list[FakeTensor]) -> None:
        packet = func._overloadpacket
        if packet.__name__.startswith(_FREE) or packet.__name__ in (
            "t",
            "empty",
            "empty_like",
            "new_empty",
            "unsqueeze",
        ):
            return
        self.operations += 1
        self.moved += sum(x.numel() * x.element_size() for x in (*read, *made))
        if packet in flop_registry:
            self.shapes.add((packet, *(x.shape for x in read)))
            self.flops += flop_registry[packet](*args, **kwargs, out_val=out)

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self._known[key] = size = storage.nbytes()
            self._live += size
            self._large += size if size >= LARGE else 0
            self._most = self._most.or_more(self.now)
            if self.curve is not None:
                self.curve.append(self.now)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        size = self._known.pop(key)
        self._live -= size
        self._large -= size if size >= LARGE else 0


def _is_sum_of_gradients(args: Any) -> bool:
    """Whether autograd itself adds what comes to a tensor from two sides: head and embedding to the weight they share.

    It does so in place where nobody else holds the first, but never while a mode looks on.
    """
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_WRAPPERS):
        frame = frame.f_back
    first, second = args
    engine = frame is not None and frame.f_globals.get("__name__") == "torch.autograd.graph"
    return engine and isinstance(second, Tensor) and (first.shape, first.dtype) == (second.shape, second.dtype)


def _places(index: Tensor | None) -> Tensor | None:
    """An index whose result has a known length: a real mask becomes the places where it is true."""
    if index is None or isinstance(index, FakeTensor) or index.dtype != torch.bool:
        return index
    with unset_fake_temporarily():
        (places,) = index.nonzero(as_tuple=True)
    return places


@contextmanager
def without_memory() -> Iterator[Ledger]:
    """Tensors that are made in this block have no bytes; what they would take is in the ledger."""
    with FakeTensorMode(allow_non_fake_inputs=True), Ledger() as ledger:
        yield ledger


def materialise(model: nn.Module, make: Any) -> None:
    """Put `make(tensor)` in the place of every parameter and buffer of a model on the meta device; ties stay ties."""
    made: dict[int, Tensor] = {}
    kept: list[Tensor] = []  # an id is a tensor's own only while that lives
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in list(store.items()):
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    kept.append(tensor)
                    new = tensor.remade(make) if isinstance(tensor, QuantisedWeight) else make(tensor)
                    is_parameter = isinstance(tensor, nn.Parameter)
                    made[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if is_parameter else new
                setattr(module, name, made[id(tensor)])  # not the store itself: an LSTM keeps a second list
