"""The torch engine: answers with a transformers causal LM that is in memory.

`LocalGenerator` is what chat and the server use: the model is packed for good and a thread of its own answers.
`LiveGenerator` asks a model that is being trained: packed for one call, in the caller's thread, as its weights are now.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from camelid.data.pack import Example
from camelid.data.records import Conversation, Origin, Text
from camelid.data.render import Renderer
from camelid.data.tree import build_tree
from camelid.generate.base import Answer, Completion, Generator, Prompt, Request, Sampling, Sink, Ticket
from camelid.generate.batcher import Batcher
from camelid.generate.decoder import Decoder
from camelid.generate.plain import PlainDecoder
from camelid.generate.torch_decoder import TorchDecoder
from camelid.model.layout import edge_output, edges_of, hidden_states
from camelid.model.packed import Routing
from camelid.model.packed_layers import packed

SLOTS = 64  # answers computed together


def _decoder(model: nn.Module, routing: Routing, layout: str, slots: int) -> Decoder:
    if layout == "tree":
        return TorchDecoder(model, routing, slots=slots)
    return PlainDecoder(model, routing, slots=slots)


def _batcher(decoder: Decoder, model: nn.Module, renderer: Renderer) -> Batcher:
    rows = int(model.config.get_text_config().vocab_size)  # type: ignore[union-attr]
    return Batcher(decoder, renderer.vocabulary, renderer.stop_ids, rows)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@final
class LiveGenerator:
    """Asks a model as it is at the moment of each call.

    model: the LM, adapter layers inside; renderer: the one that it was or will be trained with; layout: 'tree' or
    'separate', as model/layout.py chose for this model.
    """

    def __init__(self, model: nn.Module, renderer: Renderer, *, layout: str = "tree") -> None:
        self.model, self.renderer, self.layout = model, renderer, layout

    def generate(self, prompts: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order."""
        return self.generate_each(prompts, [sampling] * len(prompts))

    def generate_each(self, prompts: Sequence[Conversation], samplings: Sequence[Sampling]) -> list[Completion]:
        """As `generate`, with settings of its own for each prompt. Raises RuntimeError where the engine failed."""
        answers = [Answer() for _ in prompts]
        routing = Routing()
        with _evaluating(self.model), packed(self.model, routing, layout=self.layout):
            batcher = _batcher(_decoder(self.model, routing, self.layout, SLOTS), self.model, self.renderer)
            for answer, prompt, sampling in zip(answers, prompts, samplings, strict=True):
                request = Request(Prompt(self.renderer.prompt(prompt), prompt), sampling)
                batcher.submit(request, answer.add, "")
            while batcher.step():
                pass
        return [answer.completion() for answer in answers]

    def score(self, examples: Sequence[Example]) -> list[float]:
        """Log-probability in nats of each example's weighted edges: sum of weight * log p."""
        totals = []
        with torch.no_grad():
            for example in examples:
                tree = build_tree([example.ids], [example.weight], share=False)
                out = edge_output(self.model, tree, self.layout)
                totals.append(float((out.logp * out.weight).sum()))
        return totals


@dataclass(frozen=True)
class Served:
    """A model that is packed for good, and the names under which it answers: name -> adapter, "" is the base.

    The first name answers where none is asked for.
    """

    model: nn.Module
    routing: Routing
    adapters: Mapping[str, str]


@final
class LocalGenerator(Generator):
    """Answers from a thread of its own; the model is this generator's alone."""

    def __init__(self, served: Served, renderer: Renderer, *, layout: str = "tree", slots: int = SLOTS) -> None:
        self._model, self._adapters, self._routing = served.model.eval(), served.adapters, served.routing
        self.renderer, self._layout = renderer, layout
        self._decoder = _decoder(self._model, served.routing, layout, slots)
        self._batcher = _batcher(self._decoder, self._model, renderer)
        self.models, self.context, self.slots = tuple(served.adapters), self._decoder.context, slots
        self._alone = threading.Lock()  # held by whoever runs the model
        self._thread = threading.Thread(target=self._batcher.serve, args=(self._alone,), daemon=True, name="camelid")
        self._thread.start()

    def prepare(self, prompt: Conversation | str) -> Prompt:
        """Render with the model's template; running text begins with bos where the tokenizer's convention says so."""
        if isinstance(prompt, str):
            return Prompt(self.renderer.opening(Text(prompt, Origin("prompt", 1))), prompt)
        return Prompt(self.renderer.prompt(prompt), prompt)

    def submit(self, request: Request, sink: Sink) -> Ticket:
        """Answer as soon as a slot is free."""
        self.check(request)
        return self._batcher.submit(request, sink, self._adapter(request.model))

    def score(self, examples: Sequence[Example], model: str = "") -> list[float]:
        """Log-probability in nats of each example's weighted edges: sum of weight * log p."""
        totals = []
        with self._alone, torch.no_grad():
            for example in examples:
                tree = build_tree([example.ids], [example.weight], share=False)
                hidden = self._hidden(example.ids, example.weight, model)
                out = edges_of(self._model, hidden, tree)
                totals.append(float((out.logp * out.weight).sum()))
        return totals

    def embed(self, prompts: Sequence[Prompt], model: str = "") -> np.ndarray:
        """(n, D) float32: the mean of the last hidden states of each prompt's tokens."""
        rows = []
        with self._alone, torch.no_grad():
            for prompt in prompts:
                assert prompt.ids is not None
                rows.append(self._hidden(prompt.ids, np.zeros(len(prompt), np.float32), model).float().mean(0))
        return torch.stack(rows).cpu().numpy()

    def close(self) -> None:
        """End the thread; what runs is cancelled."""
        self._batcher.close()
        self._thread.join()

    @property
    def load(self) -> tuple[int, int]:
        """(answers that run, answers that wait)."""
        return self._batcher.load

    def _adapter(self, model: str) -> str:
        return self._adapters[model or self.models[0]]

    def _hidden(self, ids: np.ndarray, weight: np.ndarray, model: str) -> Tensor:
        tree = build_tree([ids], [weight], share=False)
        if isinstance(self._decoder, TorchDecoder):
            return self._decoder.hidden_states(tree, self._adapter(model))
        self._routing.rows = {self._adapter(model): None}
        return hidden_states(self._model, tree, self._layout)
