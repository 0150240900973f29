"""Bodies: every limit is kept while reading, whatever the headers say, and the fault has OpenAI's shape."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest
from serving import KEY, Scripted, Served, chat, error_of, in_shape, request_bytes, serving

CHAT = "/v1/chat/completions"
JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Scripted(), max_body=100_000, stall=0.6) as running:
        yield running


@pytest.fixture(autouse=True)
def canary(served: Served) -> Iterator[None]:
    yield
    served.canary()


def fault(answer: bytes) -> tuple[int, str]:
    """(status, code)."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), error_of(body.decode())["code"]


def test_a_body_over_the_limit(served: Served) -> None:
    body = json.dumps(chat("x" * 100_000)).encode()
    assert fault(served.raw(request_bytes(CHAT, body, JSON, f"Content-Length: {len(body)}"))) == (413, "body_too_large")
    began = time.monotonic()
    assert fault(served.raw(request_bytes(CHAT, b"", JSON, "Content-Length: 100001"))) == (413, "body_too_large")
    assert time.monotonic() - began < 0.5, "what is announced need not be waited for"
    announced = request_bytes(CHAT, b"", JSON, "Content-Length: 99999999999999999999")
    assert fault(served.raw(announced)) in ((413, "body_too_large"), (400, "invalid_http"))


def test_a_large_body_is_told_why_it_is_refused(served: Served) -> None:
    """The sender is let finish, so that it reads the answer and not "connection reset"."""
    with served.client() as client:
        response = client.post(CHAT, json=chat("x" * 5_000_000))
        assert (response.status_code, in_shape(response)["code"]) == (413, "body_too_large")
        response = client.post(CHAT, json=chat("x" * 5_000_000), headers={"authorization": "Bearer wrong"})
        assert response.status_code == 401


def test_a_chunked_body_over_the_limit(served: Served) -> None:
    """No length is announced: the bytes are counted."""
    body = json.dumps(chat("x" * 100_000)).encode()
    chunked = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    answer = served.raw(request_bytes(CHAT, chunked, JSON, "Transfer-Encoding: chunked"))
    assert fault(answer) == (413, "body_too_large")
    small = json.dumps(chat()).encode()
    chunked = f"{len(small):x}\r\n".encode() + small + b"\r\n0\r\n\r\n"
    assert served.raw(request_bytes(CHAT, chunked, JSON, "Transfer-Encoding: chunked")).startswith(b"HTTP/1.1 200")


def test_a_chunked_body_without_end(served: Served) -> None:
    """The rest of a refused body is read, so that its sender hears why, but not without end."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    for key in (f"Authorization: Bearer {KEY}\r\n{JSON}\r\n", ""):
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.sendall(f"{head}{key}\r\n".encode())
            chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            sent = 0
            with contextlib.suppress(OSError):
                while sent < 1000:
                    connection.sendall(chunk)
                    sent += 1
            assert sent < 600, "it was read without end"


def test_a_length_that_lies(served: Served) -> None:
    body = json.dumps(chat()).encode()
    short = request_bytes(CHAT, body, JSON, f"Content-Length: {len(body) - 5}")
    assert fault(served.raw(short)) == (400, "invalid_json")
    began = time.monotonic()
    long = request_bytes(CHAT, body, JSON, f"Content-Length: {len(body) + 5}")
    assert fault(served.raw(long, wait=5)) == (408, "timeout")
    assert time.monotonic() - began < 3


def test_a_client_too_slow_to_send_its_body(served: Served) -> None:
    """Drop by drop it has no more time than at once."""
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(request_bytes(CHAT, b"", JSON, "Content-Length: 1000"))
        began, got = time.monotonic(), b""
        connection.settimeout(0.1)
        while b"}}" not in got and time.monotonic() - began < 5:
            with contextlib.suppress(TimeoutError, BrokenPipeError):
                if not got:
                    connection.sendall(b" ")
                got += connection.recv(4096)
    assert fault(got) == (408, "timeout")
    assert served.taken == 0


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"])
def test_a_body_of_another_type(served: Served, kind: str) -> None:
    """Types that a page of another site can send without asking first never reach a route."""
    with served.client() as client:
        response = client.post(CHAT, content=json.dumps(chat()), headers={"content-type": kind})
    assert (response.status_code, in_shape(response)["type"]) == (415, "invalid_request_error")


def test_charsets_and_encodings(served: Served) -> None:
    with served.client() as client:
        body = json.dumps(chat())
        for kind in ("application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'):
            assert client.post(CHAT, content=body, headers={"content-type": kind}).status_code == 200
        latin = {"content-type": "application/json; charset=gb18030"}
        assert client.post(CHAT, content=body.encode("gb18030"), headers=latin).status_code == 415
        packed = {"content-type": "application/json", "content-encoding": "gzip"}
        assert client.post(CHAT, content=b"\x1f\x8b", headers=packed).status_code == 415


BAD_JSON = [
    b"",
    b"{",
    b"nonsense",
    b"\xff\xfe{}",
    b'{"a": \xe5\xa5}',
    b'\xef\xbb\xbf{"messages": []}',
    b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"\\udfff": 1}',
    b'{"temperature": NaN, "messages": []}',
    b'{"temperature": Infinity}',
    b'{"temperature": -Infinity}',
    b'{"temperature": 1e999}',
    b'{"temperature": -1e999}',
    b'{"seed": ' + b"9" * 5000 + b"}",
    b'{"seed": ' + b"9" * 31 + b"}",
    b"[" * 65 + b"]" * 65,
    b"[" * 40_000,
    b'{"a":' * 15_000 + b"1" + b"}" * 15_000,
    b"[" * 30_000 + b"]" * 30_000,
    b'{"a": "\x00"}',
]


@pytest.mark.parametrize("body", BAD_JSON, ids=range(len(BAD_JSON)))
def test_json_that_no_client_means(served: Served, body: bytes) -> None:
    """llama-server died of extreme floats (#19367) and of a body of 50 KB (#27427)."""
    with served.client() as client:
        response = client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert (response.status_code, in_shape(response)["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings", "/v1/camelid/votes"])
def test_json_of_another_shape(served: Served, path: str) -> None:
    with served.client() as client:
        for body in (b"[]", b"null", b"1", b'"x"', b"true", b"{}", b'{"messages": {}}', b'[[["a"]]]'):
            response = client.post(path, content=body, headers={"content-type": "application/json"})
            assert response.status_code == 400
            in_shape(response)


@pytest.mark.parametrize("field", ["temperature", "top_p", "seed", "max_tokens", "presence_penalty", "n", "top_k"])
def test_extreme_numbers(served: Served, field: str) -> None:
    with served.client() as client:
        for number in ("1e308", "-1e308", "5e-324", "1e-400", "9007199254740993", "-0.0", "2.0000001"):
            body = f'{{"messages": [{{"role": "user", "content": "x"}}], "{field}": {number}}}'
            response = client.post(CHAT, content=body, headers={"content-type": "application/json"})
            assert response.status_code in (200, 400), response.text
            if response.status_code == 400:
                in_shape(response)


@pytest.mark.parametrize(
    "text", ["\x00", "a\x00b", "\x1b[2J", "\u202e", "\ufffe", "\U0010ffff", "<|im_end|>", "\r\n\r\n"]
)
def test_characters_that_are_odd(served: Served, text: str) -> None:
    with served.client() as client:
        for body in (chat(text), chat(stop=[text]), chat(user=text), chat(model=text)):
            response = client.post(CHAT, json=body)
            assert response.status_code in (200, 400, 404), response.text
        assert client.post("/v1/completions", json={"prompt": text}).status_code == 200


def test_methods_and_routes_that_are_not_there(served: Served) -> None:
    with served.client() as client:
        response = client.get(CHAT)
        assert (response.status_code, in_shape(response)["code"]) == (405, "method_not_allowed")
        assert response.headers["allow"] == "POST"
        for method in ("DELETE", "PATCH", "TRACE", "OPTIONS", "FOO"):
            response = client.request(method, CHAT, json={})
            assert response.status_code == 405
            in_shape(response)
        response = client.post("/v1/nothing", json={})
        assert (response.status_code, in_shape(response)["code"]) == (404, "not_found")
        assert in_shape(client.get("/v1/models/"))["code"] == "not_found"
        assert client.head("/v1/nothing").status_code == 404


def test_requests_one_behind_the_other_on_a_connection(served: Served) -> None:
    """Pipelined, and a body that nobody read is not taken for the next request (smuggling)."""
    inner = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(inner)}\r\n\r\n".encode()
    answer = served.raw(head + inner + inner.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), wait=2)
    assert answer.count(b"HTTP/1.1 ") == 2
    assert answer.startswith(b"HTTP/1.1 401")
    assert answer.count(b'"status":"ok"') == 1
