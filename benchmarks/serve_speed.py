"""Tokens a second and time to the first token through `camelid serve`, beside the engines called directly.

    python benchmarks/serve_speed.py --gguf smollm2-q8_0.gguf --adapter runs/quickstart
    python benchmarks/serve_speed.py --nano 200                # streams of `nano`: all right, in order, how fast

Each server is a process of its own, on loopback, asked by this one over plain sockets. "direct" is llama-cpp-python's
own `Llama` on the same file, prompts, cores and kernels (what keeps us off AMX keeps it off). Rounds alternate between
what is compared; medians are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from serve_clients import request, server

NEW_TOKENS = 64
# each about 20 tokens with SmolLM2's template and without a system prompt; each begins differently
SUBJECTS = [
    "camel", "river", "poem", "number", "planet", "recipe", "bridge", "garden", "violin", "winter", "engine", "letter",
    "desert", "market", "mirror", "island", "forest", "candle", "harbor", "ladder",
]  # fmt: skip


@dataclass
class Stream:
    """What one client saw; `first` in seconds since it asked."""

    first: float = 0.0
    tokens: int = 0
    text: str = ""
    faults: list[str] = field(default_factory=list)


def talk(number: int) -> list[dict[str, str]]:
    """A short question that no other begins like."""
    return [{"role": "user", "content": f"{SUBJECTS[number % len(SUBJECTS)].title()} {number}: tell me about it."}]


async def ask(port: int, number: int, model: str, new: int) -> Stream:
    """One streamed answer, greedy. (A stop token may end it: its tokens are counted by the server's usage.)"""
    body = {
        "model": model,
        "messages": talk(number),
        "max_tokens": new,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    out, start = Stream(), time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/v1/chat/completions", body))
    status = await reader.readline()
    if b" 200 " not in status:
        out.faults.append(status.decode())
    ended = False
    while line := await reader.readline():
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            ended = True
            continue
        event = json.loads(line[6:])
        if event.get("usage"):
            out.tokens = event["usage"]["completion_tokens"]
        for choice in event.get("choices", ()):
            piece = choice["delta"].get("content") or ""
            if piece and not out.first:
                out.first = time.perf_counter() - start
            out.text += piece
    if not ended:
        out.faults.append("the stream broke off")
    writer.close()
    return out


async def together(port: int, numbers: range, model: str, new: int = NEW_TOKENS) -> tuple[float, list[Stream]]:
    """Tokens a second of all streams together, and the streams in order."""
    start = time.perf_counter()
    streams = await asyncio.gather(*(ask(port, i, model, new) for i in numbers))
    return sum(s.tokens for s in streams) / (time.perf_counter() - start), list(streams)


def direct(file: str, adapter: str, count: int) -> None:
    """llama-cpp-python by itself, in this process: prints tokens a second of `count` answers, one after another."""
    from camelid.model.llama_runtime import require_llama_cpp, threads

    llama = require_llama_cpp("comparing").Llama(
        file, n_ctx=2048, n_threads=threads(), n_threads_batch=threads(), verbose=False, lora_path=adapter or None
    )
    llama.create_chat_completion(talk(999), max_tokens=8, temperature=0)  # type: ignore[arg-type]
    start, tokens = time.perf_counter(), 0
    for number in range(count):
        out = llama.create_chat_completion(talk(number), max_tokens=NEW_TOKENS, temperature=0)  # type: ignore[arg-type]
        tokens += out["usage"]["completion_tokens"]  # type: ignore[index]
    print(json.dumps({"rate": tokens / (time.perf_counter() - start), "tokens": tokens}))


def child(*words: str) -> dict:
    """The figures of `direct` in a process of its own."""
    command = [sys.executable, __file__, *words]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def compare(name: str, words: list[str], model: str, file: str, lora: str, rounds: int) -> None:
    """One row: 1 stream direct and through the server, and 16 streams; 4 answers a round for one stream."""
    alone: list[float] = []
    single: list[float] = []
    many: list[float] = []
    first: list[float] = []
    for _ in range(rounds):
        if file:
            alone.append(child("--direct", file, lora, "4")["rate"])
        with server(*words) as port:
            asyncio.run(together(port, range(900, 902), model, 8))
            rates = []
            for number in range(4):
                rate, streams = asyncio.run(together(port, range(number, number + 1), model))
                rates.append((streams[0].tokens, streams[0].tokens / rate))
            single.append(sum(t for t, _ in rates) / sum(s for _, s in rates))
            for number in range(100, 120):
                first += [s.first for s in asyncio.run(together(port, range(number, number + 1), model, 4))[1]]
            rate, streams = asyncio.run(together(port, range(200, 216), model))
            many.append(rate)
            faults = [fault for s in streams for fault in s.faults]
            if faults:
                raise SystemExit(f"{name}: {faults[0]}")
    straight = f"{statistics.median(alone):.1f}" if alone else "-"
    share = f"{statistics.median(single) / statistics.median(alone):.2f}" if alone else "-"
    print(
        f"| {name} | {straight} | {statistics.median(single):.1f} | {share} | {statistics.median(many):.1f} "
        f"| {1000 * statistics.median(first):.0f} |",
        flush=True,
    )


def nano(count: int, rounds: int) -> None:
    """16 and `count` streams of nano, each compared with its answer when asked alone."""
    with server("nano", "--slots", "64", "--max-queue", str(count)) as port:
        wanted = [asyncio.run(together(port, range(i, i + 1), "nano"))[1][0].text for i in range(count)]
        few: list[float] = []
        many: list[float] = []
        for _ in range(rounds):
            for streams, rates in ((16, few), (count, many)):
                rate, answers = asyncio.run(together(port, range(streams), "nano"))
                rates.append(rate)
                wrong = [i for i, s in enumerate(answers) if s.faults or s.text != wanted[i]]
                if wrong:
                    raise SystemExit(f"{streams} streams: answers {wrong} are not what they are alone")
    rate_few, rate_many = statistics.median(few), statistics.median(many)
    print(f"nano: 16 streams {rate_few:.0f} tok/s, {count} streams {rate_many:.0f} tok/s, {rate_many / rate_few:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, action="append", default=[], help="a further file to serve")
    parser.add_argument("--adapter", help="run directory with a LoRA of smollm2")
    parser.add_argument("--lora", default="", help="the same adapter as GGUF, for llama-cpp-python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nano", type=int, metavar="STREAMS", help="only this")
    parser.add_argument("--direct", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.direct:
        direct(given.direct[0], given.direct[1], int(given.direct[2]))
        return
    if given.nano:
        nano(given.nano, given.rounds)
        return
    from camelid.model.presets import preset_gguf

    print("| model and engine | direct tok/s | 1 stream tok/s | share | 16 streams tok/s | first token ms |")
    print("|---|---|---|---|---|---|")
    own = str(preset_gguf("smollm2"))
    for name, model, file in (
        ("smollm2, its own Q4_1", "smollm2", own),
        *((path.name, str(path), str(path)) for path in given.gguf),
    ):
        served = "smollm2" if model == "smollm2" else Path(model).stem
        compare(f"{name}, llamacpp", [model, "--engine", "llamacpp"], served, file, "", given.rounds)
        if given.adapter:
            words = [model, "--engine", "llamacpp", "--adapter", f"tuned={given.adapter}"]
            compare(f"{name} + LoRA, llamacpp", words, "tuned", file if given.lora else "", given.lora, given.rounds)
    words = ["smollm2", "--engine", "local"]
    compare("smollm2, local", words, "smollm2", "", "", given.rounds)
    if given.adapter:
        words += ["--adapter", f"tuned={given.adapter}"]
        compare("smollm2 + LoRA, local", words, "tuned", "", "", given.rounds)


if __name__ == "__main__":
    main()
