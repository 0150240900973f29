"""Which number type a model should be computed in on this machine: measured, not guessed.

On a CPU with avx512_bf16 or AMX, products in bfloat16 run about three times faster than in float32; on one without,
nine times slower, because they are emulated. No flag tells reliably, so both are multiplied for a moment.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

# Rows of a packed batch x hidden x inner size of SmolLM2-135M: large enough to be compute-bound.
SHAPE = (512, 576, 1536)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The chosen type and the rates measured, in GFLOP/s (zero where a type was not measured)."""

    dtype: torch.dtype
    gflops_float32: float
    gflops_bfloat16: float
    device: str = "cpu"

    def __str__(self) -> str:
        name = str(self.dtype).removeprefix("torch.")
        if not self.gflops_float32:
            return f"compute type: {name} ({self.device})"
        rates = f"float32 {self.gflops_float32:.0f} GFLOP/s, bfloat16 {self.gflops_bfloat16:.0f} GFLOP/s"
        return f"compute type: {name} (measured on this {self.device.upper()}: {rates})"


def measure_compute_dtype(seconds: float = 0.2, device: str | torch.device = "cpu") -> Measurement:
    """Multiply matrices in float32 and in bfloat16 for `seconds` together, and choose the faster.

    On CUDA the hardware's word is taken: bfloat16 where it is supported.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return Measurement(torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32, 0.0, 0.0, "cuda")
    if kind != "cpu":
        return Measurement(torch.float32, 0.0, 0.0, kind)
    rate32, rate16 = _gflops((torch.float32, torch.bfloat16), seconds)
    # bfloat16 loses accuracy, so it must win clearly.
    return Measurement(torch.bfloat16 if rate16 > 1.2 * rate32 else torch.float32, rate32, rate16)


def _gflops(dtypes: tuple[torch.dtype, ...], seconds: float) -> list[float]:
    """The rate of the fastest product seen in each type, in 1e9 floating-point operations a second.

    The fastest, and in turns, because other programs may share the machine.
    """
    rows, hidden, inner = SHAPE
    pairs = [(torch.ones(rows, hidden, dtype=dtype), torch.ones(hidden, inner, dtype=dtype)) for dtype in dtypes]
    best = [float("inf")] * len(pairs)
    with torch.inference_mode():
        for left, right in pairs:
            torch.mm(left, right)  # the first call chooses and compiles a kernel
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds or float("inf") in best:
            for index, (left, right) in enumerate(pairs):
                start = time.perf_counter()
                torch.mm(left, right)
                best[index] = min(best[index], time.perf_counter() - start)
    return [2 * rows * hidden * inner / duration / 1e9 for duration in best]


def compute_dtype(wanted: str, device: str | torch.device = "cpu") -> tuple[torch.dtype, str]:
    """(type, one line for the log) for a recipe's `dtype`: "auto" measures, "float32" and "bfloat16" are obeyed."""
    if wanted == "auto":
        measured = measure_compute_dtype(device=device)
        return measured.dtype, str(measured)
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]
    return dtype, f"compute type: {wanted} (as asked)"
