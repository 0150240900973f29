"""A server on loopback in a thread of the test's process, and a generator that does what a script says."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import httpx
import numpy as np

from camelid.data.pack import Example
from camelid.data.records import Conversation
from camelid.generate.base import Generator, Piece, Prompt, Request, Sink, Ticket
from camelid.serve.app import create_app
from camelid.serve.server import Server, listening_socket
from camelid.serve.service import Service
from camelid.serve.settings import Settings

KEY = "test-key-0123456789"


@dataclass
class Served:
    """A server that runs: where, and what it runs on."""

    port: int
    service: Service
    server: Server
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def taken(self) -> int:
        """Places that are taken now."""
        return self.service.admission.taken

    def client(self, **options: Any) -> httpx.Client:
        """With the key."""
        headers = {"authorization": f"Bearer {KEY}", **options.pop("headers", {})}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False, verify=False, **options)

    def raw(self, data: bytes, *, wait: float = 5.0) -> bytes:
        """Send bytes, and read what comes until the server closes or `wait` seconds are over."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(data)
            connection.settimeout(wait)
            got = b""
            try:
                while part := connection.recv(65536):
                    got += part
            except TimeoutError:
                pass
            return got

    def canary(self) -> None:
        """The server still answers."""
        body = json.dumps(chat("canary")).encode()
        head = ("Content-Type: application/json", f"Content-Length: {len(body)}")
        answer = self.raw(request_bytes("/v1/chat/completions", body, *head))
        assert answer.startswith(b"HTTP/1.1 200"), answer


def chat(text: str = "hello", **fields: Any) -> dict[str, Any]:
    """The body of a small request."""
    return {"messages": [{"role": "user", "content": text}], **fields}


def request_bytes(path: str, body: bytes, *headers: str, method: str = "POST", host: str = "127.0.0.1") -> bytes:
    """A request as it is on the wire, with the key; the last header closes the connection."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {KEY}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def serving(generator: Generator, **options: Any) -> Iterator[Served]:
    """The server at a free port; closed, its generator too, at the end."""
    settings = Settings(**{"key": KEY, "port": 0, "drain": 2.0, **options})
    listener = listening_socket(settings)
    app = create_app(generator, settings)
    server = Server(app, settings)
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve([listener])

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="server")
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield Served(listener.getsockname()[1], app.state.service, server, loops[0])
    finally:
        if thread.is_alive():
            loops[0].call_soon_threadsafe(server.end)
        thread.join(20)
        listener.close()
        generator.close()
        assert not thread.is_alive(), "the server did not end"


def wait_for(condition: Callable[[], Any], seconds: float = 5.0) -> float:
    """Seconds until it holds. Fails after `seconds`."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not come about in time"
        time.sleep(0.005)
    return time.monotonic() - began


def in_shape(response: httpx.Response) -> dict[str, Any]:
    """The error of a response, in OpenAI's shape and with safe headers."""
    assert response.headers["content-type"] == "application/json", response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    return error_of(response.text)


def error_of(text: str) -> dict[str, Any]:
    """The error that a body tells."""
    body = json.loads(text)
    assert set(body) == {"error"}, text
    assert set(body["error"]) == {"message", "type", "param", "code"}, text
    assert isinstance(body["error"]["message"], str)
    assert body["error"]["message"]
    return body["error"]


@final
class _ScriptedTicket(Ticket):
    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.cancelled_at = 0.0

    def cancel(self) -> None:
        if not self.cancelled.is_set():
            self.cancelled_at = time.monotonic()
        self.cancelled.set()


Script = Sequence[Piece | float]  # a number is seconds to wait


@final
@dataclass
class Scripted(Generator):
    """Answers each request by `script(request)`, in a thread of its own. Prompts count a token a character.

    prepared: seconds that rendering takes; refuse: raises for a prompt, or does not
    """

    script: Callable[[Request], Script] = lambda request: words("ok")
    models: tuple[str, ...] = ("scripted", "adapter")
    context: int = 1000
    slots: int = 2
    rendering: float = 0.0
    refuse: Callable[[Conversation | str], None] = lambda prompt: None
    active: set[int] = field(default_factory=set)
    heard: list[Request] = field(default_factory=list)
    prepared: list[Conversation | str] = field(default_factory=list)
    tickets: list[_ScriptedTicket] = field(default_factory=list)
    freed_at: list[float] = field(default_factory=list)
    deaf: bool = False  # an engine that never says that it has cancelled

    def __post_init__(self) -> None:
        self._free = threading.Semaphore(self.slots)

    def prepare(self, prompt: Conversation | str) -> Prompt:
        self.prepared.append(prompt)
        if self.rendering:
            time.sleep(self.rendering)
        self.refuse(prompt)
        text = prompt if isinstance(prompt, str) else "".join(m.content for m in prompt.messages)
        return Prompt(np.zeros(len(text), np.int32), prompt)

    def submit(self, request: Request, sink: Sink) -> Ticket:
        self.check(request)
        self.heard.append(request)
        ticket = _ScriptedTicket()
        self.tickets.append(ticket)
        self.active.add(id(ticket))
        threading.Thread(target=self._answer, args=(request, sink, ticket), daemon=True).start()
        return ticket

    def _answer(self, request: Request, sink: Sink, ticket: _ScriptedTicket) -> None:
        with self._free:
            for item in self.script(request):
                if isinstance(item, float):
                    ticket.cancelled.wait(item)
                if ticket.cancelled.is_set():
                    self._end(ticket)
                    if not self.deaf:
                        sink(Piece("", 0, len(request.prompt), finish="cancelled"))
                    return
                if isinstance(item, Piece):
                    if item.finish:
                        self._end(ticket)
                    sink(item)

    def _end(self, ticket: _ScriptedTicket) -> None:
        self.active.discard(id(ticket))
        self.freed_at.append(time.monotonic())

    def score(self, examples: Sequence[Example]) -> list[float]:
        return [0.0] * len(examples)

    def embed(self, prompts: Sequence[Prompt], model: str = "") -> np.ndarray:
        return np.ones((len(prompts), 4), np.float32)

    def close(self) -> None:
        for ticket in self.tickets:
            ticket.cancel()


def words(*parts: str, wait: float = 0.0, finish: Any = "stop", prompt_tokens: int = 5) -> list[Piece | float]:
    """A script that says the parts, a token each, `wait` seconds before each."""
    script: list[Piece | float] = []
    for i, part in enumerate(parts):
        script += [wait] if wait else []
        script.append(Piece(part, i + 1, prompt_tokens))
    return [*script, Piece("", len(parts), prompt_tokens, finish=finish)]
