"""The bodies of requests, read with a limit on everything: bytes, time, levels, numbers, characters.

The bytes are counted while they are read, so a Content-Length that lies and a chunked body change nothing. What goes on
to the routes is JSON that any parser takes: no NaN, no number beyond a float's range, no lone surrogate.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any, final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from camelid.serve.faults import ApiFault
from camelid.serve.settings import Settings

_DIGITS = 30  # of an integer; longer ones cost time and mean nothing here
_LARGE = 64 << 10  # bytes from which a body is parsed off the loop
_METHODS = ("POST", "PUT", "PATCH")


@final
class BodyGate:
    """ASGI middleware: the body is read and checked before the routes see the request. Raises ApiFault."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _METHODS:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        check_type(headers)
        body = await self._read(headers, receive)
        if len(body) < _LARGE:
            check_json(body, self._settings.max_depth)
        else:
            await asyncio.to_thread(check_json, body, self._settings.max_depth)
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        most = self._settings.max_body
        announced = headers.get(b"content-length", b"0")
        if not announced.isdigit() or len(announced) > 18 or int(announced) > most:
            raise _too_large(most)
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.stall):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionResetError
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise _too_large(most)
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            what = f"the body did not come within {self._settings.stall:g} s"
            raise ApiFault(408, what, code="timeout", headers={"connection": "close"}) from None


def _too_large(most: int) -> ApiFault:
    return ApiFault(413, f"a body may have {most:,} bytes", code="body_too_large")


def check_type(headers: dict[bytes, bytes]) -> None:
    """JSON in UTF-8, not compressed. Raises ApiFault 415."""
    kind, _, parameters = headers.get(b"content-type", b"").lower().partition(b";")
    if kind.strip() != b"application/json":
        raise ApiFault(415, "the content type must be application/json")
    charset = parameters.replace(b" ", b"").replace(b'"', b"")
    if charset.startswith(b"charset=") and charset != b"charset=utf-8":
        raise ApiFault(415, "the body must be UTF-8")
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise ApiFault(415, "a compressed body is not read")


def check_json(body: bytes, max_depth: int) -> None:
    """Raises ApiFault 400 for what is not JSON, or JSON that no client means."""
    try:
        value = json.loads(body.decode("utf-8"), parse_int=_integer, parse_float=_number, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise _bad(f"it is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise _bad(f"it nests deeper than {max_depth} levels") from None
    except json.JSONDecodeError as error:
        raise _bad(f"{error.msg} (line {error.lineno}, column {error.colno})") from None
    _check_depth(value, max_depth)


def _bad(why: str) -> ApiFault:
    return ApiFault(400, f"the body is not JSON that is read here: {why}", code="invalid_json")


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise _bad(f"an integer has {len(digits)} digits")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _bad("a number is beyond the range of floats")
    return value


def _constant(name: str) -> float:
    raise _bad(f"{name} is no number")


def _check_depth(value: Any, most: int) -> None:
    """Level by level; every text on the way must be encodable."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > most:
            raise _bad(f"it nests deeper than {most} levels")
        below = []
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, dict):
                for key in item:
                    _check_text(key)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = below


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _bad("a text holds half of a surrogate pair") from None
