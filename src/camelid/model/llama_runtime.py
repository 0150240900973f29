"""llama.cpp through llama-cpp-python: the runtime in which an exported GGUF file is loaded and looked at.

An extra (`pip install 'camelid[gguf]'`): it compiles from source in about six minutes on two cores. Where it is
missing, `require_llama_cpp` says so in one line.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from camelid.errors import UserError

if TYPE_CHECKING:
    from typing import Self

REQUIREMENT = "llama-cpp-python>=0.3.16,<0.4"
_LOG_ERROR = 4  # GGML_LOG_LEVEL_ERROR
F32 = 0  # ggml's number of the type, for keys and values


def threads() -> int:
    """As many as PyTorch takes: OMP_NUM_THREADS where it is set, else one for each core that this process may use.

    More threads than cores are free for wait for one another at every product.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def llama_cpp_installed() -> bool:
    """Whether the extra is there, without importing it."""
    return importlib.util.find_spec("llama_cpp") is not None


def require_llama_cpp(what: str) -> Any:
    """The package, its log kept off the terminal. Raises `UserError` where it is missing or cannot be loaded."""
    mend = f"run: {sys.executable} -m pip install '{REQUIREMENT}' (it compiles for some minutes)"
    if not llama_cpp_installed():
        raise UserError(f"{what} needs llama-cpp-python, which is not installed", mend=mend)
    try:
        import llama_cpp  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: its shared library cannot be loaded
        lines = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"llama-cpp-python is installed but cannot be loaded: {lines[0][:200]}", mend=mend) from error
    global _callback
    if _callback is None:
        _callback = llama_cpp.llama_log_callback(_remember)
        llama_cpp.llama_log_set(_callback, ctypes.c_void_p(0))
        if b"AMX_INT8 = 1" in llama_cpp.llama_print_system_info():
            _keep_off_amx(llama_cpp)
    return llama_cpp


def _keep_off_amx(llama_cpp: Any) -> None:
    """Let models be loaded for the ordinary kernels.

    GCC 12 drops the stores before `_tile_loadconfig`, whose declared input is 8 bytes of 64, so llama.cpp's AMX kernels
    that it compiled end the process by an illegal instruction at the first product. Which compiler made an installed
    library cannot be seen.
    """
    defaults = llama_cpp.llama_model_default_params

    def parameters() -> Any:
        made = defaults()
        made.use_extra_bufts = False  # weights in AMX's order, and others that are repacked
        return made

    for module in (llama_cpp, llama_cpp.llama_cpp):  # its `Llama` asks the inner one
        module.llama_model_default_params = parameters


_said: deque[str] = deque(maxlen=20)
_callback: Any = None  # llama.cpp keeps a pointer to it


def _remember(level: int, text: bytes, user_data: Any) -> None:
    """llama.cpp's log: nothing is shown, and what it says of errors is kept for the line that we show."""
    line = text.decode("utf-8", errors="replace").strip()
    if level == _LOG_ERROR and line:
        _said.append(line)


def last_words() -> str:
    """What llama.cpp said last of an error, in one line."""
    return "; ".join(list(_said)[-3:]) or "it gives no reason"


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer. ids: without the token that ended it; logits: (n, V) float32, one row per choice made."""

    ids: tuple[int, ...]
    ended_by: int | None
    logits: np.ndarray


class LlamaRunner:
    """A GGUF file (and a LoRA adapter) in llama.cpp, on the CPU, keys and values in float32; use it with `with`."""

    def __init__(self, path: Path, *, context: int = 512, lora: Path | None = None) -> None:
        """Raises `UserError` where llama.cpp refuses the file."""
        llama_cpp = require_llama_cpp("loading a GGUF file in llama.cpp")
        try:
            self._llama = llama_cpp.Llama(
                str(path),
                n_ctx=context,
                n_batch=context,
                n_ubatch=context,
                n_threads=threads(),
                n_threads_batch=threads(),
                n_gpu_layers=0,
                logits_all=True,
                type_k=F32,
                type_v=F32,
                swa_full=True,
                lora_path=None if lora is None else str(lora),
                verbose=False,
            )
        except (ValueError, RuntimeError) as error:
            raise UserError(f"llama.cpp cannot load it: {last_words()}", where=str(lora or path)) from error
        self.context, self.rows = context, int(self._llama.n_vocab())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._llama.close()

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata as llama.cpp read it."""
        return dict(self._llama.metadata)

    def tokens(self, text: str) -> list[int]:
        """The ids of a user's text: no bos, and control tokens that it spells stay text."""
        return list(self._llama.tokenize(text.encode(), add_bos=False, special=False))

    def prompt_tokens(self, text: str) -> list[int]:
        """The ids of a rendered prompt: control tokens are control tokens."""
        return list(self._llama.tokenize(text.encode(), add_bos=False, special=True))

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """(T, V) float32: what the model says after each token."""
        self._llama.reset()
        self._llama.eval(list(ids))
        return np.array(self._llama.scores[: len(ids)], np.float32)

    def greedy(self, prompt: Sequence[int], limit: int, stop_ids: Collection[int]) -> Answer:
        """Up to `limit` tokens, the most probable each time, until one of `stop_ids`."""
        row = self.logits(prompt)[-1]
        ids: list[int] = []
        rows: list[np.ndarray] = []
        while len(ids) < limit:
            rows.append(row)
            chosen = int(row.argmax())
            if chosen in stop_ids:
                return Answer(tuple(ids), chosen, np.stack(rows))
            ids.append(chosen)
            if len(ids) < limit:
                self._llama.eval([chosen])
                row = np.array(self._llama.scores[self._llama.n_tokens - 1], np.float32)
        return Answer(tuple(ids), None, np.stack(rows))

    def rendered(self, messages: Sequence[dict[str, Any]], *, bos: str, eos: str) -> str:
        """The prompt for `messages`, by the chat template in the file and llama-cpp-python's own renderer."""
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter  # pyright: ignore[reportMissingImports]

        formatter = Jinja2ChatFormatter(self.metadata["tokenizer.chat_template"], eos_token=eos, bos_token=bos)
        return formatter(messages=list(messages)).prompt  # type: ignore[arg-type]
