"""The server in its process: uvicorn, with an end that lets running answers finish, and connections that never linger.

uvicorn closes its door at once when it is told to end. Here the door stays open while answers drain, so that a new
request hears 503 (and a load balancer asks elsewhere) instead of a refused connection.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any, final

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from camelid.errors import UserError
from camelid.serve.faults import ApiFault
from camelid.serve.settings import Settings

_MOST_CONNECTIONS = 4096  # at a time; one more is closed unheard
_SPARE = 100  # descriptors that are not for connections
_HEADERS = 15.0  # seconds in which the headers of a request, or the rest of one that was refused, must have come
_MOST_DISCARDED = 16 << 20  # bytes of a refused body that are read
_LINGER = 15.0  # seconds after which a closed connection is dropped, taken or not


@final
class _Connection(H11Protocol):
    """One connection, each of whose waits is bounded."""

    def __init__(self, config: uvicorn.Config, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._due: asyncio.TimerHandle | None = None  # when a request that has begun must be there
        self._discarded = 0  # bytes of a body that came after its answer
        self._routes = self.app
        self.app = self._with_drop  # type: ignore[assignment]

    async def _with_drop(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["camelid.drop"] = self._drop
        await self._routes(scope, receive, send)  # type: ignore[arg-type]

    async def _drop(self) -> None:
        self.transport.abort()
        await asyncio.sleep(0)  # in which uvicorn hears of it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            transport.abort()
            return
        self._expect_request()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_request(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(_HEADERS, self._overdue, self.cycle)

    def _overdue(self, last: object) -> None:
        self._due = None
        if not self._is_idle or self.transport.is_closing():
            return
        if self.cycle is last:
            self.transport.abort()
        elif self.timeout_keep_alive_task is None:
            self._expect_request()  # a further request has begun meanwhile

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_idle or self.transport.is_closing():
            return
        self._expect_request()
        # The rest of a body whose request was refused is read and forgotten, so that the sender comes to read why.
        self._discarded = self._discarded + len(data) if self.conn.their_state is h11.SEND_BODY else 0
        if self._discarded > _MOST_DISCARDED:
            self.transport.abort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.loop.call_later(_LINGER, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        """An idle connection, or one that began a request and did not go on."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(_LINGER, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is told in the same shape as every other fault."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        response = ApiFault(400, "this is not valid HTTP", code="invalid_http").response
        headers = [*response.raw_headers, (b"connection", b"close"), (b"x-content-type-options", b"nosniff")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self.loop.call_later(_LINGER, self.transport.abort)


def most_connections() -> int:
    """As many as this process may have descriptors for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(_MOST_CONNECTIONS, soft - _SPARE))


@final
class Server(uvicorn.Server):
    """Serves until it is told to end: by SIGTERM or SIGINT once, and drains; twice, and stops at once.

    opened: called once requests and signals are heard; `signal` is the one that ended it; `cut` says whether answers
    were still running when the time to drain was over.
    """

    def __init__(self, app: FastAPI, settings: Settings, opened: Callable[[], None] = lambda: None) -> None:
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=_Connection,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=32 << 10,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=5,
        )
        super().__init__(config)
        self._service, self._opened = app.state.service, opened
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self.signal: int | None = None
        self.cut = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it, and from here on signals are heard."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._opened()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """uvicorn's handler of signals, in the main thread between two steps of anything."""
        if self.signal is not None or self._loop is None:
            self.should_exit = self.force_exit = True
        self.signal = sig
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.end)

    def end(self) -> None:
        """Begin to drain. On the event loop."""
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        self.cut = not await self._service.drain()
        if self.cut:
            await asyncio.sleep(0.1)  # in which they say so
        self.should_exit = True

    @property
    def exit_code(self) -> int:
        """0 where every answer was given to its end; else 130 or 143, as the signal was."""
        if not self.cut and not self.force_exit:
            return 0
        return 130 if self.signal == signal.SIGINT else 143


def listening_socket(settings: Settings) -> socket.socket:
    """Bound to the address, so that a port 0 is known before the first request. Raises UserError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is said, for asyncio sends at once (TCP_NODELAY) only then; else a second packet waits 40 ms.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((settings.host, settings.port))
        made.listen(128)
        made.setblocking(False)
    except OSError as error:
        made.close()
        what = f"cannot listen at {settings.host} port {settings.port}: {error.strerror or error}"
        raise UserError(what, mend="choose another --port or --host") from error
    return made
