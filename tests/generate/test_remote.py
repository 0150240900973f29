"""The remote engine over HTTP: our own server for what succeeds, a small one with a script for what goes wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from serving import KEY, serving

from camelid.data.pack import Example
from camelid.data.records import Conversation, Message, Origin
from camelid.errors import UserError
from camelid.generate.base import Generator, Piece, Request, Sampling
from camelid.generate.echo import EchoGenerator
from camelid.generate.remote import RemoteGenerator

TEXTS = ["你好 👩‍👩‍👧", "running", "a longer question with several words"]


def _talk(text: str) -> Conversation:
    return Conversation((Message("system", "be brief"), Message("user", text)), Origin("test", 1))


@contextmanager
def _remote(url: str, **options: Any) -> Iterator[RemoteGenerator]:
    generator = RemoteGenerator(f"{url}/v1", "echo", KEY, **options)
    try:
        yield generator
    finally:
        generator.close()


@contextmanager
def _both(echo: EchoGenerator) -> Iterator[tuple[Generator, Generator]]:
    """An echo, and the same echo behind a server."""
    try:
        with serving(echo) as server, _remote(server.url) as remote:
            yield echo, remote
    finally:
        echo.close()


def test_answers_are_those_of_the_engine_behind_the_endpoint() -> None:
    with _both(EchoGenerator()) as (echo, remote):
        for sampling in (Sampling(), Sampling(max_new_tokens=3), Sampling(stop=("n",)), Sampling(logprobs=1)):
            wanted, got = (g.generate([_talk(t) for t in TEXTS], sampling) for g in (echo, remote))
            assert got == wanted
        assert remote.generate(["running text"], Sampling())[0].text == "running text"
        assert "".join(remote.stream(_talk(TEXTS[0]), Sampling())) == TEXTS[0]
        np.testing.assert_allclose(
            remote.embed([remote.prepare(text) for text in TEXTS]), echo.embed([echo.prepare(t) for t in TEXTS]), 1e-5
        )


def test_cancelling_ends_the_answer_on_both_sides() -> None:
    echo = EchoGenerator(delay=0.01, slots=1)
    heard: list[Piece] = []
    begun, ended = threading.Event(), threading.Event()

    def sink(piece: Piece) -> None:
        heard.append(piece)
        begun.set()
        if piece.finish:
            ended.set()

    with _both(echo) as (_, remote):
        ticket = remote.submit(Request(remote.prepare(_talk("x" * 1500)), Sampling(max_new_tokens=1500)), sink)
        assert begun.wait(10)
        ticket.cancel()
        assert ended.wait(5)
        assert heard[-1].finish == "cancelled"
        start = time.monotonic()
        assert remote.generate([_talk("y")], Sampling())[0].text == "y"  # its only slot is free again
        assert time.monotonic() - start < 5


def test_what_the_endpoint_refuses_is_said_with_its_words() -> None:
    echo = EchoGenerator()
    try:
        with serving(echo) as server:
            wrong = RemoteGenerator(f"{server.url}/v1", "echo", "another-key")
            with pytest.raises(RuntimeError, match=r"answered 401: .*key"):
                wrong.generate([_talk("x")], Sampling())
            with pytest.raises(UserError, match="answered 401"):
                wrong.embed([wrong.prepare("x")])
            wrong.close()
            with _remote(server.url) as remote, pytest.raises(RuntimeError, match=r"answered 400: .*4096"):
                remote.generate([_talk("x" * 5000)], Sampling())
    finally:
        echo.close()


Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@contextmanager
def _scripted(*answers: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives the answers in turn, the last one again and again; the bodies that it got."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            answers[min(len(bodies), len(answers)) - 1](self, bodies[-1])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _send(handler: BaseHTTPRequestHandler, status: int, text: str, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(text.encode())


def _busy(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    _send(handler, 429, '{"error": {"message": "too many"}}', retry_after="0.01")


def _events(*events: object, done: bool = True) -> Answer:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"] * done
    return lambda handler, body: _send(handler, 200, "".join(lines))


def _delta(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def test_an_endpoint_that_is_busy_is_asked_again_and_then_believed() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    with _scripted(_busy, _busy, _events(_delta("h"), _delta("i", "stop"), usage)) as (url, bodies), _remote(url) as r:
        (answer,) = r.generate([_talk("x")], Sampling())
        assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("hi", 9, 4)
        assert len(bodies) == 3
    with _scripted(_busy) as (url, bodies), _remote(url, wait=0.01) as r:
        with pytest.raises(RuntimeError, match="answered 429: too many"):
            r.generate([_talk("x")], Sampling())
        assert len(bodies) == 4


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (_events(_delta("half"), done=False), "ended in the middle"),
        (_events(_delta("half"), {"error": {"message": "out of memory"}}), "out of memory"),
        (lambda handler, body: _send(handler, 200, "data: {not json\n\n"), "Expecting property name"),
        (lambda handler, body: _send(handler, 404, "no such page"), "answered 404: no such page"),
    ],
    ids=["cut", "error", "garbage", "page"],
)
def test_an_answer_that_goes_wrong_is_an_error_and_never_a_short_answer(answer: Answer, why: str) -> None:
    with _scripted(answer) as (url, _), _remote(url) as remote, pytest.raises(RuntimeError, match=why):
        remote.generate([_talk("x")], Sampling())


def test_every_setting_is_sent() -> None:
    sampling = Sampling(
        max_new_tokens=7, temperature=0.5, top_p=0.9, top_k=5, min_p=0.1, repetition_penalty=1.1, presence_penalty=0.2,
        frequency_penalty=0.3, seed=4, stop=("a",), logprobs=2, schema='{"type": "string"}',
    )  # fmt: skip
    tools = ({"type": "function", "function": {"name": "f"}},)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = (
        Message("user", "q"), Message("assistant", "", tool_calls=(call,)), Message("tool", "r", name="f")
    )  # fmt: skip
    with _scripted(_events(_delta("x", "stop"))) as (url, bodies), _remote(url) as remote:
        prompt = remote.prepare(Conversation(messages, Origin("test", 1), tools))
        remote.generate_each([Request(prompt, sampling, answer=2)])
        remote.generate(["text"], Sampling())
    assert bodies[0] == {
        "model": "echo", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 7, "temperature": 0.5,
        "top_p": 0.9, "seed": 6, "presence_penalty": 0.2, "frequency_penalty": 0.3, "top_k": 5, "min_p": 0.1,
        "repetition_penalty": 1.1, "stop": ["a"], "logprobs": True, "top_logprobs": 2,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "string"}}},
        "messages": [
            {"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "r", "name": "f"},
        ],
        "tools": list(tools),
    }  # fmt: skip
    assert bodies[1]["prompt"] == "text"
    assert not {"top_k", "min_p", "repetition_penalty", "stop", "logprobs", "messages"} & set(bodies[1])


def test_no_endpoint_and_no_address() -> None:
    with _remote("http://127.0.0.1:9") as remote, pytest.raises(RuntimeError, match=r"127\.0\.0\.1:9"):
        remote.generate([_talk("x")], Sampling())
    for wrong in ("ftp://host", "nonsense", "http://"):
        with pytest.raises(UserError, match="address"):
            RemoteGenerator(wrong, "m", None)
    with _remote("http://127.0.0.1:9") as remote, pytest.raises(UserError, match="cannot score"):
        remote.score([Example(np.zeros(2, np.int32), np.ones(2, np.float32), 0)])
