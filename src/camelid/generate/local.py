"""Answers with a model that is in memory.

`LocalGenerator` is what chat and the server use: a thread of its own answers, by any decoder.
`LiveGenerator` asks a model that is being trained: packed for one call, in the caller's thread, as its weights are now.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import final

import numpy as np
import torch
from torch import nn

from camelid.data.pack import Example
from camelid.data.records import Conversation, Origin, Text
from camelid.data.render import Renderer
from camelid.data.tree import build_tree
from camelid.generate.base import Answer, Completion, Generator, Prompt, Request, Sampling, Sink, Ticket
from camelid.generate.batcher import Batcher
from camelid.generate.decoder import Decoder
from camelid.generate.plain import PlainDecoder
from camelid.generate.torch_decoder import TorchDecoder
from camelid.model.layout import edge_output
from camelid.model.packed import Routing
from camelid.model.packed_layers import packed

SLOTS = 64  # answers computed together


def decoder_of(model: nn.Module, routing: Routing, layout: str, slots: int = SLOTS) -> Decoder:
    """The decoder for a packed model, by the layout that model/layout.py chose for it."""
    if layout == "tree":
        return TorchDecoder(model, routing, slots=slots)
    return PlainDecoder(model, routing, slots=slots)


def rows_of(model: nn.Module) -> int:
    """Rows of a model's logits."""
    return int(model.get_output_embeddings().weight.shape[0])  # type: ignore[operator]


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
            decoder = decoder_of(self.model, routing, self.layout)
            vocabulary, stop_ids = self.renderer.vocabulary, self.renderer.stop_ids
            batcher = Batcher(decoder, vocabulary, stop_ids, rows_of(self.model))
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


@final
class LocalGenerator(Generator):
    """Answers by a decoder of this process, from a thread of its own.

    decoder: this generator's alone; adapters: the names under which it answers and the decoder's adapter of each ("" is
    the base); the first name answers where none is asked for. vocabulary_rows: of the model's logits
    """

    def __init__(
        self, decoder: Decoder, renderer: Renderer, adapters: Mapping[str, str], *, vocabulary_rows: int
    ) -> None:
        self.renderer, self._decoder, self._adapters = renderer, decoder, dict(adapters)
        self._batcher = Batcher(decoder, renderer.vocabulary, renderer.stop_ids, vocabulary_rows)
        self.models, self.context, self.slots = tuple(adapters), decoder.context, decoder.slots
        self._alone = threading.Lock()  # held by whoever uses the decoder
        self._closed = False
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
        with self._alone:
            return [self._decoder.score(example, self._adapter(model)) for example in examples]

    def embed(self, prompts: Sequence[Prompt], model: str = "") -> np.ndarray:
        """(n, D) float32: the mean of the last hidden states of each prompt's tokens."""
        rows = []
        for prompt in prompts:
            assert prompt.ids is not None
            with self._alone:  # answers go on between two prompts
                rows.append(self._decoder.embed(prompt.ids, self._adapter(model)))
        return np.stack(rows)

    def close(self) -> None:
        """End the thread; what runs is cancelled."""
        self._batcher.close()
        self._thread.join()
        with self._alone:
            if not self._closed:
                self._closed = True
                self._decoder.release()

    @property
    def load(self) -> tuple[int, int]:
        """(answers that run, answers that wait)."""
        return self._batcher.load

    def _adapter(self, model: str) -> str:
        return self._adapters[model or self.models[0]]
