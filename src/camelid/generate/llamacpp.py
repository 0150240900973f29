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
from camelid.generate.decoder import Decoder, tokens_to_read
from camelid.model.llama_runtime import F32, last_words, require_llama_cpp, threads

BATCH = 512  # tokens of one call, as llama.cpp's own programs have it
# A prompt is read in blocks, each in a call of its own, and shared in whole blocks: llama.cpp rounds by how many tokens
# a call has, and a question asked twice with one seed would be answered in two ways. Blocks of 64 are read at full
# speed; shorter ones share more of a short beginning, such as a template's own system prompt.
_BLOCK, _FIRST_BLOCKS = 64, 8


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
    """A GGUF file in llama.cpp. adapters: name -> GGUF adapter file; scale: how much of them.

    cells: tokens that all answers together can hold; the room is set aside at once. precise: attention in float32
    and not in llama.cpp's usual float16. Raises UserError for a file that llama.cpp refuses.
    """

    def __init__(
        self,
        path: Path,
        adapters: Mapping[str, Path],
        *,
        slots: int,
        cells: int | None = None,
        precise: bool = False,
        scale: float = 1.0,
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
        self.slots, self._scale = slots, scale
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
        new = _Slot(-1, [int(i) for i in prompt], adapter, tokens)
        donor, common = self._best_donor(new)
        if not self._open:
            self._forget_beside(donor, common)
        spare = 1 if donor is not None and donor.sequence in self._parked else 0
        while not self._free or (not self._fits(tokens) and len(self._parked) > spare):
            self._evict(keep=donor)
        new.sequence = self._free.pop()
        self._share(new, donor, common)
        self._open[new.sequence] = new
        while self._parked and not self._fits(0):
            self._evict(keep=None)
        return new.sequence

    def _forget_beside(self, donor: _Slot | None, common: int) -> None:
        """Forget what is parked but the first `common` tokens of `donor`, so that what follows lies behind these.

        Attention rounds by the cells in which keys lie: a question asked twice would have two answers.
        """
        for parked in [parked for parked in self._parked.values() if parked is not donor]:
            self._forget(self._parked.pop(parked.sequence))
        if donor is None:
            self._llama.llama_memory_clear(self._memory, False)
        else:
            self._llama.llama_memory_seq_rm(self._memory, donor.sequence, common, -1)
            del donor.ids[common:]
            donor.read = donor.tokens = common

    def _share(self, slot: _Slot, donor: _Slot | None, common: int) -> None:
        """Take over the blocks that `slot` has to read next, where `donor` has read them."""
        if donor is not None and common > slot.read:
            self._llama.llama_memory_seq_cp(self._memory, donor.sequence, slot.sequence, slot.read, common)
            slot.read = common

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
        budget = tokens_to_read(len(tokens), len(self._open) - len(tokens))
        newest: dict[str, list[_Slot]] = {}
        blocks: dict[str, list[_Slot]] = {}  # a slot as often as it reads blocks
        for number, slot in self._open.items():
            if number in tokens:
                newest.setdefault(slot.adapter, []).append(slot)
                continue
            at = slot.read
            while at < len(slot.ids) and budget > 0:
                stop = _block_end(at, len(slot.ids))
                budget, at = budget - (stop - at), stop
                blocks.setdefault(slot.adapter, []).append(slot)
        ready: list[int] = []
        rows: list[np.ndarray] = []
        for adapter in sorted({*newest, *blocks}, key=lambda name: (name != self._set, name)):
            self._use(adapter)
            together = newest.get(adapter, [])
            for start in range(0, len(together), BATCH):
                self._decode(together[start : start + BATCH], ready, rows)
            for slot in blocks.get(adapter, []):
                if slot.read < len(slot.ids):
                    self._share(slot, *self._best_donor(slot))
                    self._decode([slot], ready, rows)
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
        parameters.n_threads = parameters.n_threads_batch = threads()
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

    def _decode(self, slots: list[_Slot], ready: list[int], rows: list[np.ndarray]) -> None:
        """The next block of each slot in one call; slots are ready whose tokens are all read by it."""
        count, wanted = 0, []
        for slot in slots:
            ids = slot.ids[slot.read : _block_end(slot.read, len(slot.ids))]
            self._put(count, ids, slot.read, slot.sequence)
            slot.read += len(ids)
            count += len(ids)
            if slot.read == len(slot.ids):
                self._arrays["logits"][count - 1] = 1
                wanted.append((slot.sequence, count - 1))
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
        scales = (ctypes.c_float * len(chosen))(*[self._scale] * len(chosen))
        if self._llama.llama_set_adapters_lora(self._handle, handles, len(chosen), scales):
            raise RuntimeError(f"llama.cpp refuses the adapter {adapter!r}: {last_words()}")
        self._set = adapter

    def _best_donor(self, new: _Slot) -> tuple[_Slot | None, int]:
        """The slot whose tokens begin most like those of `new`, and how many: whole blocks, never the last token."""
        best: tuple[_Slot | None, int] = (None, 0)
        for slot in (*self._open.values(), *self._parked.values()):
            if slot.adapter == new.adapter and slot is not new:
                common = _whole_blocks(_common(slot.ids[: slot.read], new.ids[:-1]))
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


def _block_end(start: int, length: int) -> int:
    """Where the block ends that begins at `start` of so many tokens."""
    return min(start + (_FIRST_BLOCKS if start < _BLOCK else _BLOCK), length)


def _whole_blocks(tokens: int) -> int:
    """How many of the first tokens stand in whole blocks."""
    size = _FIRST_BLOCKS if tokens < _BLOCK else _BLOCK
    return tokens // size * size
