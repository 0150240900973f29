"""Every generator of random numbers that training may draw from, as tensors and JSON, to go on exactly where it was.

Covers Python's `random`, NumPy's global generator, torch on the CPU and on this process's current CUDA device. A
generator object that a module owns itself (`numpy.random.Generator`, `torch.Generator`) is that module's to save.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from camelid.errors import UserError


def capture_rng() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors, JSON values): the state now. Draws nothing."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "torch_cpu": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        tensors["torch_cuda"] = torch.cuda.get_rng_state()
    state = {
        "python": {"version": version, "gauss": gauss},
        "numpy": {"name": str(name), "position": int(position), "has_gauss": int(has_gauss), "cached": float(cached)},
    }
    return tensors, state


def restore_rng(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
    """Set every generator to a captured state. Raises UserError naming what is missing, before any is touched."""
    missing = sorted({"python", "numpy", "torch_cpu"} - set(tensors)) + sorted({"python", "numpy"} - set(state))
    cuda_here = torch.cuda.is_available() and torch.cuda.is_initialized()
    if missing:
        raise UserError(f"the checkpoint lacks random states ({', '.join(missing)})", mend="resume from another one")
    if cuda_here != ("torch_cuda" in tensors):
        made, here = ("a GPU", "a CPU") if "torch_cuda" in tensors else ("a CPU", "a GPU")
        raise UserError(
            f"the checkpoint was made on {made} and this is {here}: its random numbers cannot go on",
            mend=f"resume on {made}",
        )
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(tensors["python"].tolist()), python["gauss"]))
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state((numpy["name"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"]))
    # clone: torch wants a tensor that starts its own storage, and loaded ones lie within their file's buffer.
    torch.set_rng_state(tensors["torch_cpu"].clone())
    if cuda_here:
        torch.cuda.set_rng_state(tensors["torch_cuda"].clone())
