"""Requests that nobody would write, by the server's own OpenAI schema: sound ones and unsound ones, NUL included.

Whatever comes: no 5xx, every fault in OpenAI's shape, and a canary behind each request is answered.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from serving import KEY, Scripted, Served, chat, error_of, request_bytes, serving, wait_for

from camelid.serve.app import create_app
from camelid.serve.settings import Settings

OPERATIONS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/camelid/votes", "/v1/models/{name}"]
QUICK, SLOW = 8, 2300  # examples of each operation and mode: 72 and 20,700 in all, and a canary behind each


def operation(path: str) -> Any:
    """By the schema as the server gives it out."""
    schema = schemathesis.openapi.from_dict(create_app(Scripted(), Settings(KEY)).openapi())
    schema.config.generation.update(allow_x00=True)
    return schema[path]["get" if "{" in path else "post"]


def check(served: Served, response: requests.Response, seen: Counter[int]) -> None:
    """What holds of every answer."""
    seen[response.status_code] += 1
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/json"
        error_of(response.text)


def fuzz(path: str, examples: int, folder: Path) -> None:
    with (
        serving(Scripted(slots=8), max_queue=64, votes=folder / "votes.jsonl") as served,
        requests.Session() as session,
    ):
        session.trust_env = False
        session.headers["authorization"] = f"Bearer {KEY}"
        for mode in GenerationMode if "{" not in path else [GenerationMode.POSITIVE]:  # any text is a sound name
            seen = send_many(served, session, operation(path).as_strategy(generation_mode=mode), examples)
            assert seen.total() >= examples
            print(path, mode.value, dict(seen))
        wait_for(lambda: served.taken == 0)


def mended(body: dict[str, Any]) -> dict[str, Any]:
    """The same with what a schema cannot say put right, so that half of the requests come as far as an answer."""
    body = {name: value for name, value in body.items() if name != "model"}
    if not isinstance(body.get("messages"), list) or not all(isinstance(m, dict) for m in body["messages"]):
        return body
    for message in body["messages"]:
        if message.get("role") == "tool":
            message["role"] = "user"
        message["content"] = message.get("content") or "x"
        message.pop("tool_calls", None)
    body["logprobs"] = True
    for name in ("max_completion_tokens", "response_format", "tool_choice", "tools")[:: 1 + len(body) % 2]:
        body.pop(name, None)
    return body


def send_many(served: Served, session: requests.Session, cases: Any, examples: int) -> Counter[int]:
    """Statuses of so many requests."""
    seen: Counter[int] = Counter()

    @settings(
        max_examples=examples, database=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
    )
    @given(cases)
    def send(case: Case) -> None:
        if seen.total() % 2 and isinstance(case.body, dict):
            case.body = mended(case.body)
        response = session.request(**case.as_transport_kwargs(base_url=served.url), timeout=30, allow_redirects=False)
        check(served, response, seen)
        canary = session.post(f"{served.url}/v1/chat/completions", json=chat("canary"), timeout=30)
        assert canary.status_code == 200, canary.text

    send()
    return seen


@pytest.mark.parametrize("path", OPERATIONS)
def test_requests_by_the_schema(path: str, tmp_path: Path) -> None:
    fuzz(path, QUICK, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("path", OPERATIONS)
def test_twenty_thousand_requests_by_the_schema(path: str, tmp_path: Path) -> None:
    fuzz(path, SLOW, tmp_path)


SOUND = [
    (
        "/v1/chat/completions",
        b'{"messages": [{"role": "user", "content": "hi \\u4f60"}], "n": 2, "stop": ["a"], "seed": 1}',
    ),
    ("/v1/completions", b'{"prompt": ["a", "b"], "max_tokens": 3, "temperature": 0.5, "logprobs": 2}'),
    ("/v1/embeddings", b'{"input": ["a"], "encoding_format": "base64"}'),
]
ODD = [
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"1e999",
    b"-1",
    b"9" * 40,
    b"[" * 70,
    b"{}",
    b'"',
    b"null",
    b"NaN",
    b",",
]


def mutated(body: bytes, rng: random.Random) -> bytes:
    """Bytes dropped, doubled, swapped for odd ones."""
    made = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(made) + 1)
        to = min(len(made), at + rng.randint(0, 6))
        made[at:to] = rng.choice([b"", bytes(made[at:to]) * 2, rng.choice(ODD), bytes([rng.randrange(256)])])
    return bytes(made)


def test_bytes_that_are_almost_a_request() -> None:
    """400 bodies, a few bytes from a sound one, and headers that are not sound either."""
    heads = [
        "X: \x0b",
        "Transfer-Encoding: chunked",
        "Content-Type: text/html",
        "Expect: 100-continue",
        "Range: bytes=0-",
    ]
    rng, seen = random.Random(0), Counter[int]()
    with serving(Scripted(slots=8), max_queue=64, stall=0.2) as served:
        for number in range(400):
            path, body = rng.choice(SOUND)
            body = mutated(body, rng)
            head = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
            if number % 10 == 0:
                head[rng.randrange(2)] = rng.choice(heads)
            answer = served.raw(request_bytes(path, body, *head), wait=3)
            status = int(answer.split(b" ", 2)[1])
            if status == 100:
                status = int(answer.split(b"\r\n\r\n", 1)[1].split(b" ", 2)[1])
            seen[status] += 1
            assert status < 500, (body, answer)
        served.canary()
        wait_for(lambda: served.taken == 0)
    assert seen[200] > 5
    assert seen[400] > 100
