"""OpenAI-compatible endpoints over HTTP: the way to one, and what its refusals say."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx

from camelid.errors import UserError

LATER = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}  # the endpoint may do better in a moment


def client_of(url: str, key: str | None, timeout: float) -> httpx.Client:
    """url: up to and including /v1; timeout: seconds without a byte. Raises UserError for what is no address."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        client = httpx.Client(base_url=url.rstrip("/") + "/", headers=headers, timeout=timeout)
    except (httpx.InvalidURL, ValueError) as error:
        raise UserError(f"not the address of an endpoint: {error}", where=url) from None
    if client.base_url.scheme not in ("http", "https") or not client.base_url.host:
        raise UserError("an endpoint's address begins with http:// or https://", where=url)
    return client


def retry_after(reply: httpx.Response) -> float:
    """Seconds, 0 where nothing is said; the header holds seconds or a date."""
    value = reply.headers.get("retry-after", "")
    if value.replace(".", "", 1).isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def reason_of(reply: httpx.Response) -> str:
    """What an error's body says, at most 300 characters."""
    try:
        return str(reply.json()["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return reply.text[:300] or reply.reason_phrase
