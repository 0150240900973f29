"""Quantising a GGUF file with llama.cpp's own quantiser.

f32, f16, bf16 and q8_0 are written by gguf_write.py without it; the others are made here from a float32 file.
"""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from pathlib import Path

from camelid.errors import UserError
from camelid.model.gguf import GGUFFile
from camelid.model.gguf_write import KINDS
from camelid.model.llama_runtime import last_words, require_llama_cpp, threads

# Name -> llama_ftype of llama.h. Those that need an importance matrix (iq1 to iq3) are not here.
QUANTISED: dict[str, int] = {
    "q2_k": 10, "q3_k_s": 11, "q3_k_m": 12, "q3_k_l": 13, "q4_0": 2, "q4_1": 3, "q4_k_s": 14, "q4_k_m": 15,
    "q5_0": 8, "q5_1": 9, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18, "iq4_nl": 25, "iq4_xs": 30,
}  # fmt: skip


def check_quantise(name: str) -> str:
    """A --quantise value in our spelling. Raises `UserError` for an unknown one, and where llama.cpp is missing."""
    known = name.lower().replace("-", "_")
    if known in KINDS:
        return known
    if known not in QUANTISED:
        raise UserError(
            f"no quantisation is called {name!r}", where="--quantise", mend=f"one of: {', '.join((*KINDS, *QUANTISED))}"
        )
    require_llama_cpp(f"quantising to {known}")
    return known


def quantise(source: Path, target: Path, name: str) -> None:
    """Write `target`, the float32 file `source` in the quantisation `name`. Raises `UserError` where it fails."""
    llama_cpp = require_llama_cpp(f"quantising to {name}")
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = QUANTISED[name]
    parameters.nthread = threads()
    code = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(parameters))
    if code != 0:
        raise UserError(
            f"llama.cpp could not quantise the model to {name}: {last_words()}",
            where=str(target),
            mend="see that there is room on the disk, or take q8_0, which is written without it",
        )


def types_held(path: Path) -> dict[str, int]:
    """ggml type -> how many tensors of a file are stored in it, the most frequent first.

    llama.cpp takes a neighbouring type for rows that a block does not divide, so a q4_k_m file may hold other types.
    """
    with GGUFFile(path) as file:
        return dict(Counter(tensor.kind_name for tensor in file.tensors.values()).most_common())
