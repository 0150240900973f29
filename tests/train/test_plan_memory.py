"""The memory of a step that is run without bytes is that of the step that is run with them."""

from __future__ import annotations

import json
import platform
import shutil
import weakref
from collections.abc import Callable
from dataclasses import astuple, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import chat_rows, tiny_base
from torch import Tensor
from torch.profiler import ProfilerActivity
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from camelid.config import Recipe, make_recipe
from camelid.data.pack import Row
from camelid.model import attend
from camelid.model.head import Head, edge_logprobs
from camelid.model.load import load_model, resolve, source_vocabulary
from camelid.model.quantised import QuantisedWeight, weights_of
from camelid.train.data import prepare_data
from camelid.train.distributed import World
from camelid.train.loop import row_loss
from camelid.train.objectives import objective_of
from camelid.train.plan.ledger import LARGE, Ledger, Moment, without_memory
from camelid.train.plan.machines import held_memory
from camelid.train.plan.memory import Compiled, Heap, Stretch, Weights, holes_of, memory_of, stretches_of
from camelid.train.plan.phases import Phases, rehearse
from camelid.train.plan.shadow import build, depths, drawn, filled, read_base, sizes, stand_in
from camelid.train.plan.work import workload
from camelid.train.setup import Setup, optimizers_of


class Watch(TorchDispatchMode):
    """The peak of the storages that real tensors have: the oracle."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.live = self.peak = 0
        parts = [part for weight in weights_of(model).values() for part in weight.parts]
        tensors = [*model.parameters(), *model.buffers(), *parts]
        self.known = {tensor.untyped_storage()._cdata for tensor in tensors}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if QuantisedWeight in types:
            return NotImplemented  # its own operations are seen, one by one
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage: Any) -> None:
        if storage._cdata in self.known:
            return
        self.known.add(storage._cdata)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


class Bench:
    """A recipe's data and base, and setups of any depth over them."""

    def __init__(self, folder: Path, base: Path, **fields: Any) -> None:
        rows = chat_rows(folder / "rows.jsonl")
        values = {"base": str(base), "data": str(rows), "dtype": "float32", "max_length": 128, "output_dir": "run"}
        self.recipe: Recipe = make_recipe({**values, "per_device_train_batch_size": 6, "retention": False, **fields})
        self.source = resolve(self.recipe.base)
        self.vocabulary = source_vocabulary(self.source)
        self.base = read_base(self.source.directory)
        self.data = prepare_data(self.recipe, self.vocabulary, say=lambda line: None)

    def built(self, depth: int) -> Any:
        return build(self.recipe, self.base, self.vocabulary, None, torch.float32, depth)

    def setup(self, built: Any, make: Any) -> Setup:
        trainable, layout = built
        filled(trainable, make)
        return Setup(
            self.recipe, World(), self.source, self.vocabulary, self.data, trainable, layout, objective_of(self.recipe),
            optimizers_of(self.recipe, trainable), lambda step: 1.0, torch.float32, "", 0.0,
        )  # fmt: skip

    def longest(self) -> Row:
        return workload(self.recipe, self.data, "tree").rows[0]

    def phases(self, depth: int) -> Phases:
        built = self.built(depth)
        with without_memory() as ledger:
            return rehearse(self.setup(built, stand_in), self.longest(), ledger, again=True)[0]


def deep_base(folder: Path, architecture: str, layers: int) -> Path:
    """A tiny base's configuration and tokenizer with more layers; it has no weights at all."""
    target = folder / "deep"
    shutil.copytree(tiny_base(architecture), target, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((target / "config.json").read_text())
    config["num_hidden_layers"] = layers
    if config.get("layer_types"):
        config["layer_types"] = ["full_attention"] * layers
    (target / "config.json").write_text(json.dumps(config))
    return target


METHODS = ["lora", "full", "ptuning2", "prompt"]


@pytest.mark.parametrize(
    ("method", "quantization"), [*((method, "none") for method in METHODS), ("lora", "8bit"), ("prompt", "4bit")]
)
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
def test_a_step_without_bytes_takes_what_a_real_one_takes(
    method: str, quantization: str, checkpointing: bool, tmp_path: Path
) -> None:
    fields = {"gradient_checkpointing": checkpointing, "quantization": quantization}
    bench = Bench(tmp_path, tiny_base(), method=method, **fields)
    row = bench.longest()
    real = bench.setup(bench.built(3), drawn)
    with Watch(real.trainable.lm) as watch:
        row_loss(real, row).backward()
    built = bench.built(3)
    with without_memory() as ledger:
        setup = bench.setup(built, stand_in)
        before = ledger.now.live
        ledger.since()
        row_loss(setup, row).backward()
        peak = ledger.since().live - before
    # those of indices are real in both, and the ledger leaves them out
    assert peak == pytest.approx(watch.peak, rel=0.02)
    assert peak > 100_000


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_quantised_weights_are_those_of_a_run(architecture: str, quantization: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny_base(architecture), quantization=quantization)
    loaded = load_model(bench.source, dtype="float32", quantization=quantization).model

    def described(model: torch.nn.Module) -> list[tuple[int, int, tuple[int, ...]]]:
        return sorted((w.bits, w.stored_bytes, tuple(w.shape)) for w in weights_of(model).values())

    planned = bench.built(bench.base.layers)[0].lm
    assert described(planned) == described(loaded)
    assert len(described(planned)) > 10
    on_gpu = build(bench.recipe, bench.base, bench.vocabulary, None, torch.float32, bench.base.layers, gpu=True)[0].lm
    table = on_gpu.get_input_embeddings().weight  # type: ignore[operator]
    assert type(table) is torch.nn.Parameter  # bitsandbytes leaves it in float
    assert 0 < len(described(on_gpu)) < len(described(planned))


@pytest.mark.parametrize("method", METHODS)
def test_the_whole_depth_follows_from_two(method: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, deep_base(tmp_path, "llama", 9), method=method)
    first, second = depths(bench.base, bench.recipe, lambda depth: sizes(bench.built(depth)[0]))
    assert (first, second) == (2, 4)
    drawn_out = bench.phases(first).towards(bench.phases(second), (9 - first) / (second - first))
    whole = bench.phases(9)
    for stretch, real in zip(drawn_out.stretches, whole.stretches, strict=True):
        assert stretch.live == pytest.approx(
            real.live, rel=0.05
        )  # where the head of so small a model decides at one depth
    for name in ("weights", "gradients", "optimizer"):
        assert astuple(getattr(drawn_out, name)) == astuple(getattr(whole, name))


def test_layers_that_differ_are_run_in_full(tmp_path: Path) -> None:
    bench = Bench(tmp_path, deep_base(tmp_path, "llama", 9), method="freeze", freeze={"trainable": [r"layers\.7\."]})
    assert depths(bench.base, bench.recipe, lambda depth: sizes(bench.built(depth)[0])) == (9, 9)


def test_the_ledger_sees_tensors_begin_and_end() -> None:
    with without_memory() as ledger:
        small = torch.empty(1000)
        assert ledger.now == Moment(4000, 0, 4000)
        large = torch.empty(LARGE // 4)
        view = large[5:]
        assert ledger.now == Moment(4000 + LARGE, LARGE, 4000)
        del large
        assert ledger.now.large == LARGE  # the view still holds it
        del view
        assert ledger.now == Moment(4000, 0, 4000)
        assert ledger.since() == Moment(4000 + LARGE, LARGE, 4000)
        del small
    assert isinstance(ledger, Ledger)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "apart"])
@pytest.mark.parametrize("recomputed", [True, False], ids=["recomputed", "kept"])
@pytest.mark.parametrize(("rows", "words"), [(20, 3000), (3000, 20)])
def test_gradients_are_summed_as_a_run_sums_them(rows: int, words: int, tied: bool, recomputed: bool) -> None:
    """In place, as autograd does it only while no mode looks on: the oracle is the allocator."""

    def layers(x: Tensor) -> Tensor:
        for _ in range(4):
            x = x + x.square()
        return x

    def step(make: Callable[..., Tensor]) -> None:
        weight = make(words, 64).requires_grad_()
        head = weight if tied else make(words, 64).requires_grad_()
        weight.grad, head.grad = make(words, 64), make(words, 64)
        x = torch.nn.functional.embedding(torch.arange(rows) % words, weight)
        x = checkpoint(layers, x, use_reentrant=False) if recomputed else layers(x)
        places = torch.arange(rows)
        edge_logprobs(x, Head(head, None, 1.0, None), places, places % words)[0].sum().backward()  # type: ignore[arg-type]

    with torch.profiler.profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profile:
        step(torch.zeros)
    assert profile.profiler is not None
    events: list[Any] = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    seen = sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns())
    real = max(accumulate(event.nbytes() for event in seen))
    with without_memory() as ledger:
        step(torch.empty)
    assert ledger.since().live == pytest.approx(real, rel=0.01)


def test_nothing_without_bytes_is_left_behind(tmp_path: Path) -> None:
    """Masks that attention keeps for later rows are real ones, or the next real run would see no mask."""
    attend._YOUNGER.clear()
    bench = Bench(tmp_path, tiny_base(), method="lora")
    bench.phases(3)
    assert attend._YOUNGER
    assert all(type(mask) is Tensor and bool(mask.any()) for mask in attend._YOUNGER.values())


def test_what_glibc_keeps_is_used_again_and_large_blocks_go_back() -> None:
    nothing = Moment(0, 0, 0)
    phases = replace(Phases(*[nothing] * 8), weights=Moment(150, 100, 50))
    life = [
        Stretch("loading", Moment(900, 500, 400)),
        Stretch("forward", Moment(300, 100, 200), 7, temporary=150),
        Stretch("backward", Moment(750, 300, 450), 7, temporary=400),
    ]
    on_cpu = memory_of(phases, life, Heap(floor=1000, holes=0.1))
    assert on_cpu.stretches == {"loading": 1900, "forward": 1507, "backward": 1000 + 300 + 450 + 40 + 7}
    assert (on_cpu.peak, on_cpu.when) == (1900, "loading")
    assert on_cpu.stepping == 1797 - 1000 - phases.weights.live
    on_gpu = memory_of(phases, life, None)
    assert on_gpu.stretches == {"loading": 900, "forward": 300, "backward": 750}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_holes_grow_with_the_lengths_of_rows(dtype: torch.dtype) -> None:
    grown = [holes_of(lengths, dtype) for lengths in (1, 10, 50, 1000)]
    assert grown == sorted(grown)
    assert 0 < grown[0] < 0.3 < grown[1] < grown[-1] <= 1


def test_compiled_products_leave_more_holes() -> None:
    assert holes_of(10, torch.bfloat16) > holes_of(10, torch.float32)


@pytest.mark.parametrize("cast", [True, False], ids=["copied", "mapped"])
def test_holes_are_a_share_of_what_comes_and_goes(cast: bool) -> None:
    """Not of the weights, whether they are a part of the heap or of a mapped file."""
    one = Moment(0, 0, 0)
    weights, adapter, optimizer = Moment(60, 10, 50), Moment(5, 0, 5), Moment(10, 0, 10)
    step = Moment(220, 10, 210)
    phases = replace(
        Phases(*[one] * 8), weights=weights, gradients=adapter, optimizer=optimizer,
        forward=step, backward_early=step, backward_late=step, update=step,
    )  # fmt: skip
    life = stretches_of(phases, Weights(file=70, cast=cast), adapter=True, exam=None, scoring=None, compiled=Compiled())
    assert {stretch.temporary for stretch in life if stretch.name != "loading"} == {210 - 50 - 10 - 5}
    made = memory_of(phases, life, Heap(floor=1000, holes=0.4))
    assert made.stretches["forward"] == pytest.approx(1000 + 220 + 0.4 * 145)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is held is told by glibc")
def test_what_is_held_is_what_was_asked_for() -> None:
    before = held_memory()
    block = torch.empty(1 << 20, dtype=torch.uint8)
    assert (1 << 20) <= held_memory() - before < (1 << 20) + (1 << 16)
    del block
    assert abs(held_memory() - before) < 1 << 16
