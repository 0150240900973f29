"""Who may ask, decided before anything else: the address it was asked at, the page that asks, the key.

All of it reads `scope["path"]` and the headers, never a URL put together from them (Starlette's CVE-2026-48710: an
authentication that read `request.url` could be talked around by a Host header). Every path needs the key except those
of `OPEN`, whether a route stands behind it or not.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
import time
from typing import final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from camelid.serve.admission import Admission
from camelid.serve.faults import ApiFault
from camelid.serve.metrics import Metrics
from camelid.serve.settings import Settings, is_loopback
from camelid.serve.stream import ClientGone

OPEN = frozenset({"/", "/healthz"})
OPEN_FOLDER = "/page/"
ANSWERING = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?")
_log = logging.getLogger(__name__)

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_NOTHING = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_NO_STORE = (b"cache-control", b"no-store")


@final
class Watch:
    """The outermost ASGI middleware: safe headers on every answer, every fault in OpenAI's shape, one count each."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def telling(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _with_safe(message.get("headers", []))}
            await send(message)

        try:
            await self._app(scope, receive, telling)
        except (ClientGone, ConnectionError):
            await _hang_up(scope)
        except ApiFault as fault:
            if status:
                await _hang_up(scope)
            else:
                await fault.response(scope, receive, telling)
        except Exception:
            _log.exception("a fault of ours while answering %s", scope["method"])
            if status:
                await _hang_up(scope)
            else:
                fault = ApiFault(500, "a fault of the server; its log says more", code="internal_error")
                await fault.response(scope, receive, telling)
        finally:
            route = scope["route"].path if "route" in scope else "other"
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - began)
            if status in (429, 503):
                self._metrics.refused.labels("full" if status == 429 else "unavailable").inc()


async def _hang_up(scope: Scope) -> None:
    """Drop the connection, with what a client that does not read has not taken yet."""
    drop = scope.get("camelid.drop")
    if drop is not None:
        await drop()


def _with_safe(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    there = {name for name, _ in headers}
    request = (b"x-request-id", f"req_{secrets.token_hex(12)}".encode())
    return headers + [pair for pair in (*_SAFE, _NOTHING, _NO_STORE, request) if pair[0] not in there]


@final
class Guard:
    """ASGI middleware. Raises ApiFault: 400 for a wrong Host, 403 for a foreign page, 401 without the key."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._key = settings.key.encode()
        self._names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers: dict[bytes, list[bytes]] = {}
            for name, value in scope["headers"]:
                headers.setdefault(name, []).append(value)
            host = self._check_host(headers)
            path = scope["path"]
            _check_page(headers, host, is_open=path in OPEN)
            if path not in OPEN and not path.startswith(OPEN_FOLDER):
                self._check_key(headers)
        await self._app(scope, receive, send)

    def _check_host(self, headers: dict[bytes, list[bytes]]) -> str:
        """Against DNS rebinding (Ollama CVE-2024-28224): a name that we do not have is not for us."""
        given = headers.get(b"host", [])
        text = given[0].decode("latin-1").lower() if len(given) == 1 else ""
        found = _HOST.fullmatch(text)
        if found is None or int(found[2] or 0) > 65535 or not self._is_ours(found[1]):
            raise ApiFault(400, "the Host header names no address of this server", code="invalid_host")
        return text

    def _is_ours(self, name: str) -> bool:
        if name in self._names or name.strip("[]") in self._names:
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        # A browser sends an address as Host only where someone went to that address: no name was rebound. Beyond the
        # loopback it is ours only where the server listens to all.
        return address.is_loopback or not is_loopback(self._settings.host)

    def _check_key(self, headers: dict[bytes, list[bytes]]) -> None:
        given = headers.get(b"authorization", [])
        scheme, _, key = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        if scheme.lower() != b"bearer" or not secrets.compare_digest(key.strip(), self._key):
            what = "the API key is wrong" if given else "an API key is needed: Authorization: Bearer KEY"
            raise ApiFault(401, what, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def _check_page(headers: dict[bytes, list[bytes]], host: str, *, is_open: bool) -> None:
    """A page of ours, or no page at all: a browser says which page asks. Raises ApiFault 403.

    A link from elsewhere to the page itself is a navigation, and allowed.
    """
    for origin in headers.get(b"origin", []):
        if origin.decode("latin-1").lower() not in (f"http://{host}", f"https://{host}"):
            raise ApiFault(403, "a page of another origin may not ask", code="foreign_origin")
    for site in headers.get(b"sec-fetch-site", []):
        if site in (b"same-origin", b"none"):
            continue
        if not (is_open and headers.get(b"sec-fetch-mode") == [b"navigate"]):
            raise ApiFault(403, "another site may not ask", code="foreign_origin")


@final
class EarlyRefusal:
    """ASGI middleware: when all places are taken, an answer is refused before its body is read. Raises ApiFault."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app, self._admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in ANSWERING:
            self._admission.check()
        await self._app(scope, receive, send)
