"""Streaming clients that come and go: does the server lose a slot, a task or a descriptor?

    .venv/bin/python benchmarks/serve_clients.py --clients 200 --seconds 300

Starts `camelid serve echo` and, in rounds of about ten seconds, keeps `--clients` streams open at a time; half of them
hang up at a random moment (some with a reset, some before the first piece, some while they wait for a slot). At the end
of a round all hang up, and the server's own /metrics must fall back to nothing within a second. Then ten times more
clients than another server has places: how long a refusal takes, from the first byte sent to the last one read.
Prints one JSON object; exit code 1 where something leaked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

KEY = "benchmark-key-0123"
ROUND = 10.0  # seconds
TEXT = "骆驼 camel 🐫 " * 6  # an echo of it takes 1.3 seconds


@dataclass
class Tally:
    """What the clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    whole: int = 0
    hung_up: int = 0
    broken: int = 0  # streams that were to be whole, and were not
    freed: list[float] = field(default_factory=list)  # seconds until nothing was taken, once all had hung up
    leaks: list[str] = field(default_factory=list)


def request(path: str, body: Any = None) -> bytes:
    """Bytes of a request whose connection closes behind it."""
    data = b"" if body is None else json.dumps(body).encode()
    head = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {KEY}"]
    head += ["Connection: close", "Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def chat(stream: bool) -> dict[str, Any]:
    """The body of a request."""
    return {"messages": [{"role": "user", "content": TEXT}], "stream": stream}


async def client(port: int, patience: float | None, tally: Tally) -> None:
    """One stream; hangs up after `patience` seconds, or reads it to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        async with asyncio.timeout(patience):
            writer.write(request("/v1/chat/completions", chat(stream=True)))
            while part := await reader.read(4096):
                got = got[-200:] + part if b"\r\n" in got else got + part
                if not tally.statuses.total() or b"HTTP/1.1 " in part:
                    tally.statuses[int(part.split(b" ", 2)[1])] += 1
        if got.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
            tally.whole += 1
        else:
            tally.broken += 1
    except TimeoutError:
        tally.hung_up += 1
        if random.random() < 0.5:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        writer.close()


async def metrics(port: int) -> dict[str, float]:
    """The server's gauges."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/metrics"))
    text = (await reader.read()).decode()
    writer.close()
    return {name: float(value) for name, value in re.findall(r"^(\w+) ([\d.e+]+)$", text, re.MULTILINE)}


async def churn(port: int, clients: int, seconds: float, tally: Tally) -> None:
    """Keep so many streams open for so long; each that ends is followed by another."""
    end = time.monotonic() + seconds

    async def one_after_another() -> None:
        while (left := end - time.monotonic()) > 0.3:  # later ones would only be a storm of connections at the end
            patience = random.uniform(0, 2) if random.random() < 0.5 else None
            await client(port, min(left, patience) if patience is not None else left, tally)

    await asyncio.gather(*(one_after_another() for _ in range(clients)))


async def rounds(port: int, clients: int, seconds: float, tally: Tally) -> dict[str, Any]:
    """Churn in rounds, and look after each at what is left."""
    await churn(port, min(clients, 20), 1.0, tally)  # warm: thread pools and caches are there
    await asyncio.sleep(0.5)
    before = await metrics(port)
    end, memory = time.monotonic() + seconds, list[int]()
    while time.monotonic() < end:
        await churn(port, clients, min(ROUND, end - time.monotonic()), tally)
        began = time.monotonic()
        while (now := await metrics(port))["camelid_places_taken"] and time.monotonic() - began < 10:
            await asyncio.sleep(0.02)
        tally.freed.append(time.monotonic() - began)
        memory.append(round(now["process_resident_memory_bytes"] / 1e6))
    await asyncio.sleep(0.5)
    now = await metrics(port)
    for name in ("camelid_places_taken", "camelid_tasks", "process_open_fds"):
        if now[name] > before[name]:
            tally.leaks.append(f"{name}: {before[name]:g} -> {now[name]:g}")
    return {"rss_mb_after_each_round": memory}


async def overload(port: int, clients: int, seconds: float) -> dict[str, Any]:
    """So many clients ask again and again, each at once after its answer or refusal; seconds of each refusal."""
    end = time.monotonic() + seconds
    refused: list[float] = []
    statuses: Counter[int] = Counter()
    hints = 0

    async def one() -> None:
        nonlocal hints
        await asyncio.sleep(random.uniform(0, 0.5))
        while time.monotonic() < end:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            began = time.monotonic()
            writer.write(request("/v1/chat/completions", chat(stream=False)))
            answer = await reader.read()
            status = int(answer.split(b" ", 2)[1])
            statuses[status] += 1
            if status == 429:
                refused.append(time.monotonic() - began)
                hints += b"retry-after: " in answer
            writer.close()
            await asyncio.sleep(random.uniform(0.2, 0.6))  # sooner than Retry-After asks for

    await asyncio.gather(*(one() for _ in range(clients)))
    refused.sort()
    return {
        "statuses": dict(statuses),
        "refusals_with_retry_after": hints,
        "refusal_ms_p50_p99_max": [round(1000 * refused[int(q * (len(refused) - 1))], 1) for q in (0.5, 0.99, 1.0)],
    }


@contextmanager
def server(*words: str) -> Iterator[int]:
    """The port of `camelid serve` with these words, in a process of its own; it must end well."""
    command = [sys.executable, "-m", "camelid", "serve", *words, "--port", "0", "--api-key", KEY]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        found = next((found for line in process.stderr if (found := re.search(r":(\d+)/v1", line))), None)
        if found is None:
            raise SystemExit("the server did not start")
        yield int(found[1])
    finally:
        process.terminate()
        code = process.wait(60)
    if code:
        raise SystemExit(f"the server ended with exit code {code}")


def echo(slots: int, queue: int) -> tuple[str, ...]:
    """The words of an echo's server."""
    return "echo", "--slots", str(slots), "--max-queue", str(queue)


def main() -> int:
    """Run, print, and tell by the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--freed-within", type=float, default=1.0, help="seconds; more is a leak")
    parser.add_argument("--overload-seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    tally = Tally()
    with server(*echo(args.slots, 2 * args.clients)) as port:
        memory = asyncio.run(rounds(port, args.clients, args.seconds, tally))
    with server(*echo(4, 4)) as port:
        refusals = asyncio.run(overload(port, 80, args.overload_seconds))
    slow = max(tally.freed)
    result = {
        "clients": args.clients,
        "seconds": args.seconds,
        "streams": {"whole": tally.whole, "hung_up": tally.hung_up, "broken": tally.broken},
        "statuses": dict(tally.statuses),
        "freed_s_max": round(slow, 3),
        "leaks": tally.leaks,
        **memory,
        "overload": {"clients": 80, "places": 8, **refusals},
    }
    print(json.dumps(result))
    bad = tally.leaks or tally.broken or slow > args.freed_within or set(tally.statuses) - {200}
    return 1 if bad or set(refusals["statuses"]) - {200, 429} else 0


if __name__ == "__main__":
    sys.exit(main())
