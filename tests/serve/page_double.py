"""A stand-in for the server, for tests and pictures of the page: its routes, its headers, scripted answers.

    with Double() as server:
        browser.get(server.url)
        ...
        server.votes

Which answer comes is told by a word in the last message: `slow`, `busy`, `full`, `broken`, `empty`, `payload 17`, or a
key of `answers.json` (there a pair of texts is the tuned model's answer and the base's). Everything else is answered in a sentence that names the model.
"""

from __future__ import annotations

import json
import mimetypes
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PAGE = REPOSITORY / "src" / "camelid" / "serve" / "page"
CASES = REPOSITORY / "tests" / "cases" / "page"
KEY = "key-of-a-test"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MODELS = [
    {"id": "camelid-tuned", "kind": "adapter", "template": "chatml"},
    {"id": "smollm2-base", "kind": "base", "template": "chatml"},
]


class Double:
    """Answers on a port of its own; what it was asked is in `asks`, `votes` and `paths`."""

    def __init__(self, *, models: list[dict[str, Any]] | None = None, delay: float = 0.0) -> None:
        self.models = MODELS if models is None else models
        self.delay = delay  # seconds between two pieces of an answer
        self.asks: list[dict[str, Any]] = []
        self.votes: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.hung_up = threading.Event()  # a client left before its answer was complete
        self.refuse_votes = False
        self.times_busy = 0
        self.answers: dict[str, str | list[str]] = json.loads((CASES / "answers.json").read_text("utf-8"))
        self.payloads: list[str] = json.loads((CASES / "payloads.json").read_text("utf-8"))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True

    def __enter__(self) -> Double:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """As `camelid serve` prints it."""
        return f"{self.origin}/#key={KEY}"

    def forget(self) -> None:
        """What was asked so far."""
        self.asks.clear()
        self.votes.clear()
        self.paths.clear()
        self.hung_up.clear()
        self.refuse_votes, self.times_busy, self.delay = False, 0, 0.0

    def answer(self, ask: dict[str, Any]) -> str:
        said = ask["messages"][-1]["content"]
        if found := re.search(r"payload (\d+)", said):
            return self.payloads[int(found[1])]
        for name, text in self.answers.items():
            if name in said:
                return text if isinstance(text, str) else text[ask["model"].endswith("base")]
        return f"{ask['model']} heard: {said}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    _SAFE: ClassVar = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}

    def __init__(self, double: Double, *arguments: Any) -> None:
        self.double = double
        super().__init__(*arguments)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: pytest's output is not for that."""

    def do_GET(self) -> None:
        self.double.paths.append(self.path)
        if self.path == "/" or self.path.startswith("/page/"):
            self._page("index.html" if self.path == "/" else self.path.removeprefix("/page/"))
        elif self._has_key() and self.path == "/v1/camelid/info":
            facts = {"context": 8192, "slots": 4, "engine": "local", "votes_file": "votes.jsonl", "version": "0.1.0"}
            self._json(200, {"models": self.double.models, **facts})

    def do_POST(self) -> None:
        self.double.paths.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._has_key():
            return
        if self.path == "/v1/camelid/votes":
            self._vote(body)
        elif self.path == "/v1/chat/completions":
            self._chat(body)
        else:
            self._fault(404, "there is no such route", "not_found")

    def _has_key(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {KEY}":
            return True
        self._fault(401, "an API key is needed", "invalid_api_key")
        return False

    def _page(self, name: str) -> None:
        path = PAGE / name
        if "/" in name or not path.is_file():
            self._fault(404, "there is no such page", "not_found")
            return
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        self._send(200, path.read_bytes(), kind, {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})

    def _vote(self, body: dict[str, Any]) -> None:
        if self.double.refuse_votes:
            self._fault(503, "the vote was not saved: the disk is full", "not_saved")
            return
        self.double.votes.append(body)
        self._json(200, {"saved": True, "file": "votes.jsonl"})

    def _chat(self, ask: dict[str, Any]) -> None:
        self.double.asks.append(ask)
        said = ask["messages"][-1]["content"]
        if "busy" in said and self.double.times_busy < 1:
            self.double.times_busy += 1
            self._fault(429, "4 answers run and 4 wait; try again in a moment", "rate_limit_exceeded", "1")
        elif "full" in said:
            self._fault(400, "the context holds 8192 tokens, and 9000 are asked for", "context_length_exceeded")
        else:
            self._stream(ask, said)

    def _stream(self, ask: dict[str, Any], said: str) -> None:
        text = "" if "empty" in said else self.double.answer(ask)
        delay = self.double.delay
        if "slow" in said:
            text, delay = " ".join(f"word{i}" for i in range(400)), 0.03
        pieces = re.findall(r"(?s).{1,6}", text)
        if "broken" in said:
            pieces = pieces[:2]
        self.send_response(200)
        for name, value in {**self._SAFE, "Content-Type": "text/event-stream", "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for event in _events(ask["model"], pieces, finished="broken" not in said):
                self.wfile.write(event)
                self.wfile.flush()
                if delay:
                    time.sleep(delay)
        except OSError:
            self.double.hung_up.set()
        self.close_connection = True

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), "application/json", headers or {})

    def _fault(self, status: int, message: str, code: str, retry: str = "") -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self._json(status, {"error": error}, {"Retry-After": retry} if retry else None)

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**self._SAFE, **headers, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _events(model: str, pieces: list[str], *, finished: bool) -> Iterator[bytes]:
    def event(choices: list[Any], usage: dict[str, int] | None = None) -> bytes:
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
        return f"data: {json.dumps({**chunk, 'choices': choices, 'usage': usage})}\n\n".encode()

    def choice(delta: dict[str, str], finish: str | None = None) -> list[Any]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    yield event(choice({"role": "assistant", "content": ""}))
    for piece in pieces:
        yield event(choice({"content": piece}))
    if finished:
        yield event(choice({}, "stop"))
        yield event([], {"prompt_tokens": 40, "completion_tokens": len(pieces), "total_tokens": 40 + len(pieces)})
        yield b"data: [DONE]\n\n"
