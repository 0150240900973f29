"""Answers with a model that is in memory.

`LocalGenerator` is what chat and the server use: a thread of its own answers, by any decoder.
`LiveGenerator` asks a model that is being trained: packed for one call, in the caller's thread, as its weights are now.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
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
from camelid.model.adapter_parts import AdapterParts, virtual_parts
from camelid.model.layout import edge_output
from camelid.model.packed import Routing
from camelid.model.packed_layers import packed
from camelid.model.virtual_tokens import LearnedLayers, virtual_tokens_of

SLOTS = 64  # answers computed together


def decoder_of(
    model: nn.Module,
    routing: Routing,
    layout: str,
    slots: int = SLOTS,
    adapters: Mapping[str, AdapterParts] = MappingProxyType({}),
) -> Decoder:
    """The decoder for a packed model that carries `adapters`, by the layout that model/layout.py chose for it."""
    if layout == "tree":
        virtual = {name: parts.virtual for name, parts in adapters.items() if parts.virtual is not None}
        return TorchDecoder(model, routing, slots=slots, virtual=virtual)
    first = {name: parts.first for name, parts in adapters.items() if parts.first is not None}
    return PlainDecoder(model, routing, slots=slots, first=first)


def ids_of(renderer: Renderer, prompt: Conversation | str) -> np.ndarray:
    """(T,) int32: a conversation up to where its answer begins, or text that is to be continued. Raises UserError."""
    if isinstance(prompt, str):
        return renderer.opening(Text(prompt, Origin("prompt", 1)))
    return renderer.prompt(prompt)


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

    def generate(self, prompts: Sequence[Conversation | str], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order; text is continued."""
        return self.generate_each(prompts, [sampling] * len(prompts))

    def generate_each(self, prompts: Sequence[Conversation | str], samplings: Sequence[Sampling]) -> list[Completion]:
        """As `generate`, with settings of its own for each prompt. Raises RuntimeError where the engine failed."""
        answers = [Answer() for _ in prompts]
        routing, tokens = Routing(), virtual_tokens_of(self.model)
        # learned keys and values are only there where slots can be taken over too
        layout = "tree" if isinstance(tokens, LearnedLayers) else self.layout
        with _evaluating(self.model), ExitStack() as stack:
            own = {} if tokens is None else {"": virtual_parts(self.model, tokens, layout, "method")}
            stack.enter_context(packed(self.model, routing, layout=layout))
            decoder = decoder_of(self.model, routing, layout, adapters=own)
            batcher = Batcher(decoder, self.renderer.vocabulary, self.renderer.stop_ids)
            for answer, prompt, sampling in zip(answers, prompts, samplings, strict=True):
                request = Request(Prompt(ids_of(self.renderer, prompt), prompt), sampling)
                batcher.submit(request, answer.add, "")
            while batcher.step():
                pass
        return [answer.completion() for answer in answers]

    def score(self, examples: Sequence[Example]) -> list[float]:
        """Log-probability in nats of each example's weighted edges: sum of weight * log p."""
        totals = []
        with torch.no_grad(), _evaluating(self.model):
            for example in examples:
                tree = build_tree([example.ids], [example.weight], share=False)
                out = edge_output(self.model, tree, self.layout)
                totals.append(float((out.logp * out.weight).sum()))
        return totals


@final
class LocalGenerator(Generator):
    """Answers by a decoder of this process, from a thread of its own.

    make: makes the decoder, in that thread; adapters: the names under which it answers and the decoder's adapter of
    each ("" is the base); the first name answers where none is asked for. Raises what `make` raises.

    That thread alone loads the model and computes with it. OpenMP gives each thread that computes a team of its own,
    and once there are more threads than cores the teams sleep and are woken at every product: 1.4 times as slow.
    """

    def __init__(self, make: Callable[[], Decoder], renderer: Renderer, adapters: Mapping[str, str]) -> None:
        self.renderer, self._adapters = renderer, dict(adapters)
        made: Future[tuple[Decoder, Batcher]] = Future()
        self._thread = threading.Thread(target=self._serve, args=(make, made), daemon=True, name="camelid")
        self._thread.start()
        decoder, self._batcher = made.result()
        atexit.register(self.close)  # Python kills what still computes at its exit, and PyTorch then aborts
        self.models, self.context, self.slots = tuple(adapters), decoder.context, decoder.slots

    def _serve(self, make: Callable[[], Decoder], made: Future[tuple[Decoder, Batcher]]) -> None:
        try:
            decoder = make()
            batcher = Batcher(decoder, self.renderer.vocabulary, self.renderer.stop_ids)
        except BaseException as error:  # it is raised where the generator was asked for
            made.set_exception(error)
            return
        made.set_result((decoder, batcher))
        batcher.serve()
        decoder.release()

    def prepare(self, prompt: Conversation | str) -> Prompt:
        """Render with the model's template; running text begins with bos where the tokenizer's convention says so."""
        return Prompt(ids_of(self.renderer, prompt), prompt)

    def submit(self, request: Request, sink: Sink) -> Ticket:
        """Answer as soon as a slot is free."""
        self.check(request)
        return self._batcher.submit(request, sink, self._adapter(request.model))

    def score(self, examples: Sequence[Example], model: str = "") -> list[float]:
        """Log-probability in nats of each example's weighted edges: sum of weight * log p."""
        adapter = self._adapter(model)
        return [self._batcher.call(lambda decoder, e=example: decoder.score(e, adapter)) for example in examples]

    def embed(self, prompts: Sequence[Prompt], model: str = "") -> np.ndarray:
        """(n, D) float32: the mean of the last hidden states of each prompt's tokens."""
        adapter, rows = self._adapter(model), []
        for prompt in prompts:  # one by one: answers go on between two
            ids = prompt.ids
            assert ids is not None
            rows.append(self._batcher.call(lambda decoder, ids=ids: decoder.embed(ids, adapter)))
        return np.stack(rows)

    def close(self) -> None:
        """End the thread; what runs is cancelled."""
        self._batcher.close()
        self._thread.join()
        atexit.unregister(self.close)

    @property
    def load(self) -> tuple[int, int]:
        """(answers that run, answers that wait)."""
        return self._batcher.load

    def _adapter(self, model: str) -> str:
        return self._adapters[model or self.models[0]]
