"""The shipped fake: answers each prompt with its last message, a character a token. For tests and dry runs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import final

import numpy as np

from camelid.data.pack import Example
from camelid.data.records import Conversation
from camelid.generate.base import Finish, Generator, Piece, Prompt, Request, Sink, Ticket, TokenScore
from camelid.generate.text import StopStrings


@final
class _EchoTicket(Ticket):
    def __init__(self, stale: threading.Event) -> None:
        self.cancelled = threading.Event()
        self._stale = stale

    def cancel(self) -> None:
        self.cancelled.set()
        self._stale.set()


@final
class EchoGenerator(Generator):
    """Says the last message of a conversation, or the text itself, again. Stop strings, limits and scores are kept to.

    delay: seconds between two characters; slots: answers at a time, the others wait in order
    """

    def __init__(self, *, delay: float = 0.0, slots: int = 4, context: int = 4096) -> None:
        self.models, self.context, self.slots = ("echo",), context, slots
        self._delay = delay
        self._waiting: deque[tuple[Request, Sink, _EchoTicket]] = deque()
        self._changed = threading.Condition()
        self._stale = threading.Event()  # a ticket has been cancelled, perhaps one that waits
        self._closed = False
        self._workers = [threading.Thread(target=self._work, daemon=True, name=f"echo-{i}") for i in range(slots)]
        for worker in self._workers:
            worker.start()

    def prepare(self, prompt: Conversation | str) -> Prompt:
        """The characters as ids."""
        text = prompt if isinstance(prompt, str) else "".join(m.content for m in prompt.messages)
        return Prompt(np.array([ord(c) for c in text], np.int32), prompt)

    def submit(self, request: Request, sink: Sink) -> Ticket:
        """Answer when a worker is free."""
        self.check(request)
        ticket = _EchoTicket(self._stale)
        with self._changed:
            if self._closed:
                raise RuntimeError("the generator is closed")
            self._waiting.append((request, sink, ticket))
            self._changed.notify()
        return ticket

    def score(self, examples: Sequence[Example]) -> list[float]:
        """An echo is sure of everything: 0."""
        return [0.0 for _ in examples]

    def embed(self, prompts: Sequence[Prompt], model: str = "") -> np.ndarray:
        """Counts of the ids modulo 8, normed."""
        counts = np.stack(
            [np.bincount((p.ids if p.ids is not None else np.zeros(1, int)) % 8, minlength=8) for p in prompts]
        )
        return (counts / np.maximum(1, np.linalg.norm(counts, axis=1, keepdims=True))).astype(np.float32)

    def close(self) -> None:
        """End the workers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                request, sink, ticket = self._waiting.popleft()
            self._answer(request, sink, ticket)

    def _drop_cancelled(self) -> None:
        """What waits and has been cancelled hears of it now, not when its turn would have come."""
        if not self._stale.is_set():
            return
        with self._changed:
            self._stale.clear()
            gone = [waiting for waiting in self._waiting if waiting[2].cancelled.is_set()]
            for waiting in gone:
                self._waiting.remove(waiting)
        for request, sink, _ in gone:
            sink(Piece("", 0, len(request.prompt), finish="cancelled"))

    def _answer(self, request: Request, sink: Sink, ticket: _EchoTicket) -> None:
        source, sampling = request.prompt.source, request.sampling
        words = source if isinstance(source, str) else source.messages[-1].content
        length, count = len(request.prompt), 0
        text = StopStrings(sampling.stop)
        for character in words:
            self._drop_cancelled()
            if ticket.cancelled.is_set() or self._closed:
                sink(Piece("", count, length, finish="cancelled"))
                return
            if self._delay:
                time.sleep(self._delay)
            count += 1
            score = () if sampling.logprobs is None else (TokenScore(character, character.encode(), 0.0),)
            new = text.add(character)
            end: Finish = "stop" if text.stopped else "length" if count == sampling.max_new_tokens else ""
            sink(Piece(new + (text.rest() if end else ""), count, length, score, end))
            if end:
                return
        sink(Piece(text.rest(), count, length, finish="stop"))
