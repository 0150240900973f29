"""The torch engine: a batch of prompts is read as one token tree (shared prefixes once), then decoded together.

Reading the prompts uses the trees and the attention of training, so a system prompt that all share is computed once;
decoding uses the model's ordinary attention over left-padded keys and values. Answers that end leave the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from camelid.data.pack import Example
from camelid.data.records import Conversation
from camelid.data.render import Renderer
from camelid.data.tree import build_tree
from camelid.generate.base import Completion, Sampling
from camelid.generate.cache import GrowingCache, num_layers
from camelid.generate.sampling import Sampler
from camelid.model.attend import TREE_ATTENTION, TreeLayout
from camelid.model.head import head_of
from camelid.model.layout import edge_output, ordinary_attention

SLOTS = 64  # prompts decoded together


@dataclass
class _Slot:
    """A prompt being answered."""

    index: int  # place in the caller's list
    prompt: np.ndarray
    sampler: Sampler
    limit: int
    answer: list[int] = field(default_factory=list)
    finish: str = ""


class LocalGenerator:
    """Answers with a transformers causal LM that is in memory.

    model: the LM, adapter layers inside; renderer: the one that it was or will be trained with; layout: 'tree' or
    'separate', as model/layout.py chose for this model.
    """

    def __init__(self, model: nn.Module, renderer: Renderer, *, layout: str = "tree") -> None:
        self.model, self.renderer, self.layout = model, renderer, layout

    def generate(self, prompts: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order; `SLOTS` prompts of similar length are decoded at a time."""
        return self.generate_each(prompts, [sampling] * len(prompts))

    def generate_each(self, prompts: Sequence[Conversation], samplings: Sequence[Sampling]) -> list[Completion]:
        """As `generate`, with settings of its own for each prompt."""
        slots = [
            _Slot(i, self.renderer.prompt(prompt), Sampler(sampling), sampling.max_new_tokens)
            for i, (prompt, sampling) in enumerate(zip(prompts, samplings, strict=True))
        ]
        slots.sort(key=lambda slot: (len(slot.prompt), slot.index))
        done: dict[int, Completion] = {}
        for start in range(0, len(slots), SLOTS):
            for slot in self._ended(slots[start : start + SLOTS]):
                text = self.renderer.vocabulary.decode(slot.answer)
                tokens = len(slot.answer)
                done[slot.index] = Completion(text, slot.finish, len(slot.prompt), tokens)  # type: ignore[arg-type]
        return [done[i] for i in range(len(prompts))]

    def stream(self, prompt: Conversation, sampling: Sampling) -> Iterator[str]:
        """The answer in pieces of whole characters."""
        slot = _Slot(0, self.renderer.prompt(prompt), Sampler(sampling), sampling.max_new_tokens)
        shown = ""
        for _ in self._decode([slot]):
            text = self.renderer.vocabulary.decode(slot.answer)
            # an unfinished character decodes to U+FFFD; wait for the rest of it, unless the answer is over
            if not slot.finish and text.endswith("�"):
                continue
            if text.startswith(shown) and len(text) > len(shown):
                yield text[len(shown) :]
                shown = text

    def score(self, examples: Sequence[Example]) -> list[float]:
        """Log-probability in nats of each example's weighted edges: sum of weight * log p."""
        totals = []
        attention = TREE_ATTENTION if self.layout == "tree" else ordinary_attention(self.model)
        with torch.no_grad(), _attention(self.model, attention):
            for example in examples:
                tree = build_tree([example.ids], [example.weight], share=False)
                out = edge_output(self.model, tree, self.layout)
                totals.append(float((out.logp * out.weight).sum()))
        return totals

    def _ended(self, slots: list[_Slot]) -> list[_Slot]:
        for _ in self._decode(slots):
            pass
        return slots

    @torch.no_grad()
    def _decode(self, slots: list[_Slot]) -> Iterator[None]:
        """Advance all slots by one token per yield, until each has ended."""
        was_training = self.model.training
        self.model.eval()
        try:
            cache, mask, logits = self._read_prompts(slots)
            active = list(slots)
            while True:
                chosen = [slot.sampler.choose(logits[row], slot.prompt, slot.answer) for row, slot in enumerate(active)]
                for slot, token in zip(active, chosen, strict=True):
                    self._append(slot, token)
                yield
                keep = [row for row, slot in enumerate(active) if not slot.finish]
                if not keep:
                    return
                if len(keep) < len(active):
                    rows = torch.tensor(keep, device=mask.device)
                    cache.select(rows)
                    mask = mask[rows]
                    active = [active[row] for row in keep]
                tokens = torch.tensor([[slot.answer[-1]] for slot in active], device=mask.device)
                mask = torch.cat((mask, mask.new_ones(len(active), 1)), 1)
                logits = self._step(tokens, mask, cache)
        finally:
            self.model.train(was_training)

    def _append(self, slot: _Slot, token: int) -> None:
        if token in self.renderer.stop_ids:
            slot.finish = "stop"
            return
        slot.answer.append(token)
        if len(slot.answer) >= slot.limit:
            slot.finish = "length"

    def _read_prompts(self, slots: list[_Slot]) -> tuple[GrowingCache, Tensor, Tensor]:
        """(cache of B left-padded prompts, mask (B, T), logits (B, V) after each prompt)."""
        device = self.model.get_input_embeddings().weight.device  # type: ignore[operator]
        share = self.layout == "tree"
        longest = max(len(slot.prompt) for slot in slots)
        index = torch.zeros(len(slots), longest, dtype=torch.int64)
        mask = torch.zeros(len(slots), longest, dtype=torch.int64)
        for row, slot in enumerate(slots):
            mask[row, longest - len(slot.prompt) :] = 1
        decoder = self.model.get_decoder()  # type: ignore[operator]
        cache = GrowingCache.empty(num_layers(self.model))
        if share:
            prompts = [slot.prompt for slot in slots]
            tree = build_tree(prompts, [np.zeros(len(p), np.float32) for p in prompts])
            for row, leaf in enumerate(tree.leaves):
                index[row, longest - len(prompts[row]) :] = torch.from_numpy(tree.path(int(leaf)))
            rows = TreeLayout(tree, device)
            with _attention(self.model, TREE_ATTENTION):
                hidden = decoder(
                    input_ids=rows.input_ids,
                    position_ids=rows.position_ids,
                    tree_layout=rows,
                    past_key_values=cache,
                    use_cache=True,
                ).last_hidden_state[0]
            cache = cache.gathered(index.to(device))
            last = hidden[torch.from_numpy(tree.leaves.astype(np.int64)).to(device)]
            return cache, mask.to(device), head_of(self.model).logits(last)
        ids = torch.zeros_like(index)
        for row, slot in enumerate(slots):
            ids[row, longest - len(slot.prompt) :] = torch.from_numpy(slot.prompt.astype(np.int64))
        return cache, mask.to(device), self._step(ids.to(device), mask.to(device), cache)

    def _step(self, tokens: Tensor, mask: Tensor, cache: GrowingCache) -> Tensor:
        """Logits (B, V) after feeding `tokens` (B, L), the newest columns of `mask` (B, T)."""
        positions = (mask.cumsum(1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
        with _attention(self.model, ordinary_attention(self.model)):
            hidden = self.model.get_decoder()(  # type: ignore[operator]
                input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            ).last_hidden_state[:, -1]
        return head_of(self.model).logits(hidden)


class _attention:
    """The model's attention implementation, for the length of a block."""

    def __init__(self, model: nn.Module, name: str) -> None:
        self._model, self._name = model, name

    def __enter__(self) -> None:
        self._former = self._model.config._attn_implementation  # type: ignore[union-attr]
        if self._former != self._name:
            self._model.set_attn_implementation(self._name)  # type: ignore[operator]

    def __exit__(self, *error: object) -> None:
        if self._former != self._name:
            self._model.set_attn_implementation(self._former)  # type: ignore[operator]
