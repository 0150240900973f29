"""Who may ask: each case is a real one of other servers (dev notes: reliability, section 3). A canary follows each."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from serving import KEY, Scripted, Served, chat, error_of, in_shape, serving, wait_for
from starlette.routing import Route

from camelid.errors import UserError
from camelid.serve.app import create_app
from camelid.serve.faults import ApiFault
from camelid.serve.guard import OPEN, OPEN_FOLDER, PAGE_POLICY
from camelid.serve.pages import Pages
from camelid.serve.settings import Settings, is_loopback

BAD_HOSTS = [
    "",
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "127.0.0.1@evil.example",
    "evil.example#127.0.0.1",
    "evil.example/127.0.0.1",
    "evil.example/healthz?",
    "127.0.0.1/healthz",
    "127.0.0.1/page/x",
    "127.0.0.1?x=/healthz",
    "127.0.0.1#/healthz",
    "127.0.0.1\\healthz",
    "127.0.0.1:8000/healthz",
    "127.0.0.1:99999",
    "127.0.0.1:-1",
    "127.0.0.1:8000:9000",
    "127.0.0.1:abc",
    "127.0.0.1, evil.example",
    "127.0.0.1 evil.example",
    "[::1",
    "::1",
    "[::1]evil",
    "[v1.x]",
    "localhost.",
    "localhost.evil.example",
    "user:pass@localhost",
    "0x7f000001.evil",
    "192.168.1.5",
    "10.0.0.1:8000",
    "%31%32%37.0.0.1",
    "xn--localhost-9za",
]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Scripted()) as running:
        yield running


@pytest.fixture(autouse=True)
def canary(served: Served) -> Iterator[None]:
    yield
    served.canary()


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path) of every route; a kind of route that we do not know would be a hole."""
    found = []
    for route in app.routes:
        assert isinstance(route, Route), route
        path = route.path.replace("{name:path}", "scripted").replace("{name}", "index.html")
        found += [(method, path) for method in sorted(route.methods or ())]
    return found


PAGES = Pages()
ROUTES = routes_of(create_app(Scripted(), Settings(KEY)))


def is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_FOLDER)


def bare(method: str, path: str, *headers: str) -> bytes:
    """A request without a key."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", *headers, "Connection: close", "", ""]).encode("latin-1")


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_the_routes_are_those_that_are_known() -> None:
    """Deny by default: whoever adds a route decides here whether it needs the key."""
    assert sorted(set(ROUTES)) == [
        ("GET", "/"),
        ("GET", "/healthz"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/page/index.html"),
        ("GET", "/readyz"),
        ("GET", "/v1/camelid/info"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/scripted"),
        ("HEAD", "/openapi.json"),
        ("POST", "/v1/camelid/votes"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
    ]
    assert {"/", "/healthz"} == OPEN


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_needs_the_key(served: Served, method: str, path: str) -> None:
    answer = served.raw(bare(method, path, "Host: 127.0.0.1"))
    assert (status_of(answer) == 401) is not is_open(path), answer
    for key in ("", "Bearer", "Bearer ", f"Basic {KEY}", f"Bearer {KEY[:-1]}", f"Bearer {KEY}x", KEY, "Bearer \xff"):
        answer = served.raw(bare(method, path, "Host: 127.0.0.1", f"Authorization: {key}"))
        assert (status_of(answer) == 401) is not is_open(path), (key, answer)
    twice = (f"Authorization: Bearer {KEY}", "Authorization: Bearer x")
    assert (status_of(served.raw(bare(method, path, "Host: localhost", *twice))) == 401) is not is_open(path)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_malformed_host_opens_a_route(served: Served, method: str, path: str) -> None:
    """Starlette CVE-2026-48710, vLLM CVE-2026-48746, LiteLLM CVE-2026-49468; rebinding: Ollama CVE-2024-28224."""
    assert len(BAD_HOSTS) >= 30
    for host in BAD_HOSTS:
        answer = served.raw(bare(method, path, f"Host: {host}"))
        assert status_of(answer) in (400, 401), (host, answer)
    for headers in ((), ("Host: 127.0.0.1", "Host: evil.example"), ("Host: a\x01b",)):
        assert status_of(served.raw(bare(method, path, *headers))) in (400, 401), headers
    target = f"http://127.0.0.1/healthz?{path}"  # an absolute target is a path that no route has
    assert status_of(served.raw(bare(method, target, "Host: evil.example"))) == 400


@pytest.mark.parametrize("path", ["/v1/nothing", "/healthz/", "/healthz/../v1/models", "//healthz", "/HEALTHZ", "/%2e"])
def test_a_path_without_a_route_needs_the_key_too(served: Served, path: str) -> None:
    assert status_of(served.raw(bare("GET", path, "Host: 127.0.0.1"))) == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "[::1]:8000", "LOCALHOST", "127.0.0.9"])
def test_hosts_of_this_machine_are_ours(served: Served, host: str) -> None:
    assert status_of(served.raw(bare("GET", "/healthz", f"Host: {host}"))) == 200


def test_names_that_were_given_are_ours_and_addresses_where_all_are_listened_to() -> None:
    with serving(Scripted(), hosts=("camel.example",)) as served:
        assert status_of(served.raw(bare("GET", "/healthz", "Host: Camel.example:80"))) == 200
        assert status_of(served.raw(bare("GET", "/healthz", "Host: 10.0.0.1"))) == 400
    with serving(Scripted(), host="0.0.0.0") as served:
        assert status_of(served.raw(bare("GET", "/healthz", "Host: 10.0.0.1"))) == 200
        assert status_of(served.raw(bare("GET", "/healthz", "Host: evil.example"))) == 400


# -- pages of others -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.example",
        "http://localhost:3000",
        "https://127.0.0.1.evil.example",
        "file://",
        "",
        "http://",
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/", "/v1/camelid/votes"])
def test_a_foreign_origin_is_refused_and_hears_no_cors(served: Served, origin: str, path: str) -> None:
    """LLaMA-Factory: CORS * with credentials; llama.cpp: the origin reflected; Gradio CVE-2024-47084: null."""
    with served.client() as client:
        for method in ("GET", "POST", "OPTIONS"):
            preflight = {"origin": origin, "access-control-request-method": "POST"}
            response = client.request(method, path, headers=preflight)
            assert response.status_code == 403, response.text
            assert not [name for name in response.headers if name.startswith("access-control")]
            in_shape(response)


def test_our_own_page_may_ask(served: Served) -> None:
    with served.client() as client:
        headers = {"origin": served.url, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
        assert client.post("/v1/chat/completions", json=chat(), headers=headers).status_code == 200
        assert "access-control-allow-origin" not in client.get("/v1/models", headers=headers).headers


@pytest.mark.parametrize("site", ["cross-site", "same-site", "unheard-of"])
def test_another_site_may_not_ask_even_by_get(served: Served, site: str) -> None:
    """Gradio CVE-2025-5320, unsloth#9683: a GET from any page."""
    with served.client() as client:
        for path in ("/v1/models", "/metrics", "/readyz", "/healthz", "/page/app.js"):
            response = client.get(path, headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"})
            assert response.status_code == 403
        assert client.post("/v1/chat/completions", json=chat(), headers={"sec-fetch-site": site}).status_code == 403
        link = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
        assert client.get("/", headers=link).status_code in (200, 404)
        assert client.get("/v1/models", headers=link).status_code == 403


# -- the page --------------------------------------------------------------------------------------------------------


def test_no_path_reaches_the_file_system(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ollama CVE-2024-37032, Open WebUI CVE-2026-44566: paths that climb."""
    paths = [
        "/page/../settings.py",
        "/page/..%2fsettings.py",
        "/page/%2e%2e%2fsettings.py",
        "/page/..%5csettings.py",
        "/page//etc/passwd",
        "/page/%00",
        "/page/index.html%00.js",
        "/page/....//....//etc/passwd",
        "/page/" + "a" * 5000,
        "/page/C:%5cwindows%5cwin.ini",
        "/page/..",
        "/page/.",
        "/page/",
        "/page",
        "/v1/models/..%2f..%2fetc%2fpasswd",
        "/v1/models//etc/passwd",
    ]
    for path in paths:
        answer = served.raw(bare("GET", path, "Host: 127.0.0.1", f"Authorization: Bearer {KEY}"))
        assert status_of(answer) == 404, (path, answer)
        error_of(answer.split(b"\r\n\r\n", 1)[1].decode())


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_only_names_of_the_page_are_served(name: str) -> None:
    if name not in PAGES.names:
        with pytest.raises(ApiFault, match="no such page"):
            PAGES.response(name)


def test_answers_carry_safe_headers(served: Served) -> None:
    """Open WebUI's XSS series: nothing that comes from here is taken for a page or a script."""
    with served.client() as client:
        for path in ("/v1/models", "/healthz", "/nothing", "/metrics", "/", "/page/nothing.js"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "server" not in headers
    assert "script-src 'self'" in PAGE_POLICY


@pytest.mark.parametrize(
    "text",
    [
        "{{ 7*191 }}",
        "{% for x in ().__class__.__base__.__subclasses__() %}{{x}}{% endfor %}",
        "${7*191}",
        "<script>x</script>",
    ],
)
def test_no_template_of_a_request_is_rendered(served: Served, text: str) -> None:
    """llama-cpp-python CVE-2024-34359, SGLang CVE-2026-5760, vLLM CVE-2025-61620: templates from outside."""
    with served.client() as client:
        for name in ("chat_template", "chat_template_kwargs", "template", "add_generation_prompt"):
            response = client.post("/v1/chat/completions", json=chat(text, **{name: text}))
            assert (response.status_code, in_shape(response)["code"]) == (400, "unknown_parameter")
        response = client.post("/v1/chat/completions", json=chat(text))
        assert response.status_code == 200
        assert "1337" not in response.text
        response = client.get(f"/v1/models/{text}")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "data",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 60_000 + b"\r\nConnection: close\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: a\r\n" * 20_000 + b"Connection: close\r\n\r\n",
    ],
    ids=range(8),
)
def test_what_is_not_http_is_told_so_in_shape(served: Served, data: bytes) -> None:
    head, _, body = served.raw(data, wait=3).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 404"))
    error_of(body.decode())


def test_a_websocket_is_refused(served: Served) -> None:
    upgrade = ("Host: 127.0.0.1", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    answer = served.raw(bare("GET", "/v1/models", *upgrade), wait=2)
    assert status_of(answer) == 401


def test_a_connection_that_says_nothing_is_closed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camelid.serve.server._HEADERS", 0.3)
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for parts in ((b"",), (b"GET / HTTP/1.1\r\nHo",), (whole, b"GET / HTTP/1.1\r\nHo")):
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.settimeout(5)
            for part in parts:
                connection.sendall(part)
                time.sleep(0.1)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass
        assert time.monotonic() - began < 2, "it was kept open"
    wait_for(lambda: not served.server.server_state.connections, 2)


# -- addresses and keys ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "short", "has a space in it", "密钥密钥密钥密钥", "line\nbreak12"])
def test_keys_that_cannot_be_sent_are_refused(key: str) -> None:
    with pytest.raises(UserError, match="API key"):
        Settings(key)


def test_which_addresses_others_reach() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "127.0.0.1.example", ""))


def test_json_of_the_schema_needs_the_key_and_is_whole(served: Served) -> None:
    with served.client() as client:
        schema = json.loads(client.get("/openapi.json").text)
    assert "/v1/chat/completions" in schema["paths"]
