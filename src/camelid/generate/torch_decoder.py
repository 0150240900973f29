"""A transformers model as a decoder: continuous batching over packed rows, shared prompts once, adapters by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from camelid.data.pack import Example
from camelid.data.tree import TokenTree, build_tree
from camelid.generate.cache import LayerShape, Pools, Row, copy
from camelid.generate.decoder import Decoder, tokens_to_read
from camelid.generate.prefix import PrefixStore, block_keys
from camelid.generate.step import BLOCK, SLOT_ATTENTION, Node, ShapeProbe, SlotStep, TreeStep
from camelid.model.head import Head, head_of
from camelid.model.layout import attention_of, edges_of
from camelid.model.packed import Product, Routing, packs
from camelid.model.virtual import Virtual

PREFIX_TOKENS = 2048


@dataclass(eq=False)
class _Slot:
    """An open slot. `blocks`: how many of the prompt's blocks are read; `offset`: virtual tokens before the prompt."""

    prompt: np.ndarray
    adapter: str
    row: Row
    keys: list[bytes]
    offset: int
    blocks: int = 0
    key_of_tail: bytes = field(init=False)

    def __post_init__(self) -> None:
        last = self.keys[-1] if self.keys else self.adapter.encode()
        self.key_of_tail = last + b"|" + self.prompt[len(self.keys) * BLOCK :].tobytes()


@final
class TorchDecoder(Decoder):
    """Slots of a causal LM whose attention can be taken over (model/layout.py: layout 'tree').

    routing: shared with the model's packed layers, where it has some; virtual: by adapter, what its texts begin with
    """

    def __init__(
        self,
        model: nn.Module,
        routing: Routing,
        *,
        slots: int,
        virtual: Mapping[str, Virtual] = MappingProxyType({}),
        prefix_tokens: int = PREFIX_TOKENS,
    ) -> None:
        self.slots = slots
        config: Any = model.config
        longest = max((learned.positions for learned in virtual.values()), default=0)
        self.context = int(config.get_text_config().max_position_embeddings) - longest
        self._model, self._routing = model, routing
        head = head_of(model)
        self._head, self.rows = _PackedHead(head), len(head.weight)
        weight: Tensor = model.get_input_embeddings().weight  # type: ignore[operator]
        self._device = weight.device
        self._virtual = {name: learned.to(weight.dtype) for name, learned in virtual.items()}
        shapes = self._probed()
        self._pools = Pools(shapes, weight.dtype, weight.device)
        self._store = PrefixStore(prefix_tokens)
        self._open: dict[int, _Slot] = {}
        self._reading: dict[int, _Slot] = {}
        self._next = 0

    @torch.inference_mode()
    def open(self, prompt: np.ndarray, adapter: str, tokens: int) -> int:
        """A slot; blocks of the prompt that are known are taken over."""
        virtual = self._virtual.get(adapter)
        offset = virtual.positions if virtual is not None else 0
        row = self._pools.open(offset + len(prompt) + 1)
        if virtual is not None and offset:
            keys, values = [part.keys.transpose(1, 2) for part in virtual.layers], [p.values for p in virtual.layers]
            copy([*keys, *values], self._pools[row.capacity].part(row, slice(offset)))
            row.length = offset
        slot = _Slot(prompt, adapter, row, block_keys(prompt, adapter), offset)
        slot.blocks = self._store.fill(slot.row, self._pools[slot.row.capacity], slot.keys)
        number, self._next = self._next, self._next + 1
        self._open[number] = self._reading[number] = slot
        return number

    @torch.inference_mode()
    def close(self, slot: int) -> None:
        """Free the slot's row."""
        self._reading.pop(slot, None)
        self._pools.close(self._open.pop(slot).row)

    @torch.inference_mode()
    def advance(self, tokens: Mapping[int, int]) -> tuple[list[int], Tensor]:
        """One pass: the newest tokens, and as many blocks of prompts as fit beside them."""
        for number in tokens:
            self._pools.make_room(self._open[number].row, 1)
        nodes, readers = self._nodes(tokens_to_read(len(tokens), len(self._reading)))
        step = SlotStep(self._pools, [(self._open[number].row, token) for number, token in tokens.items()], nodes)
        by_row = {id(self._open[number].row): number for number in tokens}
        decoded = [by_row[id(row)] for row in step.row_of]
        names = [self._open[number].adapter for number in decoded]
        for node, numbers in zip(nodes, readers, strict=True):
            names += [self._open[numbers[0]].adapter] * len(node.ids)
        hidden = self._hidden(step, names)
        ready, ends = list(decoded), list(range(len(decoded)))
        for node, numbers, end in zip(nodes, readers, step.node_ends, strict=True):
            for number in numbers:
                slot = self._open[number]
                slot.blocks = node.index + 1
                if node.index < len(slot.keys):
                    self._store.keep(slot.keys[node.index], slot.row, self._pools[slot.row.capacity], node.depth)
                else:
                    del self._reading[number]
                    ready.append(number)
                    ends.append(end)
        if not ends:  # of a long prompt on its own
            return [], torch.empty(0, self.rows)
        return ready, self._head.logits(hidden[torch.tensor(ends, device=self._device)]).float().cpu()

    def _nodes(self, budget: int) -> tuple[list[Node], list[list[int]]]:
        """The blocks to read now, the oldest prompts first, and the slots of each; what is the same is there once."""
        found: dict[tuple[int, bytes], tuple[Node, list[int]]] = {}
        for number, slot in self._reading.items():
            for index in range(slot.blocks, len(slot.keys) + 1):
                key = index, slot.keys[index] if index < len(slot.keys) else slot.key_of_tail
                if key in found:
                    found[key][0].rows.append(slot.row)
                    found[key][1].append(number)
                    continue
                if budget <= 0:
                    break
                ids = slot.prompt[index * BLOCK : (index + 1) * BLOCK]
                budget -= len(ids)
                found[key] = Node(ids, index, [slot.row], slot.offset), [number]
        pairs = sorted(found.values(), key=lambda pair: pair[0].index)
        return [node for node, _ in pairs], [numbers for _, numbers in pairs]

    def _hidden(self, step: SlotStep, names: list[str]) -> Tensor:
        """(N, D) final hidden states of a pass."""
        self._routing.rows = _rows_by_name(names, self._device)
        for name, tokens in self._routing.rows.items():
            if (virtual := self._virtual.get(name)) is not None and not virtual.positions:
                step.gated.append((tokens, virtual))
        with attention_of(self._model, SLOT_ATTENTION):
            return self._model.get_decoder()(  # type: ignore[operator]
                input_ids=step.input_ids, position_ids=step.position_ids, step=step, use_cache=False
            ).last_hidden_state[0]

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
        """(N, D) final hidden states of a tree's nodes."""
        step = TreeStep(tree, self._device, self._virtual.get(adapter))
        self._routing.rows = {adapter: None}
        with attention_of(self._model, SLOT_ATTENTION):
            return self._model.get_decoder()(  # type: ignore[operator]
                input_ids=step.layout.input_ids, position_ids=step.layout.position_ids, step=step, use_cache=False
            ).last_hidden_state[0]

    @torch.inference_mode()
    def _probed(self) -> list[LayerShape]:
        probe = ShapeProbe()
        one = torch.zeros(1, 1, dtype=torch.int64, device=self._device)
        with attention_of(self._model, SLOT_ATTENTION):
            self._model.get_decoder()(input_ids=one, position_ids=one, step=probe, use_cache=False)  # type: ignore[operator]
        return [probe.shapes[layer] for layer in sorted(probe.shapes)]


def _rows_by_name(names: list[str], device: torch.device) -> dict[str, Tensor | None]:
    kinds = set(names)
    if len(kinds) == 1:
        return {names[0]: None}
    array = np.array(names)
    return {name: torch.from_numpy(np.flatnonzero(array == name)).to(device) for name in kinds}


@final
class _PackedHead:
    """The output projection, packed where that is faster."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._product = Product(head.weight, head.bias) if packs(head.weight) else None

    def logits(self, hidden: Tensor) -> Tensor:
        """(n, V) float32."""
        if self._product is None:
            return self._head.logits(hidden)
        return self._head.finish(self._product(hidden).float())
