"""An OpenAI-compatible endpoint on loopback that does what a script says, well or badly."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def whole(text: str, prompt_tokens: int = 10) -> tuple[int, Any, dict[str, str]]:
    """A whole answer, as a script returns it."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 20}}, {}


class Scripted(BaseHTTPRequestHandler):
    """`script(words, how often this was asked)` gives (status, body as bytes or JSON, headers), or None: cut off."""

    script: Callable[[str, int], tuple[int, Any, dict[str, str]] | None]
    asked: Counter[str]
    times: list[float]
    most: int
    now: int
    lock: threading.Lock

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        words = body["messages"][-1]["content"]
        with self.lock:
            self.asked[words] += 1
            count = self.asked[words]
            self.times.append(time.monotonic())
            type(self).now += 1
            type(self).most = max(self.most, self.now)
        try:
            found = type(self).script(words, count)
        finally:  # before it is written: who has read it may ask again at once
            with self.lock:
                type(self).now -= 1
        try:
            if found is None:
                self.connection.close()
                return
            status, value, headers = found
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"content-length": str(len(data)), **headers}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # the client has hung up

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def scripted_endpoint(script: Callable[[str, int], Any]) -> Iterator[tuple[str, type[Scripted]]]:
    values = {"script": staticmethod(script), "asked": Counter(), "times": [], "most": 0, "now": 0}
    handler = type("Handler", (Scripted,), values | {"lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
