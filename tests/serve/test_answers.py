"""What happens to an answer when something goes wrong: slow, gone, broken, full, ending. Nothing may stay behind."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from serving import KEY, Scripted, Served, chat, error_of, in_shape, request_bytes, serving, wait_for, words

from camelid.data.records import Conversation
from camelid.errors import UserError
from camelid.generate.base import Piece, Request, TokenScore
from camelid.serve.server import listening_socket
from camelid.serve.service import Service
from camelid.serve.settings import Settings

CHAT = "/v1/chat/completions"


def last_word(request: Request) -> str:
    assert isinstance(request.prompt.source, Conversation)
    return request.prompt.source.messages[-1].content


def events(text: str) -> list[Any]:
    """The data of a stream; [DONE] as it is."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def open_stream(served: Served, text: str = "long", **fields: Any) -> socket.socket:
    """A connection on which an answer has begun to come."""
    connection = socket.create_connection(("127.0.0.1", served.port))
    body = json.dumps(chat(text, stream=True, **fields)).encode()
    head = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    connection.sendall(request_bytes(CHAT, body, *head))
    got = b""
    while b"data: " not in got:
        got += connection.recv(4096)
    return connection


LONG = words(*"long" * 200, wait=0.02)


# -- clients that go away --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_goes_away_frees_its_slot_within_a_second(reset: bool) -> None:
    generator = Scripted(script=lambda request: LONG)
    with serving(generator) as served:
        connection = open_stream(served, n=2)
        assert served.taken == 2
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        assert wait_for(lambda: not generator.active, 1.0) < 1.0
        assert wait_for(lambda: served.taken == 0, 1.0) < 1.0
        assert not served.service.running


def test_a_client_that_goes_away_before_an_answer_without_stream_frees_its_slot() -> None:
    generator = Scripted(script=lambda request: LONG)
    with serving(generator) as served:
        body = json.dumps(chat()).encode()
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            head = ("Content-Type: application/json", f"Content-Length: {len(body)}")
            connection.sendall(request_bytes(CHAT, body, *head))
            wait_for(lambda: generator.active)
        wait_for(lambda: not generator.active and served.taken == 0, 1.0)


def test_a_client_that_goes_away_while_its_prompt_is_rendered_frees_its_place() -> None:
    generator = Scripted(rendering=0.4)
    with serving(generator) as served:
        body = json.dumps(chat()).encode()
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            head = ("Content-Type: application/json", f"Content-Length: {len(body)}")
            connection.sendall(request_bytes(CHAT, body, *head))
            wait_for(lambda: generator.prepared)
        wait_for(lambda: served.taken == 0, 0.3)
        assert not generator.heard


def test_a_client_that_goes_away_at_the_very_moment_when_its_prompt_is_rendered_is_heard() -> None:
    """asyncio.wait_for loses such a cancellation before Python 3.12: answers ran on for nobody."""
    service = Service(Scripted(), Settings(KEY))

    async def cancelled_after(hops: int) -> tuple[bool, bool]:
        go = threading.Event()
        task = asyncio.create_task(service._in_time(go.wait))
        await asyncio.sleep(0.02)
        go.set()
        time.sleep(0.02)  # the loop stands still, and finds the work done when it goes on
        for _ in range(hops):
            await asyncio.sleep(0)
        wanted = task.cancel()
        await asyncio.wait({task})
        return wanted, task.cancelled()

    for hops in range(6):
        wanted, cancelled = asyncio.run(cancelled_after(hops))
        assert wanted == cancelled, hops
    service.close()


def test_a_client_that_does_not_read_is_dropped_and_its_slot_freed() -> None:
    piece = "x" * 20_000
    generator = Scripted(script=lambda request: words(*[piece] * 2000, wait=0.001))
    with serving(generator, stall=0.5) as served, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", served.port))
        body = json.dumps(chat(stream=True, max_tokens=900)).encode()
        head = ("Content-Type: application/json", f"Content-Length: {len(body)}")
        connection.sendall(request_bytes(CHAT, body, *head))
        wait_for(lambda: generator.active)
        wait_for(lambda: not generator.active and served.taken == 0, 5.0)
        wait_for(lambda: not served.server.server_state.connections, 2.0)


def test_an_engine_that_never_says_that_it_has_cancelled_does_not_keep_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("camelid.serve.answering._PATIENCE", 0.3)
    generator = Scripted(script=lambda request: LONG, deaf=True)
    with serving(generator) as served:
        open_stream(served).close()
        wait_for(lambda: not generator.active, 1.0)
        assert served.taken == 1, "the engine has not said that the slot is free"
        wait_for(lambda: served.taken == 0, 1.0)


# -- engines that break ----------------------------------------------------------------------------------------------


def breaking(request: Request) -> Any:
    word = last_word(request)
    if word == "at once":
        return [Piece("", 0, 3, finish="error", error="out of\nmemory")]
    if word == "later":
        return [*words("a", "b")[:2], 0.05, Piece("", 2, 3, finish="error", error="out of memory")]
    if word == "closing":
        return [Piece("", 0, 3, finish="cancelled")]
    return words("fine")


def test_an_engine_that_fails_is_a_fault_in_shape() -> None:
    with serving(Scripted(script=breaking)) as served, served.client() as client:
        for stream in (False, True):
            response = client.post(CHAT, json=chat("at once", stream=stream))
            assert response.status_code == 500
            assert in_shape(response)["code"] == "engine_error"
            assert "out of memory" in response.text
            assert client.post(CHAT, json=chat("closing", stream=stream)).status_code == 503
        assert client.post(CHAT, json=chat("later")).status_code == 500
        streamed = client.post(CHAT, json=chat("later", stream=True))
        assert streamed.status_code == 200
        told = events(streamed.text)
        assert "".join(c["choices"][0]["delta"].get("content", "") for c in told if "choices" in c) == "ab"
        assert error_of(json.dumps(told[-1]))["code"] == "engine_error"
        wait_for(lambda: served.taken == 0)
        served.canary()


def test_an_engine_that_refuses_or_raises_leaves_nothing_behind() -> None:
    class Broken(UserError):
        pass

    generator = Scripted()
    submit = generator.submit

    def refusing(request: Request, sink: Any) -> Any:
        if last_word(request) == "refuse" and request.answer == 1:
            raise Broken("the schema has no end", mend="close it")
        if last_word(request) == "raise" and request.answer == 1:
            raise RuntimeError("kaputt")
        return submit(request, sink)

    generator.submit = refusing  # type: ignore[method-assign]
    with serving(generator) as served, served.client() as client:
        response = client.post(CHAT, json=chat("refuse", n=2))
        assert (response.status_code, in_shape(response)["message"]) == (400, "the schema has no end — close it")
        response = client.post(CHAT, json=chat("raise", n=2, stream=True))
        assert response.status_code == 500
        assert "kaputt" not in response.text
        in_shape(response)
        wait_for(lambda: served.taken == 0 and not generator.active, 2.0)
        served.canary()


def test_text_that_is_no_unicode_and_numbers_that_are_no_json() -> None:
    score = TokenScore("\udcff", b"\xff", float("-inf"), (("\udcff", b"\xff", float("nan")),))
    pieces = [Piece("好\udcff", 1, 3, (score,)), Piece("", 1, 3, finish="stop")]
    with serving(Scripted(script=lambda request: pieces)) as served, served.client() as client:
        for stream in (False, True):
            response = client.post(CHAT, json=chat(logprobs=True, top_logprobs=1, stream=stream))
            assert response.status_code == 200
            assert "好\ufffd" in response.content.decode("utf-8")
            assert "-9999.0" in response.text
        assert client.post("/v1/completions", json={"prompt": "a", "logprobs": 1}).status_code == 200


def test_a_template_that_refuses_and_one_that_hangs() -> None:
    def refuse(prompt: Conversation | str) -> None:
        raise UserError("the chat template says: no", where="request:0")

    with serving(Scripted(refuse=refuse)) as served, served.client() as client:
        response = client.post(CHAT, json=chat())
        assert (response.status_code, in_shape(response)["message"]) == (400, "the chat template says: no")
        assert served.taken == 0
    with serving(Scripted(rendering=1.0), render=0.1) as served, served.client() as client:
        response = client.post(CHAT, json=chat())
        assert (response.status_code, in_shape(response)["code"]) == (503, "timeout")
        assert served.taken == 0


def test_no_piece_is_lost_and_none_comes_twice() -> None:
    """Many answers at once from many threads, in pieces as quick as the engine can make them."""
    text = [f"{i}," for i in range(500)]
    generator = Scripted(script=lambda request: words(*text), slots=16)
    with serving(generator, max_queue=64) as served, served.client() as client, ThreadPoolExecutor(8) as pool:

        def once(i: int) -> None:
            response = client.post(CHAT, json=chat(stream=True, n=2, max_tokens=900))
            for choice in (0, 1):
                got = [c["choices"][0] for c in events(response.text)[:-1]]
                mine = "".join(c["delta"].get("content", "") for c in got if c["index"] == choice)
                assert mine == "".join(text)

        list(pool.map(once, range(40)))
        wait_for(lambda: served.taken == 0)


# -- time ------------------------------------------------------------------------------------------------------------


def test_an_answer_has_its_time_and_no_more() -> None:
    generator = Scripted(script=lambda request: LONG)
    with serving(generator, timeout=0.5) as served, served.client() as client:
        response = client.post(CHAT, json=chat())
        assert (response.status_code, in_shape(response)["code"]) == (503, "timeout")
        told = events(client.post(CHAT, json=chat(stream=True)).text)
        assert told[-1]["error"]["code"] == "timeout"
        wait_for(lambda: not generator.active and served.taken == 0, 1.0)


def test_a_stream_that_is_silent_for_long_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camelid.serve.stream._QUIET", 0.05)
    monkeypatch.setattr("camelid.serve.stream._FIRST", 0.05)
    with serving(Scripted(script=lambda request: words("a", wait=0.4))) as served, served.client() as client:
        response = client.post(CHAT, json=chat(stream=True))
    assert response.text.count(": waiting") >= 3
    assert events(response.text)[-1] == "[DONE]"


# -- readiness and the end -------------------------------------------------------------------------------------------


def test_readiness_generates_a_token() -> None:
    """tabbyAPI#428: a server whose generation was dead went on to say that it was well."""
    generator = Scripted()
    with serving(generator, probe=0.3) as served, served.client() as client:
        assert client.get("/readyz").status_code == 200
        assert generator.heard[0].sampling.max_new_tokens == 1
        generator.script = lambda request: [5.0, *words("late")]
        response = client.get("/readyz")
        assert (response.status_code, in_shape(response)["code"]) == (503, "not_ready")
        assert client.get("/healthz").json() == {"status": "ok"}
        generator.script = lambda request: [Piece("", 0, 1, finish="error", error="dead")]
        assert client.get("/readyz").status_code == 503
        generator.script = lambda request: words("ok")
        wait_for(lambda: client.get("/readyz").status_code == 200)


def test_a_busy_engine_that_makes_tokens_is_ready() -> None:
    generator = Scripted(script=lambda request: LONG, slots=1)
    with serving(generator, probe=0.3) as served, served.client() as client, open_stream(served):
        assert client.get("/readyz").status_code == 200


def test_probes_that_come_together_share_one_token() -> None:
    generator = Scripted(script=lambda request: words("a", wait=0.2))
    with serving(generator) as served, served.client() as client, ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: client.get("/readyz").status_code, range(8)))
    assert codes == [200] * 8
    assert len(generator.heard) <= 2


def test_running_answers_end_well_when_the_server_drains_and_new_ones_hear_503() -> None:
    generator = Scripted(script=lambda request: words(*"finished", wait=0.15))
    with serving(generator, drain=5.0) as served, served.client() as client, served.client() as second:
        told: list[Any] = []
        thread = threading.Thread(target=lambda: told.append(client.post(CHAT, json=chat(stream=True)).text))
        thread.start()
        wait_for(lambda: generator.active)
        served.loop.call_soon_threadsafe(served.server.end)
        wait_for(lambda: served.service.admission.draining)
        time.sleep(0.4)  # the door stays open all the while
        response = second.post(CHAT, json=chat())
        assert (response.status_code, in_shape(response)["code"]) == (503, "shutting_down")
        assert int(response.headers["retry-after"]) >= 1
        assert second.get("/readyz").status_code == 503
        assert second.get("/healthz").status_code == 200
        thread.join(5)
        assert events(told[0])[-1] == "[DONE]"
        wait_for(lambda: served.server.should_exit)
    assert served.server.exit_code == 0


def test_what_does_not_end_in_time_is_cut_and_says_so() -> None:
    generator = Scripted(script=lambda request: LONG)
    with serving(generator, drain=0.3) as served:
        with open_stream(served) as connection:
            began = time.monotonic()
            served.loop.call_soon_threadsafe(served.server.end)
            got = b""
            while part := connection.recv(4096):
                got += part
        assert time.monotonic() - began < 2.0
        assert b'"code":"shutting_down"' in got
    assert served.server.cut
    assert not generator.active


def test_metrics_count_what_was_done() -> None:
    with serving(Scripted(script=lambda request: words("a", "b"))) as served, served.client() as client:
        client.post(CHAT, json=chat())
        client.post(CHAT, json=chat(stream=True))
        client.post(CHAT, json={})
        client.get("/nowhere/" + "x" * 50)
        text = client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['camelid_requests_total{route="/v1/chat/completions",status="200"}'] == "2.0"
    assert lines['camelid_requests_total{route="/v1/chat/completions",status="400"}'] == "1.0"
    assert lines['camelid_requests_total{route="other",status="404"}'] == "1.0"
    assert lines["camelid_prompt_tokens_total"] == "10.0"
    assert lines["camelid_completion_tokens_total"] == "4.0"
    assert lines["camelid_places_taken"] == "0.0"
    assert "xxxx" not in text


# -- work that cannot be broken off ----------------------------------------------------------------------------------


def test_a_schema_that_takes_long_to_read_holds_nobody_up_and_its_answer_is_cancelled() -> None:
    generator = Scripted(script=lambda request: LONG)
    submit = generator.submit

    def slow(request: Request, sink: Any) -> Any:
        if request.sampling.schema is not None:
            time.sleep(0.8)
        return submit(request, sink)

    generator.submit = slow  # type: ignore[method-assign]
    with serving(generator, render=0.2) as served, served.client() as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.post, CHAT, json=chat(response_format={"type": "json_object"}))
        wait_for(lambda: served.taken == 1)
        with served.client() as other:
            began = time.monotonic()
            assert other.get("/v1/models").status_code == 200
            assert time.monotonic() - began < 0.3, "the loop stood still"
        response = running.result()
        assert (response.status_code, in_shape(response)["code"]) == (503, "timeout")
        wait_for(lambda: generator.heard)
        wait_for(lambda: not generator.active and served.taken == 0, 1.0)


def test_an_embedding_keeps_its_place_until_it_is_made() -> None:
    generator = Scripted()
    embed = generator.embed

    def slow(*arguments: Any) -> Any:
        time.sleep(0.5)
        return embed(*arguments)

    generator.embed = slow  # type: ignore[method-assign]
    with serving(generator) as served:
        body = json.dumps({"input": "a"}).encode()
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            head = ("Content-Type: application/json", f"Content-Length: {len(body)}")
            connection.sendall(request_bytes("/v1/embeddings", body, *head))
            wait_for(lambda: served.taken == 1)
        time.sleep(0.2)
        assert served.taken == 1, "it is still being made"
        wait_for(lambda: served.taken == 0, 1.0)


def test_an_answer_is_sent_at_once() -> None:
    """Its second packet does not wait until the first is acknowledged, 40 ms later."""

    async def accepted() -> int:
        seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            option = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            seen.set_result(option)
            writer.close()

        listener = listening_socket(Settings(KEY, port=0))
        async with await asyncio.start_server(hear, sock=listener):
            with socket.create_connection(listener.getsockname()):
                return await seen

    assert asyncio.run(accepted())
