"""The shipped fake keeps to the port: limits, stop strings, scores, cancelling, order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from camelid.data.records import Conversation, Message, Origin
from camelid.errors import UserError
from camelid.generate.base import Piece, Request, Sampling
from camelid.generate.echo import EchoGenerator


def _talk(text: str) -> Conversation:
    return Conversation((Message("system", "s"), Message("user", text)), Origin("test", 1))


@pytest.fixture
def echo() -> Iterator[EchoGenerator]:
    generator = EchoGenerator(slots=2)
    yield generator
    generator.close()


def test_it_says_the_last_message_in_order(echo: EchoGenerator) -> None:
    texts = [f"你好 {i}" for i in range(9)]
    answers = echo.generate([_talk(text) for text in texts], Sampling())
    assert [(a.text, a.finish, a.completion_tokens, a.prompt_tokens) for a in answers] == [
        (text, "stop", len(text), len(text) + 1) for text in texts
    ]
    assert "".join(echo.stream("running text", Sampling())) == "running text"


def test_limits_stop_strings_and_scores(echo: EchoGenerator) -> None:
    (cut,) = echo.generate([_talk("abcdef")], Sampling(max_new_tokens=3, logprobs=1))
    assert (cut.text, cut.finish, len(cut.scores)) == ("abc", "length", 3)
    (stopped,) = echo.generate([_talk("abcdef")], Sampling(stop=("de",)))
    assert (stopped.text, stopped.finish) == ("abc", "stop")
    with pytest.raises(UserError, match="context is 4096"):
        echo.generate([_talk("x" * 4000)], Sampling())


def test_cancelling_and_closing() -> None:
    echo = EchoGenerator(delay=0.01, slots=1)
    heard: list[Piece] = []
    ended = threading.Event()

    def sink(piece: Piece) -> None:
        heard.append(piece)
        if piece.finish:
            ended.set()

    ticket = echo.submit(Request(echo.prepare(_talk("x" * 1000)), Sampling(max_new_tokens=1000)), sink)
    ticket.cancel()
    assert ended.wait(5)
    assert heard[-1].finish == "cancelled"
    echo.close()
    with pytest.raises(RuntimeError, match="closed"):
        echo.generate([_talk("x")], Sampling())


def test_a_waiting_iterator_that_is_left_cancels_its_answer() -> None:
    echo = EchoGenerator(delay=0.005, slots=1)
    pieces = echo.stream(_talk("x" * 2000), Sampling(max_new_tokens=2000))
    assert next(pieces) == "x"
    pieces.close()  # type: ignore[attr-defined]
    assert echo.generate([_talk("y")], Sampling())[0].text == "y"
    echo.close()
