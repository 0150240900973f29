"""Teachers: what an endpoint does wrong, our own server and engines behind them, and what may be spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scripted_endpoint import scripted_endpoint
from serving import KEY, serving

from camelid.data.factory.teacher import Answer, Ask, Journal, NoAnswer
from camelid.errors import UserError
from camelid.generate.echo import EchoGenerator
from camelid.generate.teachers import Budget, EndpointTeacher, GeneratorTeacher

FREE = (0.0, 0.0)


def _ask(words: str, **options: Any) -> Ask:
    return Ask((("user", words),), options.pop("max_new_tokens", 64), **options)


def _right(words: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": words[::-1]}
    usage = {"prompt_tokens": 10, "completion_tokens": len(words)}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


@contextmanager
def _teacher(url: str, budget: Budget | None = None, **options: Any) -> Iterator[EndpointTeacher]:
    options = {"slots": 4, "wait": 0.01, "timeout": 0.5, **options}
    teacher = EndpointTeacher(url, "m", KEY, budget or Budget(FREE, None), **options)
    try:
        yield teacher
    finally:
        teacher.close()


def _all(teacher: Any, *asks: Ask) -> list[Answer]:
    heard: dict[int, Answer] = {}
    teacher(asks, heard.__setitem__)
    return [heard[i] for i in range(len(asks))]


FAULTS: dict[str, Callable[[], Any]] = {
    "500": lambda: (500, {"error": {"message": "broken"}}, {}),
    "503 with a wait": lambda: (503, b"<html>", {"retry-after": "0.02"}),
    "429": lambda: (429, {"error": {"message": "slow down"}}, {"retry-after": "0.02"}),
    "429 without a word": lambda: (429, b"", {}),
    "cut off": lambda: None,
    "half a body": lambda: (200, b'{"choices": [{"mess', {}),
    "less than was promised": lambda: (200, b"{}", {"content-length": "500"}),
    "no choices": lambda: (200, {"choices": [], "usage": {}}, {}),
    "no usage": lambda: (200, {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}, {}),
    "no text": lambda: (200, _right("x") | {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}, {}),
    "not ended": lambda: (200, _right("x") | {"choices": [{"message": {"content": "x"}, "finish_reason": None}]}, {}),
    "not JSON": lambda: (200, b"\xff\xfe", {}),
    "too late": lambda: time.sleep(0.8) or (200, _right("late"), {}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_may_be_better_in_a_moment_is_asked_again(fault: Callable[[], Any]) -> None:
    def script(words: str, count: int) -> Any:
        return fault() if words == "b" and count <= 2 else (200, _right(words), {})

    with scripted_endpoint(script) as (url, server), _teacher(url) as teacher:
        found = _all(teacher, _ask("a"), _ask("b"), _ask("你好"))
    assert found == [Answer("a", "stop", 10, 1), Answer("b", "stop", 10, 1), Answer("好你", "stop", 10, 2)]
    assert server.asked == {"a": 1, "b": 3, "你好": 1}


def test_what_is_refused_for_good_is_an_answer_and_what_all_would_be_refused_for_is_not() -> None:
    def script(words: str, count: int) -> Any:
        if words == "bad":
            return 400, {"error": {"message": "against the rules"}}, {}
        if words == "filtered":
            choice = {"message": {"content": ""}, "finish_reason": "content_filter"}
            return 200, _right(words) | {"choices": [choice]}, {}
        return {"key": (401, {"error": {"message": "no such key"}}, {})}.get(words, (200, _right(words), {}))

    with scripted_endpoint(script) as (url, server), _teacher(url) as teacher:
        with pytest.raises(NoAnswer, match="refuses what it is asked: 400: against the rules"):
            _all(teacher, _ask("bad"), _ask("bad", number=1))
        assert _all(teacher, _ask("ok")) == [Answer("ko", "stop", 10, 2)]
        refused = Answer("", "refused", 0, 0, "400: against the rules")
        assert _all(teacher, _ask("bad"), _ask("ok"), _ask("filtered"))[::2] == [
            refused,
            Answer("", "refused", 10, 8, "the endpoint's content filter"),
        ]
        with pytest.raises(NoAnswer, match=r"no such key.*check the key"):
            _all(teacher, _ask("key"))
        assert server.asked["key"] == 1
    with scripted_endpoint(script) as (url, _), _teacher(url, slots=1) as teacher:
        assert _all(teacher, _ask("bad"), _ask("ok"))[0] == refused, "the first is refused before any is answered"
    with scripted_endpoint(script) as (url, _), _teacher(url, proven=True) as teacher:
        assert _all(teacher, _ask("bad")) == [refused]


def test_what_a_model_cannot_be_told_is_left_out_and_said() -> None:
    """Models that reason take max_completion_tokens, and no temperature."""
    said: list[str] = []
    bodies: list[dict[str, Any]] = []

    def script(words: str, count: int) -> Any:
        body = bodies[-1]
        for name in ("max_tokens", "temperature"):
            if name in body:
                return 400, {"error": {"message": f"Unsupported parameter: '{name}' is not supported."}}, {}
        return 200, _right(words), {}

    class Seen:
        """Keeps each body before it is sent."""

        def __init__(self, client: Any) -> None:
            self._client = client

        def post(self, path: str, json: dict[str, Any]) -> Any:
            bodies.append(json)
            return self._client.post(path, json=json)

        def close(self) -> None:
            self._client.close()

    with scripted_endpoint(script) as (url, _), _teacher(url, slots=1, announce=said.append) as teacher:
        teacher._client = Seen(teacher._client)  # type: ignore[assignment]
        assert [one.text for one in _all(teacher, _ask("abc", temperature=0.5), _ask("de"))] == ["cba", "ed"]
    assert [sorted(set(body) - {"model", "messages"}) for body in bodies] == [
        ["max_tokens", "temperature", "top_p"],
        ["max_completion_tokens", "temperature", "top_p"],
        ["max_completion_tokens", "top_p"],
        ["max_completion_tokens", "top_p"],
    ]
    assert bodies[-1]["max_completion_tokens"] == 64
    assert said == ["m takes no max_tokens: it is asked without", "m takes no temperature: it is asked without"]


def test_an_endpoint_that_never_answers_is_given_up_and_what_came_is_kept(tmp_path: Path) -> None:
    def script(words: str, count: int) -> Any:
        return (500, b"", {}) if words == "never" else (200, _right(words), {})

    with scripted_endpoint(script) as (url, server), _teacher(url, tries=3, slots=1) as teacher:
        with Journal(tmp_path / "j.jsonl", "m") as journal, pytest.raises(NoAnswer, match="no answer in 3 tries"):
            journal.answers([_ask("one"), _ask("never"), _ask("after")], teacher)
        assert server.asked["never"] == 3
        assert server.asked["after"] == 0, "nobody asks on"
        with Journal(tmp_path / "j.jsonl", "m") as journal:
            assert journal.answers([_ask("one"), _ask("two")], teacher)[0].text == "eno"
        assert server.asked["one"] == 1
    with _teacher("http://127.0.0.1:9/v1", tries=2) as teacher, pytest.raises(NoAnswer, match="Connect"):
        _all(teacher, _ask("x"))
    with pytest.raises(UserError, match="address"):
        EndpointTeacher("localhost", "m", None, Budget(FREE, None))


def test_everybody_waits_while_an_endpoint_has_had_too_much() -> None:
    def script(words: str, count: int) -> Any:
        if (words, count) == ("0", 1):
            return 429, b"", {"retry-after": "0.4"}
        return time.sleep(0.15 if words == "1" else 0) or (200, _right(words), {})

    with scripted_endpoint(script) as (url, server), _teacher(url, slots=2) as teacher:
        _all(teacher, *(_ask(str(i)) for i in range(4)))
    assert server.times[2] - server.times[0] >= 0.4, "the second thread too, when its first question is answered"
    with scripted_endpoint(lambda words, count: (200, _right(words), {})) as (url, server):
        with _teacher(url, per_minute=60 / 0.05, slots=3) as teacher:
            _all(teacher, *(_ask(str(i)) for i in range(6)))
        assert server.times[-1] - server.times[0] >= 0.05 * 5 * 0.9


def test_no_more_questions_at_a_time_than_slots() -> None:
    with scripted_endpoint(lambda words, count: time.sleep(0.03) or (200, _right(words), {})) as (url, server):
        with _teacher(url, slots=3) as teacher:
            _all(teacher, *(_ask(str(i)) for i in range(12)))
        assert server.most == 3


def test_no_more_is_spent_than_was_allowed(tmp_path: Path) -> None:
    """A question may cost 8 + 1 prompt tokens at 1 and 20 of its answer at 10: 209; it does cost 10 + 10."""
    budget = Budget((1e6, 10e6), 700.0, spent=(400, 0))
    with (
        scripted_endpoint(lambda words, count: (200, _right(words), {})) as (url, server),
        _teacher(url, budget, slots=1) as teacher,
        Journal(tmp_path / "j.jsonl", "m") as journal,
    ):
        asks = [_ask(str(i), max_new_tokens=20) for i in range(9)]
        with pytest.raises(NoAnswer, match=r"left of 700: 500\.0000 is spent"):
            journal.answers(asks, teacher)
        assert journal.asked == sum(server.asked.values()) == 5
    assert budget.spent == 400 + 5 * 20


def test_our_own_server_and_our_own_engines_teach_too() -> None:
    asks = [_ask("你好 👩‍👩‍👧"), _ask("a longer question", max_new_tokens=4), _ask("x" * 9000)]
    echo = EchoGenerator()
    try:
        pieces: list[int] = []
        local = _all(GeneratorTeacher(echo, heard=lambda: pieces.append(1)), *asks)
        assert len(pieces) > sum(a.completion_tokens for a in local) / 2, "each piece is heard of"
        assert [(a.text, a.ended) for a in local[:2]] == [("你好 👩‍👩‍👧", "stop"), ("a lo", "length")]
        assert local[2].ended == "refused"
        assert "context is 4096" in local[2].why
        with serving(echo) as server, _teacher(f"{server.url}/v1", timeout=20) as teacher:
            teacher._model = "echo"
            assert _all(teacher, *asks[:2]) == local[:2]
            (long,) = _all(teacher, asks[2])
            assert (long.text, long.ended) == ("", "refused")
    finally:
        echo.close()
