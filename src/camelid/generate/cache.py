"""A key/value cache whose buffers are laid down once and grow by doubling, instead of being copied at every token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class GrowingLayer(CacheLayerMixin):
    """Keys and values of one layer, (B, K, capacity, D), filled up to `length`."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Lay the buffers down for the first keys, with room to grow."""
        self.keys, self.values = _buffer(key_states, 64), _buffer(value_states, 64)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append; returns views of everything so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        stop = self.length + key_states.shape[-2]
        if stop > self.keys.shape[-2]:
            self.keys, self.values = self._grown(self.keys, stop), self._grown(self.values, stop)
        self.keys[:, :, self.length : stop] = key_states
        self.values[:, :, self.length : stop] = value_states
        self.length = stop
        return self.keys[:, :, :stop], self.values[:, :, :stop]

    def _grown(self, old: Tensor, needed: int) -> Tensor:
        new = old.new_empty(*old.shape[:2], max(needed, 2 * old.shape[-2]), old.shape[-1])
        new[:, :, : self.length] = old[:, :, : self.length]
        return new

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order."""
        assert self.keys is not None
        assert self.values is not None
        self.keys, self.values = self.keys.index_select(0, rows), self.values.index_select(0, rows)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(keys that the next query sees, offset of the first)."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens held."""
        return self.length

    def get_max_length(self) -> int:
        """No limit."""
        return -1


def _buffer(states: Tensor, spare: int) -> Tensor:
    return states.new_empty(*states.shape[:2], states.shape[-2] + spare, states.shape[-1])


class GrowingCache(Cache):
    """One GrowingLayer per layer of the model."""

    def __init__(self, layers: list[GrowingLayer]) -> None:
        super().__init__(layers=layers)  # type: ignore[arg-type]
        self.growing = layers

    @classmethod
    def empty(cls, num_layers: int) -> GrowingCache:
        """A cache that holds nothing."""
        return cls([GrowingLayer() for _ in range(num_layers)])

    def gathered(self, index_BT: Tensor) -> GrowingCache:
        """From one packed row to a batch: entry (b, t) of the result is node index_BT[b, t] of row 0."""
        layers = []
        for layer in self.growing:
            assert layer.keys is not None
            assert layer.values is not None
            made = GrowingLayer()
            # (1, K, N, D) -> (B, K, T, D)
            made.update(
                layer.keys[0, :, index_BT].transpose(0, 1).contiguous(),
                layer.values[0, :, index_BT].transpose(0, 1).contiguous(),
            )
            layers.append(made)
        return GrowingCache(layers)

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch in every layer."""
        for layer in self.growing:
            layer.select(rows)


def num_layers(model: torch.nn.Module) -> int:
    """Layers of a transformers model, by its configuration."""
    return int(model.config.get_text_config().num_hidden_layers)  # type: ignore[union-attr]
