"""The bridge from the engine's threads to the event loop: the answers of one request, while they come.

A sink may be called from any thread and must return at once: it hands the piece to the loop and is done. On the loop
the pieces of each answer wait merged into one, so what waits for a slow client is never more than the answers are,
and no last piece is ever lost. Whatever ends a request (a fault, a cancelled task, a client that went away) leaves
through `__aexit__`, which cancels what still runs and sees to it that the places come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, final

from camelid.generate.base import Finish, Generator, Piece, Request, Sink, Ticket, TokenScore
from camelid.serve.admission import Places
from camelid.serve.faults import ApiFault

_PATIENCE = 5.0  # seconds after which an answer that was cancelled counts as ended, whatever the engine says


@dataclass
class Step:
    """What has come of one answer since it was last asked for."""

    choice: int
    text: str = ""
    scores: list[TokenScore] = field(default_factory=list)
    tokens: int = 0
    prompt_tokens: int = 0
    finish: Finish = ""
    error: str = ""

    def add(self, piece: Piece) -> None:
        """Merge a further piece."""
        self.text += piece.text
        self.scores += piece.scores
        self.tokens, self.prompt_tokens = piece.tokens, piece.prompt_tokens
        self.finish, self.error = piece.finish, piece.error


@final
class Answering:
    """Submits the requests on entering; `steps` gives what comes until each has ended. For one task of the loop.

    threads, limit: where schemas are compiled, and within how many seconds
    """

    def __init__(
        self,
        generator: Generator,
        requests: Sequence[Request],
        places: Places,
        threads: ThreadPoolExecutor,
        limit: float,
    ) -> None:
        self._generator, self._requests, self._places = generator, requests, places
        self._threads, self._limit = threads, limit
        self._loop = asyncio.get_running_loop()
        self._tickets: list[Ticket] = []
        self._waiting: dict[int, Step] = {}
        self._running = set(range(len(requests)))
        self._changed = asyncio.Event()
        self._stopped = ""

    async def __aenter__(self) -> Self:
        """Raises UserError where the engine refuses a request, and TimeoutError; none is then left running."""
        try:
            for choice, request in enumerate(self._requests):
                self._tickets.append(await self._submitted(request, self._sink(choice)))
        except BaseException:
            self._running = set(range(len(self._tickets)))
            self._places.unwanted(len(self._requests) - len(self._tickets))
            self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    async def _submitted(self, request: Request, sink: Sink) -> Ticket:
        """Off the loop where a schema has to be compiled, which takes its time. Raises TimeoutError."""
        if request.sampling.schema is None:
            return self._generator.submit(request, sink)
        made = self._threads.submit(self._generator.submit, request, sink)
        try:
            async with asyncio.timeout(self._limit):
                return await asyncio.wrap_future(made)
        except BaseException:
            made.add_done_callback(_cancel)  # nobody waits for its ticket any more
            raise

    def stop(self, reason: str) -> None:
        """End it from outside; whoever reads the steps gets ApiFault 503 with the reason."""
        self._stopped = reason
        self._changed.set()

    async def steps(self, wait: float | None = None) -> list[Step]:
        """What has come since the last call, at most one step an answer; empty when all is over, and after `wait`
        seconds in which nothing came.

        Raises ApiFault: 500 where the engine failed, 503 where it or the server is ending.
        """
        try:
            async with asyncio.timeout(wait):
                while not self._waiting and self._running and not self._stopped:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return []
        if self._stopped:
            raise ApiFault(503, self._stopped, code="shutting_down", headers={"retry-after": "5"})
        steps, self._waiting = list(self._waiting.values()), {}
        for step in steps:
            if step.finish == "error":
                raise ApiFault(500, f"the engine failed: {step.error[:200]}", code="engine_error")
            if step.finish == "cancelled":
                raise ApiFault(503, "the engine is shutting down", code="shutting_down", headers={"retry-after": "5"})
        return steps

    @property
    def over(self) -> bool:
        """Whether every answer has ended and been given out."""
        return not self._running and not self._waiting

    def _sink(self, choice: int) -> Sink:
        def hear(piece: Piece) -> None:
            try:
                self._loop.call_soon_threadsafe(self._heard, choice, piece)
            except RuntimeError:
                return  # the loop is closed: the server has gone, and nobody listens any more

        return hear

    def _heard(self, choice: int, piece: Piece) -> None:
        if choice not in self._running:
            return  # an engine that speaks after its last word
        self._places.heard()
        self._waiting.setdefault(choice, Step(choice)).add(piece)
        if piece.finish:
            self._running.discard(choice)
            self._places.ended()
        self._changed.set()

    def _leave(self) -> None:
        for ticket in self._tickets:
            ticket.cancel()
        if self._running:
            # The places stay taken until the engine has said that the slots are free, but not for ever.
            self._loop.call_later(_PATIENCE, self._places.release)
        else:
            self._places.release()


def _cancel(made: Future[Ticket]) -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().cancel()
