"""Answers on their way to the client: as a whole, or as Server-Sent Events while they come.

Taking places, rendering, submitting, sending and giving back are one coroutine, so that there is one way out for all:
a client that goes away, a deadline, a fault and a cancelled task end it alike. Nothing is left to a background task,
which Starlette skips where a stream is cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from camelid.serve.answering import Answering, Step
from camelid.serve.faults import ApiFault, JsonReply, encoded
from camelid.serve.replies import Reply
from camelid.serve.service import Service

_QUIET = 15.0  # seconds without a chunk, after which a comment keeps the connection alive
_FIRST = 1.0  # seconds that a stream waits for its first piece: a fault until then has a status of its own
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx must not collect what is meant to be seen at once
]


class ClientGone(Exception):
    """Nobody reads this answer any more."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end; cancel it, and raise ClientGone, as soon as the client has gone."""
    worker, watcher = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({worker, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not worker.done():
            raise ClientGone
    finally:
        worker.cancel()
        watcher.cancel()
        await asyncio.gather(worker, watcher, return_exceptions=True)
    worker.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@final
class AnswerResponse(Response):
    """Does the work of a completions request when it is sent. Raises ApiFault as long as nothing was sent."""

    def __init__(self, service: Service, reply: Reply) -> None:
        super().__init__()
        self._service, self._reply = service, reply
        self._began = time.monotonic()
        self._deadline = self._began + service.settings.timeout
        self._waits = True  # for the first token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = _Sender(send, self._service.settings.stall)
        try:
            await while_connected(receive, self._answer(scope, receive, sending))
        except ClientGone:
            self._service.metrics.ended.labels("client_gone").inc(self._reply.answers)
            raise

    async def _answer(self, scope: Scope, receive: Receive, send: _Sender) -> None:
        places = self._service.admission.take(self._reply.answers)
        try:
            requests = await self._reply.requests()
        except BaseException:
            places.release()
            raise
        async with self._service.answering(requests, places) as answers:
            if self._reply.ask.stream:
                await self._stream(answers, send)
                return
            while not answers.over:
                for step in await self._next(answers, self._left):
                    self._reply.keep(step)
        self._tell_metrics()
        await JsonReply(self._reply.whole())(scope, receive, send)

    async def _stream(self, answers: Answering, send: _Sender) -> None:
        steps = await self._next(answers, _FIRST)
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        try:
            await send.body(_events(self._reply.opening()))
            while True:
                made = [chunk for step in steps for chunk in self._reply.chunks(step)]
                if made or not steps:
                    await send.body(_events(made) if made else b": waiting\n\n")
                if answers.over:
                    break
                steps = await self._next(answers, min(_QUIET, self._left))
            last = [self._reply.usage_chunk()] if self._reply.ask.with_usage else []
            await send.body(_events(last) + b"data: [DONE]\n\n")
            self._tell_metrics()
        except ApiFault as fault:
            await send.body(_events([fault.body]))
        await send.body(b"", more=False)

    @property
    def _left(self) -> float:
        """Seconds until the deadline; 0 is past it."""
        return max(0.0, self._deadline - time.monotonic())

    async def _next(self, answers: Answering, wait: float) -> list[Step]:
        """Raises ApiFault 503 past the deadline."""
        if not self._left:
            what = f"the answer took longer than {self._service.settings.timeout:g} s"
            raise ApiFault(503, what, code="timeout", headers={"retry-after": "10"})
        steps = await answers.steps(wait)
        for step in steps:
            self._reply.count(step)
            if step.finish:
                self._service.metrics.ended.labels(step.finish).inc()
        if self._waits and any(step.tokens for step in steps):
            self._waits = False
            self._service.metrics.first.observe(time.monotonic() - self._began)
        return steps

    def _tell_metrics(self) -> None:
        self._service.metrics.prompt_tokens.inc(self._reply.prompt_tokens)
        self._service.metrics.completion_tokens.inc(self._reply.completion_tokens)


@final
class _Sender:
    """Sends, and gives up on a client that does not take what it is sent within `stall` seconds (ClientGone)."""

    def __init__(self, send: Send, stall: float) -> None:
        self._send, self._stall = send, stall

    async def __call__(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._stall):
                await self._send(message)
        except TimeoutError:
            raise ClientGone from None

    async def body(self, data: bytes, *, more: bool = True) -> None:
        """A stretch of the body."""
        await self({"type": "http.response.body", "body": data, "more_body": more})


def _events(chunks: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: " + encoded(chunk) + b"\n\n" for chunk in chunks)
