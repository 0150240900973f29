"""What measuring forgetting takes: a model that is being trained answers the plain questions, packed, all at once.

Sizes of what generate/local.py makes for one call: every linear layer laid out once more, the output projection too,
keys and values of all answers, and the logits of a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from camelid.generate.cache import APART, capacity_of
from camelid.generate.local import SLOTS
from camelid.generate.step import BLOCK
from camelid.model.adapters import Trainable
from camelid.model.packed_layers import laid_out_bytes, packed_bytes
from camelid.model.virtual_tokens import token_shape
from camelid.train.plan.ledger import LARGE, Moment
from camelid.train.plan.machines import held_memory

_WIDTH = 512  # of a product that is compiled to see what one takes: its size makes no difference


def answering(trainable: Trainable, layout: str, prompts: Sequence[np.ndarray], new_tokens: int) -> Moment:
    """Bytes beside the model's own while it answers `prompts` (ids of each), of a model without memory.

    new_tokens: the longest answer
    """
    lm = trainable.lm
    table: Tensor = lm.get_output_embeddings().weight  # type: ignore[operator]
    rows, size = table.shape[0], table.element_size()
    lengths = [len(ids) for ids in prompts]
    running = min(SLOTS, len(lengths))
    blocks = [*packed_bytes(lm, layout), laid_out_bytes([table])]
    shape = token_shape(lm)
    layers, wide = shape["num_layers"], shape["token_dim"]
    pools: dict[int, int] = {}
    pooled: list[int] = []
    for length in sorted(lengths, reverse=True)[:running]:
        capacity = capacity_of(length + new_tokens)
        pools[capacity] = pools.get(capacity, 0) + 1
    for capacity, count in pools.items():
        whole = 1 << (count - 1).bit_length()  # a pool doubles its rows
        pooled += [whole * wide * (capacity + APART) * size, whole * wide * capacity * size] * layers
    blocks += pooled
    known = {ids[: (i + 1) * BLOCK].tobytes() for ids in prompts for i in range((len(ids) - 1) // BLOCK)}
    blocks += [BLOCK * wide * size] * (2 * layers * len(known))
    blocks += [sum(pooled) // 4]  # growing by doubling leaves gaps
    blocks += [running * rows * size, running * rows * 4]  # a pass's logits, and in float32
    return of_blocks(blocks)


def compiled_products(trainable: Trainable, layout: str, prompts: Sequence[np.ndarray], new_tokens: int) -> int:
    """How many products oneDNN compiles for the answers, the adapter's among them.

    Each weight's product once for every number of rows: of the answers that run, which become fewer one by one, and of
    passes that read a new prompt beside them.
    """
    kinds = len(set(packed_bytes(trainable.lm, layout))) + 1
    return (min(SLOTS, len(prompts)) + new_tokens) * kinds * (3 if trainable.peft is not None else 1)


def compiled_bytes(dtype: torch.dtype, rows: int = 200) -> float:
    """Bytes that one compiled product keeps in this process, measured: 0 where nothing is compiled."""
    weight = torch.zeros(_WIDTH, _WIDTH, dtype=dtype)
    inputs = torch.zeros(3 * rows, _WIDTH, dtype=dtype)
    nn.functional.linear(inputs, weight)
    before = held_memory()
    for count in range(rows, 2 * rows):
        nn.functional.linear(inputs[:count], weight)
    return max(0.0, (held_memory() - before) / rows)


def of_blocks(sizes: Iterable[int]) -> Moment:
    """Blocks of so many bytes that stand together."""
    sizes = list(sizes)
    large = sum(size for size in sizes if size >= LARGE)
    return Moment(sum(sizes), large, sum(sizes) - large)
