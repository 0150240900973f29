"""Any OpenAI-compatible endpoint as a generator: vLLM, Ollama, llama-server, DeepSeek, OpenAI, `camelid serve`.

The endpoint renders and counts. What a request asks for beyond OpenAI's own fields (top_k, min_p, repetition_penalty)
is sent only where it is set; who does not know it answers with an error, which is passed on.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, final

import httpx
import numpy as np

from camelid.data.pack import Example
from camelid.data.records import Conversation
from camelid.errors import UserError
from camelid.generate.base import Finish, Generator, Piece, Prompt, Request, Sampling, Sink, Ticket, TokenScore
from camelid.generate.endpoint import LATER, client_of, reason_of, retry_after

TRIES = 4  # of a request that was refused for now, before anything of its answer came
_LONGEST_WAIT = 30.0  # seconds


@final
class _RemoteTicket(Ticket):
    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


@final
class RemoteGenerator(Generator):
    """An endpoint's model.

    url: up to and including /v1; slots: requests at a time; timeout: seconds without a byte; wait: seconds before the
    second try, doubled for each further one unless the endpoint says Retry-After
    """

    def __init__(
        self, url: str, model: str, key: str | None, *, slots: int = 8, timeout: float = 120.0, wait: float = 1.0
    ) -> None:
        self.models, self.context, self.slots = (model,), 0, slots
        self._client = client_of(url, key, timeout)
        self._url, self._wait = url, wait
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="remote")
        self._closed = threading.Event()

    def prepare(self, prompt: Conversation | str) -> Prompt:
        """As it is: the endpoint renders."""
        return Prompt(None, prompt)

    def submit(self, request: Request, sink: Sink) -> Ticket:
        """Ask when one of the `slots` threads is free."""
        self.check(request)
        ticket = _RemoteTicket()
        self._pool.submit(self._answer, request, sink, ticket)
        return ticket

    def score(self, examples: Sequence[Example]) -> list[float]:
        """Raises UserError: an endpoint has no way to score ids."""
        raise UserError("an endpoint cannot score paths of token ids", where=self._url, mend="score with a local model")

    def embed(self, prompts: Sequence[Prompt], model: str = "") -> np.ndarray:
        """The endpoint's own embeddings, whatever they are of."""
        texts = [_text(prompt) for prompt in prompts]
        reply = self._client.post("embeddings", json={"model": model or self.models[0], "input": texts})
        self._require(reply)
        rows = sorted(reply.json()["data"], key=lambda row: row["index"])
        return np.array([row["embedding"] for row in rows], np.float32)

    def close(self) -> None:
        """Cancel what runs; wait for its threads."""
        self._closed.set()
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def _answer(self, request: Request, sink: Sink, ticket: _RemoteTicket) -> None:
        tally = _Tally()
        try:
            for chunk in self._chunks(request, ticket):
                piece = tally.take(chunk)
                if piece is not None:
                    sink(piece)
            sink(tally.last("cancelled" if ticket.cancelled.is_set() or self._closed.is_set() else ""))
        except (httpx.HTTPError, UserError, ValueError, KeyError, TypeError) as error:
            # whatever the endpoint or the way to it did, the caller hears of it
            sink(tally.fault(f"{self._url}: {error}" if str(error) else f"{self._url}: {type(error).__name__}"))

    def _chunks(self, request: Request, ticket: _RemoteTicket) -> Iterator[dict[str, Any]]:
        """The events of the answer's stream, after as many tries as it takes for it to begin."""
        path, body = _body(request, self.models[0])
        for attempt in range(TRIES):
            with self._client.stream("POST", path, json=body) as reply:
                if reply.status_code in LATER and attempt + 1 < TRIES:
                    wait = retry_after(reply) or self._wait * 2**attempt
                else:
                    if reply.status_code != 200:
                        reply.read()
                    self._require(reply)
                    for line in reply.iter_lines():
                        if ticket.cancelled.is_set() or self._closed.is_set() or line == "data: [DONE]":
                            return
                        if line.startswith("data: "):
                            yield json.loads(line.removeprefix("data: "))
                    return
            end = time.monotonic() + min(wait, _LONGEST_WAIT)
            while time.monotonic() < end and not ticket.cancelled.is_set() and not self._closed.is_set():
                time.sleep(0.02)

    def _require(self, reply: httpx.Response) -> None:
        if reply.status_code != 200:
            raise UserError(f"the endpoint answered {reply.status_code}: {reason_of(reply)}", where=self._url)


class _Tally:
    """What has come of an answer."""

    def __init__(self) -> None:
        self.tokens, self.prompt_tokens = 0, 0
        self.finish: Finish = ""

    def take(self, chunk: dict[str, Any]) -> Piece | None:
        """The piece of an event; the one that ends the answer waits for the usage that may follow it."""
        if chunk.get("error"):
            raise ValueError(str(chunk["error"].get("message", chunk["error"])))
        usage = chunk.get("usage")
        if usage:
            self.tokens, self.prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]
        if not chunk.get("choices"):
            return None
        choice = chunk["choices"][0]
        if choice.get("finish_reason"):
            self.finish = "length" if choice["finish_reason"] == "length" else "stop"
        text = choice["text"] if "text" in choice else choice["delta"].get("content")
        scores = tuple(_score(item) for item in ((choice.get("logprobs") or {}).get("content") or ()))
        if not text and not scores:
            return None
        self.tokens += len(scores) or 1
        return Piece(text or "", self.tokens, self.prompt_tokens, scores)

    def last(self, finish: Finish) -> Piece:
        """The end. A stream that stopped without a reason was cut."""
        if not finish and not self.finish:
            return self.fault("the stream ended in the middle of the answer")
        return Piece("", self.tokens, self.prompt_tokens, finish=finish or self.finish)

    def fault(self, error: str) -> Piece:
        return Piece("", self.tokens, self.prompt_tokens, finish="error", error=error)


def _body(request: Request, model: str) -> tuple[str, dict[str, Any]]:
    """(path, body) of a request."""
    s, source = request.sampling, request.prompt.source
    body: dict[str, Any] = {
        "model": request.model or model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": s.max_new_tokens,
        "temperature": s.temperature,
        "top_p": s.top_p,
        "seed": s.seed + request.answer,
        "presence_penalty": s.presence_penalty,
        "frequency_penalty": s.frequency_penalty,
    }
    body |= {name: value for name, value in _beyond_openai(s).items() if value is not None}
    if s.stop:
        body["stop"] = list(s.stop)
    if s.schema is not None:
        schema = {"name": "answer", "schema": json.loads(s.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if isinstance(source, str):
        if s.logprobs is not None:
            body["logprobs"] = s.logprobs
        return "completions", {**body, "prompt": source}
    if s.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": s.logprobs}
    messages = []
    for message in source.messages:
        entry: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            entry["tool_calls"] = list(message.tool_calls)
        if message.name is not None:
            entry["name"] = message.name
        messages.append(entry)
    if source.tools:
        body["tools"] = list(source.tools)
    return "chat/completions", {**body, "messages": messages}


def _beyond_openai(s: Sampling) -> dict[str, float | None]:
    return {
        "top_k": s.top_k or None,
        "min_p": s.min_p or None,
        "repetition_penalty": s.repetition_penalty if s.repetition_penalty != 1 else None,
    }


def _score(item: dict[str, Any]) -> TokenScore:
    best = tuple((b["token"], _utf8(b), float(b["logprob"])) for b in item.get("top_logprobs") or ())
    return TokenScore(item["token"], _utf8(item), float(item["logprob"]), best)


def _utf8(item: dict[str, Any]) -> bytes:
    given = item.get("bytes")
    return item["token"].encode() if given is None else bytes(given)


def _text(prompt: Prompt) -> str:
    source = prompt.source
    return source if isinstance(source, str) else "\n".join(message.content for message in source.messages)
