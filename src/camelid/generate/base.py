"""The generator port: everything that answers prompts looks like this, whatever computes it and wherever it runs.

A prompt is prepared first (rendered by the model's own template and counted), then submitted; its answer comes back in
pieces of whole characters. `generate` and `stream` are the two ways to wait for that; a server submits and listens.
Oracles: streamed = whole, batched = single (tests/generate).
"""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np

from camelid.data.pack import Example
from camelid.data.records import Conversation
from camelid.errors import UserError

Finish = Literal["", "stop", "length", "cancelled", "error"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. temperature 0 is greedy.

    Order: penalties, then temperature, top_k, top_p (of what top_k left) and min_p (share of the likeliest token's
    probability). Raises ValueError for what cannot be.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0  # nucleus (Holtzman et al. 2020)
    top_k: int = 0  # 0: no limit
    min_p: float = 0.0  # Nguyen et al. 2024; 0: no limit
    repetition_penalty: float = 1.0  # Keskar et al. 2019, over prompt and answer; 1: none
    presence_penalty: float = 0.0  # OpenAI's: once for every token that the answer has
    frequency_penalty: float = 0.0  # OpenAI's: for each time that the answer has the token
    seed: int = 0
    stop: tuple[str, ...] = ()  # the answer ends before the first of these; they are never shown
    logprobs: int | None = None  # None: no log-probabilities; k: the chosen token's and those of the k likeliest
    schema: str | None = None  # JSON schema that the answer obeys; "{}" is any JSON

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ValueError("max_new_tokens >= 1, temperature >= 0, 0 < top_p <= 1 and top_k >= 0 are needed")
        if not 0 <= self.min_p <= 1:
            raise ValueError("0 <= min_p <= 1 is needed")
        if self.repetition_penalty <= 0:
            raise ValueError("repetition_penalty must be positive")
        if not all(self.stop):
            raise ValueError("an empty stop string is not needed: it would end every answer before it begins")
        if self.logprobs is not None and self.logprobs < 0:
            raise ValueError("logprobs >= 0 is needed")


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A chosen token's text and bytes and its log-probability in nats before temperature and cuts, after penalties,
    with those of the likeliest tokens, the best first."""

    text: str
    utf8: bytes
    logprob: float
    best: tuple[tuple[str, bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `finish` is 'stop' (the model ended its turn, or a stop string came) or 'length'.

    completion_tokens counts the answer's tokens, without the token that ended it; ids are those tokens, where the
    engine knows them.
    """

    text: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    scores: tuple[TokenScore, ...] = ()
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A prompt, ready to be answered.

    ids: (T,) int32, None where a remote machine renders and counts; source: the conversation or text that it is of
    """

    ids: np.ndarray | None
    source: Conversation | str

    def __len__(self) -> int:
        return 0 if self.ids is None else len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One answer that is wanted.

    model: one of the generator's `models`, "" for its first; answer: the n-th answer to the same prompt, which has
    random numbers of its own beside `sampling.seed`
    """

    prompt: Prompt
    sampling: Sampling
    model: str = ""
    answer: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """A step of an answer: new text (whole characters, perhaps none yet), and how it ended once it has.

    tokens: of the answer so far; prompt_tokens: of its prompt; ids: the tokens of this step, where the engine knows
    them; error: what went wrong where `finish` is 'error'
    """

    text: str
    tokens: int
    prompt_tokens: int
    scores: tuple[TokenScore, ...] = ()
    finish: Finish = ""
    error: str = ""
    ids: tuple[int, ...] = ()


Sink = Callable[[Piece], None]  # called from the generator's own thread; must return at once


class Ticket(ABC):
    """A submitted request."""

    @abstractmethod
    def cancel(self) -> None:
        """End it and free its place; its sink hears `finish` 'cancelled' unless it had ended already. Never blocks."""


class Generator(ABC):
    """What answers prompts; safe to use from several threads.

    models: names that can be asked for, the first by default; context: most tokens of a prompt and its answer, 0 where
    that is not known; slots: answers that are computed at the same time
    """

    models: tuple[str, ...]
    context: int
    slots: int

    @abstractmethod
    def prepare(self, prompt: Conversation | str) -> Prompt:
        """Render a conversation up to where its answer begins, or encode running text. Raises UserError."""

    @abstractmethod
    def submit(self, request: Request, sink: Sink) -> Ticket:
        """Start to answer, now or when a slot is free. Never blocks; every request ends with one Piece with `finish`.

        Raises UserError at once for what cannot be answered: an unknown model, a prompt beyond the context.
        """

    @abstractmethod
    def score(self, examples: Sequence[Example]) -> list[float]:
        """Log-probability in nats of each example's weighted edges: sum of weight * log p."""

    @abstractmethod
    def embed(self, prompts: Sequence[Prompt], model: str = "") -> np.ndarray:
        """(n, D) float32: the mean of the last hidden states of each prompt's tokens."""

    @abstractmethod
    def close(self) -> None:
        """End what is running and free what it holds. May be called twice."""

    def check(self, request: Request) -> None:
        """Refuse, with both counts, what would outgrow the context. Raises UserError."""
        if request.model and request.model not in self.models:
            raise UserError(f"there is no model {request.model!r}", mend=f"ask for one of {', '.join(self.models)}")
        used, wanted = len(request.prompt), request.sampling.max_new_tokens
        if self.context and used + wanted > self.context:
            raise UserError(
                f"the prompt has {used} tokens and {wanted} may be answered, but the context is {self.context}",
                mend="shorten the prompt, or allow fewer new tokens",
            )

    @final
    def generate(self, prompts: Sequence[Conversation | str], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order."""
        return self.generate_each([Request(self.prepare(prompt), sampling) for prompt in prompts])

    def generate_each(self, requests: Sequence[Request]) -> list[Completion]:
        """As `generate`, with settings of its own for each. Raises RuntimeError where the engine failed."""
        done = dict(self.as_completed(requests))
        return [done[place] for place in range(len(requests))]

    def as_completed(
        self, requests: Sequence[Request], check: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[int, Completion]]:
        """(place, completion) of each as it is done. Raises RuntimeError where the engine failed.

        check: called at every step of an answer; what it raises ends all of them
        """
        events: queue.Queue[tuple[int, Piece]] = queue.Queue()
        tickets = [
            self.submit(request, lambda piece, i=i: events.put((i, piece))) for i, request in enumerate(requests)
        ]
        answers = [Answer() for _ in requests]
        waiting = len(requests)
        try:
            while waiting:
                i, piece = events.get()
                check()
                answers[i].add(piece)
                if piece.finish:
                    waiting -= 1
                    yield i, answers[i].completion()
        finally:
            for ticket in tickets:
                ticket.cancel()

    def stream(self, prompt: Conversation | str, sampling: Sampling, model: str = "") -> Iterator[str]:
        """The answer in pieces, whole characters only; joined they equal `generate`'s text."""
        events: queue.Queue[Piece] = queue.Queue()
        ticket = self.submit(Request(self.prepare(prompt), sampling, model), events.put)
        try:
            while True:
                piece = events.get()
                if piece.text:
                    yield piece.text
                if piece.finish == "error":
                    raise RuntimeError(piece.error)
                if piece.finish:
                    return
        finally:
            ticket.cancel()


@dataclass
class Answer:
    """The pieces of one answer, put together."""

    text: list[str] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    last: Piece | None = None

    def add(self, piece: Piece) -> None:
        self.text.append(piece.text)
        self.scores += piece.scores
        self.ids += piece.ids
        self.last = piece

    def completion(self) -> Completion:
        assert self.last is not None
        if self.last.finish == "error":
            raise RuntimeError(self.last.error)
        return Completion(
            "".join(self.text),
            self.last.finish,
            self.last.prompt_tokens,
            self.last.tokens,
            tuple(self.scores),
            tuple(self.ids),
        )
