"""Machines that a run may be planned for: this one, as it is, or a GPU by its name."""

from __future__ import annotations

import ctypes
import difflib
import os
import platform
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from camelid.errors import UserError
from camelid.runs.memory import resident_memory
from camelid.runs.prices import CPU, GPUS
from camelid.runs.report_data import Price

_CONTEXT = 0.7e9  # bytes that CUDA, its libraries and other programs hold of a GPU beside the tensors


@dataclass(frozen=True)
class Machine:
    """memory: bytes that a run may take. flops: per second in products, by type; moved: bytes per second

    touched: seconds that a byte costs when it is touched for the first time, and the system must find and clear it
    measured: the rates were measured here, else they are the data sheet's, of which ordinary training reaches a part
    """

    name: str
    gpu: bool
    memory: float
    price: Price
    flops: dict[torch.dtype, float]
    moved: float
    measured: bool
    touched: float = 0.0

    def with_memory(self, memory: float | None) -> Machine:
        """The same with another size of memory, where one is given."""
        return self if memory is None else replace(self, memory=memory)


# Data sheets: memory in GB; dense TFLOP/s in float32 and bfloat16; GB/s.
_SHEETS: dict[str, tuple[float, float, float, float]] = {
    "T4": (16, 8.1, 0.0, 320),
    "L4": (24, 30.3, 121, 300),
    "RTX 3090": (24, 35.6, 71, 936),
    "RTX 4090": (24, 82.6, 165, 1008),
    "A100": (80, 19.5, 312, 2039),
    "H100": (80, 67, 989, 3350),
    "H200": (141, 67, 989, 4800),
}


def named_gpu(name: str) -> Machine:
    """Raises UserError for one that is not in the table."""
    plain = {re.sub(r"[^a-z0-9]", "", key.lower()): key for key in _SHEETS}
    asked = re.sub(r"[^a-z0-9]", "", name.lower().removeprefix("nvidia"))
    key = plain.get(asked) or plain.get(f"rtx{asked}")
    if key is None:
        near = difflib.get_close_matches(asked, plain, 1, 0.5)
        mend = f"did you mean '{plain[near[0]]}'?" if near else f"known are {', '.join(_SHEETS)}"
        raise UserError(f"no GPU called {name!r} is in the table", where="--gpu", mend=f"{mend}; or give --memory 24GB")
    memory, float32, bfloat16, moved = _SHEETS[key]
    rates = {torch.float32: float32 * 1e12} | ({torch.bfloat16: bfloat16 * 1e12} if bfloat16 else {})
    return Machine(key, True, memory * 1e9 - _CONTEXT, GPUS[key], rates, moved * 1e9, measured=False)


def this_machine(flops: dict[torch.dtype, float]) -> Machine:
    """The machine that runs now; its GPU if it has one. flops: measured rates of its CPU."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        known = next((key for key in _SHEETS if key.lower() in name.lower()), None)
        sheet = named_gpu(known) if known is not None else named_gpu("RTX 4090")
        return Machine(name, True, float(free), sheet.price, sheet.flops, sheet.moved, measured=False)
    name = f"this machine ({os.cpu_count()} cores)"
    return Machine(name, False, available_memory(), CPU, flops, copy_rate(), measured=True, touched=touch_price())


def available_memory() -> float:
    """Bytes that this process could still take or already has: of the machine, or of its control group if less."""
    free = float(psutil.virtual_memory().available)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and (most := limit.read_text().strip()).isdigit():
        free = min(free, float(most) - float(used.read_text()))
    return free + resident_memory()


_HEAP = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Heap(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [(name, ctypes.c_size_t) for name in _HEAP]


def held_memory() -> int:
    """Bytes that this process has asked for and not given back, where glibc (2.33 or later) tells; else its size."""
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split(".")[:2])) < (2, 33):
        return resident_memory()
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _Heap
    heap = ask()
    return heap.uordblks + heap.hblkhd


def copy_rate(seconds: float = 0.1) -> float:
    """Bytes a second that an operation on large tensors reads and writes here: the fastest of some."""
    source = torch.ones(8 << 20)
    target, best = torch.empty_like(source), 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not best:
        begin = time.perf_counter()
        torch.mul(source, 2.0, out=target)
        best = max(best, 2 * source.nbytes / (time.perf_counter() - begin))
    return best


def parse_memory(text: str) -> float:
    """'8GB', '512 MiB' -> bytes. Raises UserError."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(k|m|g|t)?(i?)b?\s*", text.lower())
    if match is None or float(match[1]) <= 0:
        raise UserError(f"{text!r} is no size of memory", where="--memory", mend="write 8GB, 24GB or 512MB")
    power = " kmgt".index(match[2] or " ")
    return float(match[1]) * (1024 if match[3] else 1000) ** power


def touch_price(times: int = 3) -> float:
    """Seconds a byte that memory costs here when it is touched for the first time: the least of some."""
    prices: list[float] = []
    for _ in range(times):
        block = torch.empty(64 << 20, dtype=torch.uint8)  # so large that glibc asks the system for it anew
        seconds: list[float] = []
        for value in (1, 2):
            begin = time.perf_counter()
            block.fill_(value)
            seconds.append(time.perf_counter() - begin)
        prices.append(max(0.0, seconds[0] - seconds[1]) / block.nbytes)
        del block
    return min(prices)
