"""Ten times more than can be served: refusals are quick and say when to come back; who was let in is served well."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st
from serving import Script, Scripted, chat, in_shape, serving, wait_for, words

from camelid.generate.base import Request
from camelid.serve.admission import Admission, Places
from camelid.serve.faults import ApiFault

CHAT = "/v1/chat/completions"


def test_ten_times_too_many() -> None:
    """2 slots and 2 places to wait in, 40 clients at once. (benchmarks/serve_clients.py times the refusals.)"""
    everybody_else = threading.Event()

    def held(request: Request) -> Script:
        assert everybody_else.wait(60), "whoever is refused is told so while the others are still being served"
        return words("ok")

    generator = Scripted(script=held)
    with serving(generator, max_queue=2) as served, ThreadPoolExecutor(40) as pool:
        clients = [served.client() for _ in range(40)]
        asked = [pool.submit(client.post, CHAT, json=chat()) for client in clients]
        wait_for(lambda: sum(answer.done() for answer in asked) == 36, 30)
        refused = [answer.result() for answer in asked if answer.done()]
        for response in refused:
            assert response.status_code == 429
            assert in_shape(response)["code"] == "rate_limit_exceeded"
            assert 1 <= int(response.headers["retry-after"]) <= 60
        everybody_else.set()
        assert [answer.result().status_code for answer in asked].count(200) == 4
        for client in clients:
            client.close()
        assert len(generator.prepared) == 4, "what was refused was not rendered"
        wait_for(lambda: served.taken == 0)
        served.canary()


def test_a_refusal_does_not_wait_for_the_body() -> None:
    generator = Scripted(script=lambda request: words("ok", wait=1.0), slots=1)
    with serving(generator, max_queue=0) as served, served.client() as client, ThreadPoolExecutor(1) as pool:
        pool.submit(served.canary)
        wait_for(lambda: served.taken == 1)
        began = time.monotonic()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {client.headers['authorization']}\r\n"
        answer = served.raw(f"{head}Connection: close\r\nContent-Length: 100000\r\n\r\n".encode(), wait=2)
        assert answer.startswith(b"HTTP/1.1 429")
        assert time.monotonic() - began < 0.5
        assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 429
        assert client.get("/v1/models").status_code == 200


def test_several_answers_take_several_places() -> None:
    generator = Scripted(script=lambda request: words("ok", wait=0.3))
    with serving(generator, max_queue=1) as served, served.client() as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.post, CHAT, json=chat(n=2))
        wait_for(lambda: served.taken == 2)
        with served.client() as other:
            response = other.post(CHAT, json=chat(n=2))
            assert (response.status_code, in_shape(response)["type"]) == (429, "rate_limit_error")
            assert other.post(CHAT, json=chat()).status_code == 200
        assert running.result().status_code == 200
        # more answers than there are places: they come all the same, once nothing else runs
        wait_for(lambda: served.taken == 0)
        assert len(client.post(CHAT, json=chat(n=7)).json()["choices"]) == 7
        wait_for(lambda: served.taken == 0)


@given(st.lists(st.tuples(st.integers(1, 6), st.lists(st.sampled_from(["end", "release"]), max_size=8)), max_size=12))
def test_places_always_come_back(asked: list[tuple[int, list[str]]]) -> None:
    """FastChat leaked a permit for each fault until nothing was let in (#3328, #2382, #3389)."""
    admission = Admission(2, 3)
    held: list[Places] = []
    for answers, story in asked:
        try:
            places = admission.take(answers)
        except ApiFault:
            continue
        held.append(places)
        for step in story:
            (places.ended if step == "end" else places.release)()
        assert 0 <= admission.taken <= admission.places
    for places in held:
        places.release()
        places.release()
        places.ended()
    assert admission.taken == 0
