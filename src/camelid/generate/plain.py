"""Slots for models whose attention cannot be taken over: each answer alone, in transformers' own cache."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from camelid.data.pack import Example
from camelid.data.tree import TokenTree, build_tree
from camelid.generate.decoder import Decoder
from camelid.model.head import head_of
from camelid.model.layout import attention_of, edges_of, hidden_states, ordinary_attention
from camelid.model.packed import Routing


@final
class PlainDecoder(Decoder):
    """Recurrent layers, capped scores and the like: right, and no faster than transformers.

    first: by adapter, input embeddings (P, D) before each of its texts
    """

    def __init__(
        self, model: nn.Module, routing: Routing, *, slots: int, first: Mapping[str, Tensor] = MappingProxyType({})
    ) -> None:
        self.slots, self._first = slots, first
        config: Any = model.config
        longest = max((len(embeddings) for embeddings in first.values()), default=0)
        self.context = int(config.get_text_config().max_position_embeddings) - longest
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
        tree = build_tree([example.ids], [example.weight], share=False)
        out = edges_of(self._model, self._hidden_states(tree, adapter), tree)
        return float((out.logp * out.weight).sum())

    @torch.no_grad()
    def embed(self, ids: np.ndarray, adapter: str) -> np.ndarray:
        """(D,) float32: the mean of the last hidden states."""
        tree = build_tree([ids], [np.zeros(len(ids), np.float32)], share=False)
        return self._hidden_states(tree, adapter).float().mean(0).cpu().numpy()

    def _hidden_states(self, tree: TokenTree, adapter: str) -> Tensor:
        """(N, D) final hidden states of a tree of one path."""
        self._routing.rows = {adapter: None}
        first = self._first.get(adapter)
        if first is None:
            return hidden_states(self._model, tree, "separate")
        return self._fed(self._inputs(tree.token, first), None)[len(first) :]

    def _last_hidden(self, slot: int, ids: np.ndarray) -> Tensor:
        adapter, cache = self._open[slot]
        self._routing.rows = {adapter: None}
        first = self._first.get(adapter) if cache.get_seq_length() == 0 else None
        return self._fed(self._inputs(ids, first), cache)[-1:]

    def _inputs(self, ids: np.ndarray, first: Tensor | None) -> dict[str, Tensor]:
        tokens = torch.from_numpy(ids.astype(np.int64))[None].to(self._device)
        if first is None:
            return {"input_ids": tokens}
        own = self._model.get_input_embeddings()(tokens)  # type: ignore[operator]
        return {"inputs_embeds": torch.cat((first.to(own.dtype)[None], own), 1)}

    def _fed(self, inputs: dict[str, Tensor], cache: DynamicCache | None) -> Tensor:
        """(N, D) final hidden states of what is fed."""
        with attention_of(self._model, ordinary_attention(self._model)):
            decoder: Any = self._model.get_decoder()  # type: ignore[operator]
            out = decoder(**inputs, past_key_values=cache, use_cache=cache is not None)
        return out.last_hidden_state[0]
