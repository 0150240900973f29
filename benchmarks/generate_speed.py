"""Tokens a second of the local engine beside transformers.generate, and as a share of the machine's own products.

    python benchmarks/generate_speed.py                       # 1, 16 and 64 prompts of mixed lengths
    python benchmarks/generate_speed.py --system 500          # the same behind a shared system prompt
    python benchmarks/generate_speed.py --dtype bfloat16 --counts 16 64

Each figure is of a process of its own (its peak memory is measured too); rounds alternate between the two, medians are
printed. The bound is what the model's matrix products alone take: all of the prompts' and the answers' tokens, in the
faster of PyTorch's ordinary and oneDNN's packed layout, weights cold as in a model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

NEW_TOKENS = 64
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "instruct" / "alpaca_data.json"


@dataclass(frozen=True)
class Figure:
    """seconds for everything, prompts included; peak: most bytes of memory while it answered"""

    seconds: float
    tokens: int
    prompt_tokens: int
    peak: int


def prompts(count: int, system: int, vocabulary) -> list:  # type: ignore[no-untyped-def]
    """Conversations of mixed lengths: Alpaca's rows 0, 50, 100 ... behind a system prompt of `system` tokens."""
    from camelid.data.records import Conversation, Message, Origin

    rows = json.loads(DATA.read_text(encoding="utf-8"))
    ids = vocabulary.backend.encode(" ".join(row["output"] for row in rows[-40:]), add_special_tokens=False).ids
    head = (Message("system", vocabulary.decode(ids[:system])),) if system else ()
    texts = [f"{row['instruction']}\n{row['input']}".strip() for row in rows[: 50 * count : 50]]
    return [Conversation((*head, Message("user", text)), Origin("alpaca", i)) for i, text in enumerate(texts)]


def measure(engine: str, model: str, dtype: str, count: int, system: int) -> Figure:
    """One run in this process, after a small one that warms it up."""
    import psutil
    import torch

    from camelid.data.render import Renderer
    from camelid.data.templates import template_for
    from camelid.model.load import load_model, source_vocabulary
    from camelid.model.resolve import resolve

    vocabulary = source_vocabulary(resolve(model))
    renderer = Renderer(vocabulary, template_for("auto", vocabulary), 1 << 20)
    renderer.stop_ids = ()  # every answer is as long as the others'
    talks = prompts(count, system, vocabulary)
    lengths = [len(renderer.prompt(talk)) for talk in talks]
    if engine == "camelid":
        from camelid.generate.base import Sampling
        from camelid.generate.decoder import Decoder
        from camelid.generate.local import LocalGenerator, decoder_of
        from camelid.model.layout import choose_layout
        from camelid.model.packed import Routing
        from camelid.model.packed_layers import pack_for_good

        def make() -> Decoder:
            made, routing = load_model(model, dtype=dtype).model, Routing()
            layout, _ = choose_layout(made, "tree")
            pack_for_good(made, routing, layout=layout)
            return decoder_of(made, routing, layout)

        generator = LocalGenerator(make, renderer, {"base": ""})

        def run(some: list, new: int) -> int:
            return sum(a.completion_tokens for a in generator.generate(some, Sampling(max_new_tokens=new)))
    else:
        loaded = load_model(model, dtype=dtype)
        loaded.model.set_attn_implementation("sdpa")

        def run(some: list, new: int) -> int:
            ids = [torch.from_numpy(renderer.prompt(talk).astype("int64")) for talk in some]
            longest = max(len(row) for row in ids)
            tokens = torch.zeros(len(ids), longest, dtype=torch.int64)
            mask = torch.zeros_like(tokens)
            for row, mine in enumerate(ids):
                tokens[row, longest - len(mine) :], mask[row, longest - len(mine) :] = mine, 1
            out = loaded.model.generate(  # type: ignore[operator]
                tokens, attention_mask=mask, max_new_tokens=new, do_sample=False, eos_token_id=None, pad_token_id=0
            )
            return out.shape[0] * (out.shape[1] - longest)

    run(talks[:2], 4)
    peaks, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peaks.append(psutil.Process().memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    tokens = run(talks, NEW_TOKENS)
    seconds = time.perf_counter() - start
    over.set()
    watcher.join()
    return Figure(seconds, tokens, sum(lengths), max(peaks))


def bound(model: str, dtype: str, count: int, system: int) -> float:
    """Seconds of the products alone: every prompt token once (a shared system prompt once in all), every new token."""
    import torch

    from camelid.data.render import Renderer
    from camelid.data.templates import template_for
    from camelid.model.load import load_model
    from camelid.model.packed import Product, packs

    loaded = load_model(model, dtype=dtype)
    renderer = Renderer(loaded.vocabulary, template_for("auto", loaded.vocabulary), 1 << 20)
    lengths = [len(renderer.prompt(talk)) for talk in prompts(count, system, loaded.vocabulary)]
    read = sum(lengths) - system * (count - 1)
    torch.set_grad_enabled(False)
    head = loaded.model.get_output_embeddings().weight  # type: ignore[union-attr]
    layers = [m.weight for n, m in loaded.model.named_modules() if type(m) is torch.nn.Linear and m.weight is not head]
    totals = []
    for packed in (False, True):
        if packed and not packs(head):
            continue
        products = [
            Product(w, None) if packed else (lambda x, w=w: torch.nn.functional.linear(x, w)) for w in (*layers, head)
        ]
        widths = [w.shape[1] for w in (*layers, head)]

        def seconds(rows: int, which: slice, products=products, widths=widths) -> float:
            inputs = {w: torch.randn(rows, w).to(head.dtype) for w in set(widths)}
            times = []
            for _ in range(5):
                start = time.perf_counter()
                for product, width in zip(products[which], widths[which], strict=True):
                    product(inputs[width])
                times.append(time.perf_counter() - start)
            return statistics.median(times[1:])

        whole = read // 512
        reading = whole * seconds(512, slice(0, -1)) + seconds(max(1, read % 512), slice(0, -1))
        totals.append(reading + NEW_TOKENS * seconds(count, slice(None)))
    return min(totals)


def child(*arguments: str) -> dict:
    """The figures of a process of its own."""
    command = [sys.executable, __file__, "--child", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--peer-dtype", help="of transformers.generate; default as --dtype")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--system", type=int, default=0, help="tokens of a system prompt that all prompts share")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        what, model, dtype, count, system = given.child
        arguments = model, dtype, int(count), int(system)
        print(json.dumps({"bound": bound(*arguments)} if what == "bound" else asdict(measure(what, *arguments))))
        return
    print(
        "| prompts | prompt tokens | camelid tok/s | transformers tok/s | ratio | share of bound | peak GB | theirs |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for count in given.counts:
        found: dict[str, list[dict]] = {"camelid": [], "transformers": [], "bound": []}
        for _ in range(given.rounds):
            for engine in found:
                dtype = given.peer_dtype if engine == "transformers" and given.peer_dtype else given.dtype
                found[engine].append(child(engine, given.model, dtype, str(count), str(given.system)))
        seconds = {name: statistics.median(f["seconds"] for f in found[name]) for name in ("camelid", "transformers")}
        least = statistics.median(f["bound"] for f in found["bound"])
        first = found["camelid"][0]
        peaks = [statistics.median(f["peak"] for f in found[name]) / 1e9 for name in ("camelid", "transformers")]
        print(
            f"| {count} | {first['prompt_tokens']} | {first['tokens'] / seconds['camelid']:.0f} "
            f"| {found['transformers'][0]['tokens'] / seconds['transformers']:.0f} "
            f"| {seconds['transformers'] / seconds['camelid']:.2f} | {100 * least / seconds['camelid']:.0f}% "
            f"| {peaks[0]:.2f} | {peaks[1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
