"""llama.cpp as a decoder: GGUF files as they are, quantised, on a CPU or a Raspberry Pi; LoRA as GGUF adapters.

Through llama-cpp-python's low-level functions, so that many answers share one context (continuous batching) and every
choice is made by this package's own sampling. A finished answer's keys and values stay until their room is needed: a
prompt that begins as it did is read from where the two part.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from camelid.data.pack import Example
from camelid.errors import UserError
from camelid.generate.decoder import Decoder
from camelid.model.llama_runtime import F32, cores, last_words, require_llama_cpp

BATCH = 512  # tokens of one call, as llama.cpp's own programs have it
READ_BUSY = 128  # tokens of prompts read beside running answers
_SHARED_LEAST = 16  # a common beginning shorter than this is read again rather than copied
# Of a prompt that is known, so many tokens are read anew: for a single one llama.cpp rounds otherwise than for several,
# and a question asked twice with one seed would be answered in two ways.
_READ_LEAST = 16


@dataclass(eq=False)
class _Slot:
    """An open or finished slot: sequence number `sequence` of the context holds the first `read` of `ids`."""

    sequence: int
    ids: list[int]
    adapter: str
    tokens: int  # most that it will hold
    read: int = 0


@final
class LlamaCppDecoder(Decoder):
    """A GGUF file in llama.cpp. adapters: name -> GGUF adapter file.

    cells: tokens that all answers together can hold; the room is set aside at once. precise: attention in float32
    and not in llama.cpp's usual float16. Raises UserError for a file that llama.cpp refuses.
    """

    def __init__(
        self, path: Path, adapters: Mapping[str, Path], *, slots: int, cells: int | None = None, precise: bool = False
    ) -> None:
        self._llama = llama = require_llama_cpp("answering with a GGUF file in llama.cpp")
        llama.llama_backend_init()
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self._model = llama.llama_model_load_from_file(str(path).encode(), parameters)
        if not self._model:
            raise UserError(f"llama.cpp cannot load it: {last_words()}", where=str(path))
        self._adapters: dict[str, Any] = {}
        for name, file in adapters.items():
            self._adapters[name] = llama.llama_adapter_lora_init(self._model, str(file).encode())
            if not self._adapters[name]:
                raise UserError(f"llama.cpp cannot load the adapter: {last_words()}", where=str(file))
        self.slots = slots
        self.context = int(llama.llama_model_n_ctx_train(self._model))
        self.rows = int(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model)))
        self._width = int(llama.llama_model_n_embd(self._model))
        self._cells = cells or max(self.context, 1024 * slots)
        self._handle = self._new_context(precise)
        self._memory = llama.llama_get_memory(self._handle)
        self._batch = llama.llama_batch_init(BATCH, 0, 1)
        self._arrays = {
            name: np.ctypeslib.as_array(pointer, (BATCH,))
            for name, pointer in (
                ("token", self._batch.token),
                ("pos", self._batch.pos),
                ("n_seq_id", self._batch.n_seq_id),
                ("logits", self._batch.logits),
            )
        }
        self._open: dict[int, _Slot] = {}
        self._parked: dict[int, _Slot] = {}  # the one that was left last is the last
        self._free = list(range(2 * slots))
        self._set: str | None = None
        self._released = False

    def has_room(self, tokens: int) -> bool:
        """Whether the cells suffice; what is parked gives way."""
        return sum(slot.tokens for slot in self._open.values()) + tokens <= self._cells

    def open(self, prompt: np.ndarray, adapter: str, tokens: int) -> int:
        """A slot; what it has in common with another's beginning is shared."""
        ids = [int(i) for i in prompt]
        donor, common = self._best_donor(ids, adapter)
        spare = 1 if donor is not None and donor.sequence in self._parked else 0
        while not self._free or (not self._fits(tokens) and len(self._parked) > spare):
            self._evict(keep=donor)
        slot = _Slot(self._free.pop(), ids, adapter, tokens)
        if donor is not None and common >= _SHARED_LEAST:
            self._llama.llama_memory_seq_cp(self._memory, donor.sequence, slot.sequence, 0, common)
            slot.read = common
        self._open[slot.sequence] = slot
        while self._parked and not self._fits(0):
            self._evict(keep=None)
        return slot.sequence

    def close(self, slot: int) -> None:
        """Keep what the slot holds until its room is needed."""
        done = self._open.pop(slot)
        done.tokens = done.read
        if done.read:
            self._parked[slot] = done
        else:
            self._forget(done)

    def advance(self, tokens: Mapping[int, int]) -> tuple[list[int], Tensor]:
        """The newest tokens and pieces of prompts, adapter by adapter: llama.cpp has one adapter a call."""
        for number, token in tokens.items():
            self._open[number].ids.append(token)
        budget = READ_BUSY if 2 * len(tokens) > len(self._open) else BATCH  # more answer than are read
        spans: dict[str, list[tuple[_Slot, int]]] = {}
        for number, slot in self._open.items():
            rest = len(slot.ids) - slot.read
            take = rest if number in tokens else min(rest, budget)
            budget -= 0 if number in tokens else take
            if take:
                spans.setdefault(slot.adapter, []).append((slot, take))
        ready: list[int] = []
        rows: list[np.ndarray] = []
        for adapter, work in spans.items():
            self._use(adapter)
            for part in _batches(work):
                self._decode(part, ready, rows)
        logits = np.stack(rows) if rows else np.zeros((0, self.rows), np.float32)
        return ready, torch.from_numpy(logits)

    def score(self, example: Example, adapter: str) -> float:
        """Log-probability in nats of an example's weighted edges."""
        total = 0.0
        ids, weight = example.ids.tolist(), example.weight
        for start, rows in self._passes(ids, adapter, embeddings=False):
            for i, row in enumerate(rows, start):
                if i + 1 < len(ids) and weight[i + 1]:
                    top = float(row.max())
                    logsum = top + float(np.log(np.exp(row - top, dtype=np.float64).sum()))
                    total += float(weight[i + 1]) * (float(row[ids[i + 1]]) - logsum)
        return total

    def embed(self, ids: np.ndarray, adapter: str) -> np.ndarray:
        """(D,) float32: the mean of the last hidden states."""
        total = np.zeros(self._width, np.float64)
        for _, rows in self._passes(ids.tolist(), adapter, embeddings=True):
            total += sum(row.astype(np.float64) for row in rows)
        return (total / len(ids)).astype(np.float32)

    def release(self) -> None:
        """Free the batch, the context and the model."""
        if not self._released:
            self._released = True
            self._llama.llama_batch_free(self._batch)
            self._llama.llama_free(self._handle)
            self._llama.llama_model_free(self._model)

    def _new_context(self, precise: bool) -> Any:
        parameters = self._llama.llama_context_default_params()
        parameters.n_ctx = self._cells
        parameters.n_batch = parameters.n_ubatch = BATCH
        parameters.n_seq_max = 2 * self.slots
        parameters.n_threads = parameters.n_threads_batch = cores()
        if precise:
            parameters.type_k = parameters.type_v = F32
            parameters.flash_attn_type = self._llama.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it rounds queries to float16
        parameters.kv_unified = True
        parameters.swa_full = True  # a window's older keys may be shared with the next prompt
        parameters.no_perf = True
        handle = self._llama.llama_init_from_model(self._model, parameters)
        if not handle:
            raise UserError(
                f"llama.cpp has no room for {self._cells:,} tokens: {last_words()}", mend="give fewer slots"
            )
        return handle

    def _decode(self, part: list[tuple[_Slot, int]], ready: list[int], rows: list[np.ndarray]) -> None:
        count, wanted = 0, []
        for slot, take in part:
            last = slot.read + take == len(slot.ids)
            self._put(count, slot.ids[slot.read : slot.read + take], slot.read, slot.sequence)
            if last:
                self._arrays["logits"][count + take - 1] = 1
                wanted.append((slot.sequence, count + take - 1))
            slot.read += take
            count += take
        self._run(count)
        for number, at in wanted:
            ready.append(number)
            rows.append(self._row(self._llama.llama_get_logits_ith(self._handle, at), self.rows))

    def _put(self, start: int, ids: list[int], position: int, sequence: int) -> None:
        stop = start + len(ids)
        self._arrays["token"][start:stop] = ids
        self._arrays["pos"][start:stop] = np.arange(position, position + len(ids))
        self._arrays["n_seq_id"][start:stop] = 1
        self._arrays["logits"][start:stop] = 0
        for i in range(start, stop):
            self._batch.seq_id[i][0] = sequence

    def _run(self, count: int) -> None:
        self._batch.n_tokens = count
        code = self._llama.llama_decode(self._handle, self._batch)
        if code:
            raise RuntimeError(f"llama.cpp failed with code {code}: {last_words()}")

    def _row(self, pointer: Any, width: int) -> np.ndarray:
        return np.ctypeslib.as_array(pointer, (width,)).copy()

    def _passes(self, ids: list[int], adapter: str, *, embeddings: bool) -> Any:
        """(start, rows of logits or hidden states) of consecutive pieces, in a sequence of its own."""
        while self._parked and (not self._free or not self._fits(len(ids))):
            self._evict(keep=None)
        if not self._free or not self._fits(len(ids)):
            raise UserError(f"there is no room for {len(ids):,} tokens beside the answers that run", mend="try later")
        sequence = self._free.pop()
        self._use(adapter)
        self._llama.llama_set_embeddings(self._handle, embeddings)
        get = self._llama.llama_get_embeddings_ith if embeddings else self._llama.llama_get_logits_ith
        try:
            for start in range(0, len(ids), BATCH):
                piece = ids[start : start + BATCH]
                self._put(0, piece, start, sequence)
                self._arrays["logits"][: len(piece)] = 1
                self._run(len(piece))
                width = self._width if embeddings else self.rows
                yield start, [self._row(get(self._handle, i), width) for i in range(len(piece))]
        finally:
            self._llama.llama_set_embeddings(self._handle, False)
            self._llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)
            self._free.append(sequence)

    def _use(self, adapter: str) -> None:
        """Make `adapter` the one of the next calls."""
        if adapter == self._set:
            return
        chosen = [self._adapters[adapter]] if adapter else []
        handles = (self._llama.llama_adapter_lora_p_ctypes * len(chosen))(*chosen)
        scales = (ctypes.c_float * len(chosen))(*[1.0] * len(chosen))
        if self._llama.llama_set_adapters_lora(self._handle, handles, len(chosen), scales):
            raise RuntimeError(f"llama.cpp refuses the adapter {adapter!r}: {last_words()}")
        self._set = adapter

    def _best_donor(self, ids: list[int], adapter: str) -> tuple[_Slot | None, int]:
        """The slot whose tokens begin most like `ids`, and how many they share; the last ones are always read anew."""
        best: tuple[_Slot | None, int] = (None, 0)
        for slot in (*self._open.values(), *self._parked.values()):
            if slot.adapter == adapter:
                common = _common(slot.ids[: slot.read], ids[:-_READ_LEAST])
                if common > best[1]:
                    best = slot, common
        return best

    def _fits(self, tokens: int) -> bool:
        held = sum(slot.tokens for slot in (*self._open.values(), *self._parked.values()))
        return held + tokens <= self._cells

    def _evict(self, keep: _Slot | None) -> None:
        """Forget the slot that was parked longest ago, `keep` excepted."""
        number = next(number for number, slot in self._parked.items() if slot is not keep)
        self._forget(self._parked.pop(number))

    def _forget(self, slot: _Slot) -> None:
        self._llama.llama_memory_seq_rm(self._memory, slot.sequence, -1, -1)
        self._free.append(slot.sequence)


def _common(left: list[int], right: list[int]) -> int:
    """Length of the common beginning."""
    length = min(len(left), len(right))
    differ = np.flatnonzero(np.array(left[:length]) != np.array(right[:length]))
    return int(differ[0]) if len(differ) else length


def _batches(work: list[tuple[_Slot, int]]) -> list[list[tuple[_Slot, int]]]:
    """The pieces of a pass in calls of at most BATCH tokens; a piece is never longer."""
    batches: list[list[tuple[_Slot, int]]] = [[]]
    count = 0
    for slot, take in work:
        if count + take > BATCH:
            batches.append([])
            count = 0
        batches[-1].append((slot, take))
        count += take
    return batches
