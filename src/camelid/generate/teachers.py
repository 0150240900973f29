"""Teachers for the data factory: an OpenAI-compatible endpoint, or any generator of ours.

An endpoint is asked without streaming, so that an answer is whole or not there, and says what it cost. What may be
better in a moment (429, 5xx, time-outs, a connection or an answer cut off) is asked again, later each time and with
jitter, and while an endpoint says that it is too much, nobody asks. What it will never answer is refused, for good.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, final

import httpx

from camelid.data.factory.teacher import Answer, Ask, Deadline, Hear, LimitReached, NoAnswer
from camelid.data.records import Conversation, Message, Origin
from camelid.errors import UserError
from camelid.generate.base import Generator, Request, Sampling
from camelid.generate.endpoint import LATER, client_of, reason_of, retry_after

TRIES = 8
_FOR_ALL = {401: "the key", 402: "the account", 403: "the key", 404: "the address and the model's name"}
_LONGEST_WAIT = 60.0  # seconds between two tries
# What some models refuse to be told: they take max_completion_tokens, or choose their own temperature.
_UNSUPPORTED = re.compile(
    r"unsupported (?:parameter|value)\W+(max_tokens|temperature|top_p|presence_penalty|stop)\b", re.IGNORECASE
)


class Budget:
    """What may be spent. prices: of a million tokens of prompts and of answers; cap: in the same money, None: no limit.

    spent: before, by answers that are in the journal already
    """

    def __init__(self, prices: tuple[float, float], cap: float | None, spent: tuple[int, int] = (0, 0)) -> None:
        self.prices, self.cap = prices, cap
        self._spent, self._promised = self.cost(*spent), 0.0
        self._open = 0  # promises that are not settled
        self._settled = threading.Condition()

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self.prices[0] + completion_tokens * self.prices[1]) / 1e6

    @property
    def spent(self) -> float:
        return self._spent

    def promise(self, ask: Ask, given_up: Callable[[], bool] = lambda: False) -> float:
        """Set aside the most that this could cost, once there is room beside what is on its way.

        Raises LimitReached where that would be more than is left, and _Stopped where it waited until `given_up`.
        """
        letters = sum(len(words.encode()) for _, words in ask.messages)  # no tokenizer takes more than one a byte
        most = self.cost(letters + 8 * len(ask.messages), ask.max_new_tokens)
        with self._settled:
            while self.cap is not None and self._spent + self._promised + most > self.cap:
                if given_up():
                    raise _Stopped
                if self._open:
                    self._settled.wait(1.0)
                    continue
                raise LimitReached(
                    f"the next question could cost more than is left of {self.cap:g}: {self._spent:.4f} is spent",
                    mend="the same command with more --max-cost goes on from here",
                )
            self._promised += most
            self._open += 1
        return most

    def settle(self, promised: float, answer: Answer | None) -> None:
        """The question has been answered, or never will be."""
        with self._settled:
            self._promised -= promised
            if answer is not None:
                self._spent += self.cost(answer.prompt_tokens, answer.completion_tokens)
            self._open -= 1
            self._settled.notify_all()


@final
class EndpointTeacher:
    """A model behind an OpenAI-compatible endpoint.

    url: up to and including /v1; slots: questions at a time; per_minute: questions a minute at most, None: no limit;
    timeout: seconds; wait: seconds before the second try, doubled for each further one; proven: it has answered before

    Until it has answered something, a question that is refused says nothing about the question: the model's name or the
    way of asking may be what is refused. It is then only refused for good once another one has been answered.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None,
        budget: Budget,
        *,
        slots: int = 8,
        per_minute: float | None = None,
        timeout: float = 120.0,
        wait: float = 1.0,
        tries: int = TRIES,
        proven: bool = False,
        deadline: Deadline | None = None,
        announce: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._client = client_of(url, key, timeout)
        self._url, self._model, self._slots, self._budget = url, model, slots, budget
        self._gate = _Gate(per_minute)
        self._wait, self._tries = wait, tries
        self._proven = proven
        self._deadline, self._announce = deadline or Deadline(), announce
        self._left_out: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, asks: Sequence[Ask], hear: Hear) -> None:
        """Ask all. Raises NoAnswer with the first reason, once those that are on their way have been heard."""
        stop = threading.Event()
        refused: dict[int, Answer] = {}

        def heard(place: int, answer: Answer) -> None:
            self._proven = self._proven or answer.ended != "refused"
            if self._proven:
                hear(place, answer)
            else:
                refused[place] = answer

        with ThreadPoolExecutor(self._slots, thread_name_prefix="teacher") as pool:
            running = {pool.submit(self._one, ask, stop, lambda a, i=i: heard(i, a)) for i, ask in enumerate(asks)}
            fault: BaseException | None = None
            try:
                for done in as_completed(running):
                    if (found := done.exception()) is not None and not isinstance(found, _Stopped):
                        fault = fault or found
            finally:
                stop.set()  # a signal: let nobody begin another try
        if self._proven:
            for place, answer in refused.items():
                hear(place, answer)
        if fault is not None:
            raise fault
        if refused and not self._proven:
            raise NoAnswer(f"refuses what it is asked: {next(iter(refused.values())).why}", where=self._url)

    def close(self) -> None:
        self._client.close()

    def _one(self, ask: Ask, stop: threading.Event, heard: Callable[[Answer], None]) -> None:
        if stop.is_set():
            raise _Stopped
        try:
            self._deadline.check()
            promised, answer = self._budget.promise(ask, stop.is_set), None
            try:
                answer = self._ask(ask, stop)
                heard(answer)
            finally:
                self._budget.settle(promised, answer)
        except BaseException:
            stop.set()  # here, for the next question begins before whoever waits has heard of it
            raise

    def _ask(self, ask: Ask, stop: threading.Event) -> Answer:
        why = ""
        for attempt in range(self._tries):
            if not self._gate.enter(stop):
                raise _Stopped
            pause = self._wait * 2**attempt * random.uniform(0.5, 1.5)
            try:
                reply = self._client.post("chat/completions", json=_body(ask, self._model, self._left_out))
                if reply.status_code == 200:
                    return _answer(reply.json())
                why = f"{reply.status_code}: {reason_of(reply)}"
                if reply.status_code in _FOR_ALL:
                    raise NoAnswer(why, where=self._url, mend=f"check {_FOR_ALL[reply.status_code]}")
                if reply.status_code == 400 and (unsupported := _UNSUPPORTED.search(why)):
                    self._leave_out(unsupported[1].lower())
                    continue
                if reply.status_code not in LATER:
                    return Answer("", "refused", 0, 0, why)
                if reply.status_code == 429 or "retry-after" in reply.headers:
                    pause = max(pause, retry_after(reply))
                    self._gate.shut(min(pause, _LONGEST_WAIT))
            except (httpx.TransportError, httpx.DecodingError, ValueError, KeyError, TypeError, IndexError) as error:
                why = f"{type(error).__name__} {error}".strip()
            if stop.wait(min(pause, _LONGEST_WAIT)):
                raise _Stopped
        raise NoAnswer(f"no answer in {self._tries} tries, at last {why}", where=self._url, mend="try again later")

    def _leave_out(self, name: str) -> None:
        with self._lock:
            if name not in self._left_out:
                self._left_out = self._left_out | {name}
                self._announce(f"{self._model} takes no {name}: it is asked without")


@final
class GeneratorTeacher:
    """Any generator of ours: a local model, llama.cpp, the shipped fake.

    seed: of what is drawn at a temperature; heard: called at each piece of an answer, a token mostly
    """

    def __init__(
        self,
        generator: Generator,
        seed: int = 0,
        deadline: Deadline | None = None,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self._generator, self._seed, self._heard = generator, seed, heard
        self._deadline = deadline or Deadline()

    def __call__(self, asks: Sequence[Ask], hear: Hear) -> None:
        """Ask all; each is heard when it is done. Raises NoAnswer where the engine failed, with its reason.

        After the deadline answers that are not whole are given up.
        """
        places, requests = [], []
        for place, ask in enumerate(asks):
            try:
                request = Request(self._generator.prepare(_prompt(ask)), self._sampling(ask))
                self._generator.check(request)
            except UserError as error:  # longer than the context
                hear(place, Answer("", "refused", 0, 0, str(error)))
                continue
            places.append(place)
            requests.append(request)
        try:
            for number, found in self._generator.as_completed(requests, self._piece):
                if found.finish not in ("stop", "length"):
                    raise NoAnswer(f"no answer: {found.finish}")
                hear(places[number], Answer(found.text, found.finish, found.prompt_tokens, found.completion_tokens))
        except RuntimeError as error:
            raise NoAnswer(f"no answer: {error}") from error

    def _piece(self) -> None:
        self._deadline.check()
        self._heard()

    def _sampling(self, ask: Ask) -> Sampling:
        return Sampling(
            max_new_tokens=ask.max_new_tokens,
            temperature=ask.temperature,
            top_p=ask.top_p,
            presence_penalty=ask.presence_penalty,
            stop=ask.stop,
            seed=self._seed + ask.number,
        )


class _Stopped(Exception):
    """Another question's fault, or a signal, ended the asking."""


class _Gate:
    """Where all threads wait: for their turn of so many a minute, and while an endpoint has had too much."""

    def __init__(self, per_minute: float | None) -> None:
        self._between = 60.0 / per_minute if per_minute else 0.0
        self._next = self._shut = 0.0
        self._lock = threading.Lock()

    def shut(self, seconds: float) -> None:
        """Let nobody through for so long."""
        with self._lock:
            self._shut = max(self._shut, time.monotonic() + seconds)

    def enter(self, stop: threading.Event) -> bool:
        """Wait for one's turn; False where `stop` was set first."""
        with self._lock:
            turn = max(time.monotonic(), self._next)
            self._next = turn + self._between
        while True:
            with self._lock:
                left = max(turn, self._shut) - time.monotonic()
            if left <= 0:
                return not stop.is_set()
            if stop.wait(left):
                return False


def _prompt(ask: Ask) -> Conversation | str:
    (role, words), *more = ask.messages
    if role == "text" and not more:
        return words
    return Conversation(tuple(Message(role, words) for role, words in ask.messages), Origin("ask", 1))  # type: ignore[arg-type]


def _body(ask: Ask, model: str, left_out: Collection[str]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": role, "content": words} for role, words in ask.messages],
        "max_tokens": ask.max_new_tokens,
        "temperature": ask.temperature,
        "top_p": ask.top_p,
    }
    if ask.presence_penalty:
        body["presence_penalty"] = ask.presence_penalty
    if ask.stop:
        body["stop"] = list(ask.stop)
    if "max_tokens" in left_out:
        body["max_completion_tokens"] = ask.max_new_tokens
    return {name: value for name, value in body.items() if name not in left_out}


def _answer(reply: dict[str, Any]) -> Answer:
    """Raises KeyError, TypeError, IndexError or ValueError for half an answer."""
    if "usage" not in reply:
        raise ValueError("an answer that does not say its tokens (usage)")
    choice, usage = reply["choices"][0], reply["usage"]
    tokens = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    match choice["finish_reason"]:
        case "stop" | "length" as ended:
            words = choice["message"]["content"]
            if not isinstance(words, str):
                raise TypeError("an answer without text")
            return Answer(words, ended, *tokens)
        case "content_filter":
            return Answer("", "refused", *tokens, "the endpoint's content filter")
    raise ValueError(f"an answer that ended by {choice['finish_reason']!r}")
