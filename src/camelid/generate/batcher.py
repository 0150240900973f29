"""Continuous batching: answers join and leave between two steps, so a short one never waits for a long one.

A step feeds every running answer its newest token, reads a piece of the prompts that are new, and chooses the next
tokens. Answers go to their sinks piece by piece. (Iteration-level scheduling: Yu et al. 2022, Orca.)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from camelid.data.vocabulary import Vocabulary
from camelid.generate.base import Finish, Piece, Request, Sink, Ticket, TokenScore
from camelid.generate.constrain import Constraint, Grammars
from camelid.generate.decoder import Decoder
from camelid.generate.sampling import Chooser, choose
from camelid.generate.text import AnswerText

T = TypeVar("T")
Q = TypeVar("Q")


def _closed() -> RuntimeError:
    return RuntimeError("the generator is closed")


@final
class _Cancel(Ticket):
    def __init__(self, wake: Callable[[], None]) -> None:
        self.wanted = threading.Event()
        self._wake = wake

    def cancel(self) -> None:
        self.wanted.set()
        self._wake()


@dataclass(frozen=True, slots=True)
class _Step:
    """What a step adds to an answer."""

    text: str = ""
    ids: tuple[int, ...] = ()
    scores: tuple[TokenScore, ...] = ()
    error: str = ""


@dataclass(eq=False)
class _Answer:
    """An answer on its way. slot is None while it waits, newest (the token to feed next) while its prompt is read."""

    request: Request
    sink: Sink
    cancel: _Cancel
    adapter: str
    chooser: Chooser
    text: AnswerText
    constraint: Constraint | None
    slot: int | None = None
    newest: int | None = None
    count: int = 0
    finish: Finish = field(default="")

    def tell(self, step: _Step) -> None:
        text = step.text + (self.text.rest() if self.finish else "")
        self.sink(Piece(text, self.count, len(self.request.prompt), step.scores, self.finish, step.error, step.ids))


@final
class Batcher:
    """The answers of one decoder. `submit` may be called from any thread; `step` from one thread at a time.

    stop_ids: tokens that end an answer; adapter names are the decoder's
    """

    def __init__(self, decoder: Decoder, vocabulary: Vocabulary, stop_ids: Sequence[int]) -> None:
        self._decoder, self._vocabulary, self._stop_ids = decoder, vocabulary, tuple(stop_ids)
        self._waiting: deque[_Answer] = deque()
        self._jobs: deque[tuple[Callable[[Decoder], Any], Future[Any]]] = deque()
        self._running: dict[int, _Answer] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._made: Grammars | None = None

    @property
    def load(self) -> tuple[int, int]:
        """(answers that run, answers that wait)."""
        return len(self._running), len(self._waiting)

    def submit(self, request: Request, sink: Sink, adapter: str) -> Ticket:
        """Queue a request, which the engine has checked. Raises UserError for a schema that cannot be kept to."""
        ids, sampling = request.prompt.ids, request.sampling
        assert ids is not None
        constraint = None if sampling.schema is None else self._grammars.schema(sampling.schema)
        answer = _Answer(
            request,
            sink,
            _Cancel(self._wake),
            adapter,
            Chooser(sampling, ids, request.answer),
            AnswerText(self._vocabulary, sampling.stop),
            constraint,
        )
        self._add(self._waiting, answer)
        return answer.cancel

    def call(self, work: Callable[[Decoder], T]) -> T:
        """What `work` gives, done between two steps by the thread that serves. Raises what it raises."""
        result: Future[T] = Future()
        self._add(self._jobs, (work, result))
        return result.result()

    def serve(self) -> None:
        """Work until `close`; sleeps while there is nothing to do."""
        while True:
            with self._changed:
                while not (self._closed or self._waiting or self._running or self._jobs):
                    self._changed.wait()
                if self._closed:
                    break
                job = self._jobs.popleft() if self._jobs else None
            if job is not None:
                self._do(*job)
            self.step()
        self._end_all("cancelled", "")
        while self._jobs:
            self._jobs.popleft()[1].set_exception(_closed())

    def _do(self, work: Callable[[Decoder], Any], result: Future[Any]) -> None:
        try:
            result.set_result(work(self._decoder))
        except Exception as error:  # whatever it is, it is the caller's, and answers go on
            result.set_exception(error)

    def _add(self, queue: deque[Q], item: Q) -> None:
        with self._changed:
            if self._closed:
                raise _closed()
            queue.append(item)
            self._changed.notify_all()

    def close(self) -> None:
        """Make `serve` end; answers that run or wait are cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def step(self) -> bool:
        """One step; False if there was nothing to do. A fault of the decoder ends every running answer."""
        self._drop_cancelled()
        self._admit()
        if not self._running:
            return False
        tokens = {slot: answer.newest for slot, answer in self._running.items() if answer.newest is not None}
        try:
            slots, logits = self._decoder.advance(tokens)
        except Exception as error:  # whatever it is, the callers must hear of it, and later answers may succeed
            self._end_all("error", f"{type(error).__name__}: {error}")
            return True
        self._choose([self._running[slot] for slot in slots], logits)
        return True

    @torch.inference_mode()
    def _choose(self, answers: list[_Answer], logits_nV: Tensor) -> None:
        for answer, row in zip(answers, logits_nV, strict=True):
            answer.chooser.penalise(row)
        scored = [i for i, a in enumerate(answers) if a.request.sampling.logprobs is not None]
        logp = dict(zip(scored, torch.log_softmax(logits_nV[scored], -1), strict=True)) if scored else {}
        for answer, row in zip(answers, logits_nV, strict=True):
            if answer.constraint is not None:
                answer.constraint.restrict(row)
        for i, token in enumerate(choose(logits_nV, [answer.chooser for answer in answers])):
            self._take(answers[i], token, logp.get(i))

    def _take(self, answer: _Answer, token: int, logp_V: Tensor | None) -> None:
        """`token` is the next of an answer: show it, or end the answer."""
        if token in self._stop_ids:
            self._end(answer, "stop", _Step())
            return
        if answer.constraint is not None:
            token = answer.constraint.settle(token, answer.request.sampling.max_new_tokens - answer.count)
        answer.count += 1
        answer.newest = token
        answer.chooser.count(token)
        scores = () if logp_V is None else (self._score(answer, token, logp_V),)
        try:
            if answer.constraint is not None:
                answer.constraint.accept(token)
        except RuntimeError as error:
            self._end(answer, "error", _Step(error=str(error)))
            return
        step = _Step(answer.text.add(token), (token,), scores)
        if answer.text.stopped or (answer.constraint is not None and answer.constraint.done):
            self._end(answer, "stop", step)
        elif answer.count >= answer.request.sampling.max_new_tokens:
            self._end(answer, "length", step)
        else:
            answer.tell(step)

    def _end(self, answer: _Answer, finish: Finish, step: _Step) -> None:
        answer.finish = finish
        if answer.slot is not None:
            del self._running[answer.slot]
            self._decoder.close(answer.slot)
        answer.tell(step)

    def _end_all(self, finish: Finish, error: str) -> None:
        for answer in list(self._running.values()):
            self._end(answer, finish, _Step(error=error))
        with self._changed:
            waiting = list(self._waiting) if self._closed else []
            for answer in waiting:
                self._waiting.remove(answer)
        for answer in waiting:
            self._end(answer, finish, _Step(error=error))

    def _drop_cancelled(self) -> None:
        with self._changed:
            gone = [answer for answer in self._waiting if answer.cancel.wanted.is_set()]
            for answer in gone:
                self._waiting.remove(answer)
        gone += [answer for answer in self._running.values() if answer.cancel.wanted.is_set()]
        for answer in gone:
            self._end(answer, "cancelled", _Step())

    def _admit(self) -> None:
        while len(self._running) < self._decoder.slots:
            with self._changed:
                if not self._waiting:
                    return
                request = self._waiting[0].request
                tokens = len(request.prompt) + request.sampling.max_new_tokens
                if self._running and not self._decoder.has_room(tokens):
                    return  # the first in the queue waits for room, and the others behind it: none is passed over
                answer = self._waiting.popleft()
            assert request.prompt.ids is not None
            answer.slot = self._decoder.open(request.prompt.ids, answer.adapter, tokens)
            self._running[answer.slot] = answer

    def _score(self, answer: _Answer, token: int, logp_V: Tensor) -> TokenScore:
        values, ids = logp_V.topk(answer.request.sampling.logprobs or 0)
        best = tuple((*self._spelt(int(i)), float(v)) for i, v in zip(ids, values, strict=True))
        return TokenScore(*self._spelt(token), float(logp_V[token]), best)

    def _spelt(self, token: int) -> tuple[str, bytes]:
        return self._vocabulary.decode([token]), self._grammars.utf8(token)

    @property
    def _grammars(self) -> Grammars:
        if self._made is None:
            self._made = Grammars(self._vocabulary, self._decoder.rows, self._stop_ids)
        return self._made

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
