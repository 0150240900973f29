"""Slots for models whose attention cannot be taken over: each answer alone, in transformers' own cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from camelid.data.pack import Example
from camelid.data.tree import build_tree
from camelid.generate.decoder import Decoder
from camelid.model.head import head_of
from camelid.model.layout import attention_of, edge_output, hidden_states, ordinary_attention
from camelid.model.packed import Routing


@final
class PlainDecoder(Decoder):
    """Recurrent layers, capped scores and the like: right, and no faster than transformers."""

    def __init__(self, model: nn.Module, routing: Routing, *, slots: int) -> None:
        self.slots = slots
        config: Any = model.config
        self.context = int(config.get_text_config().max_position_embeddings)
        self._model, self._routing, self._head = model, routing, head_of(model)
        self.rows = len(self._head.weight)
        self._device = model.get_input_embeddings().weight.device  # type: ignore[operator]
        self._open: dict[int, tuple[str, DynamicCache]] = {}
        self._unread: dict[int, np.ndarray] = {}
        self._next = 0

    def open(self, prompt: np.ndarray, adapter: str, tokens: int) -> int:
        """A slot with an empty cache."""
        number, self._next = self._next, self._next + 1
        self._open[number] = adapter, DynamicCache(config=self._model.config)  # type: ignore[arg-type]
        self._unread[number] = prompt
        return number

    def close(self, slot: int) -> None:
        """Drop the slot's cache."""
        self._unread.pop(slot, None)
        del self._open[slot]

    @torch.no_grad()
    def advance(self, tokens: Mapping[int, int]) -> tuple[list[int], Tensor]:
        """Feed each slot alone; one new prompt is read whole."""
        work = {slot: np.array([token]) for slot, token in tokens.items()}
        for slot in list(self._unread)[:1]:
            work[slot] = self._unread.pop(slot)
        rows = [self._last_hidden(slot, ids) for slot, ids in work.items()]
        return list(work), self._head.logits(torch.cat(rows)).cpu()

    def release(self) -> None:
        """Nothing: Python frees the model with its last user."""

    @torch.no_grad()
    def score(self, example: Example, adapter: str) -> float:
        """Log-probability in nats of an example's weighted edges."""
        self._routing.rows = {adapter: None}
        tree = build_tree([example.ids], [example.weight], share=False)
        out = edge_output(self._model, tree, "separate")
        return float((out.logp * out.weight).sum())

    @torch.no_grad()
    def embed(self, ids: np.ndarray, adapter: str) -> np.ndarray:
        """(D,) float32: the mean of the last hidden states."""
        self._routing.rows = {adapter: None}
        tree = build_tree([ids], [np.zeros(len(ids), np.float32)], share=False)
        return hidden_states(self._model, tree, "separate").float().mean(0).cpu().numpy()

    def _last_hidden(self, slot: int, ids: np.ndarray) -> Tensor:
        adapter, cache = self._open[slot]
        self._routing.rows = {adapter: None}
        tokens = torch.from_numpy(ids.astype(np.int64))[None].to(self._device)
        with attention_of(self._model, ordinary_attention(self._model)):
            out = self._model.get_decoder()(input_ids=tokens, past_key_values=cache, use_cache=True)  # type: ignore[operator]
        return out.last_hidden_state[:, -1]
