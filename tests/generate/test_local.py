"""Cached = uncached, batched = single, streamed = whole, shared prefix = separate, for every adapter of a batch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ARCHITECTURES, tiny_base, tiny_model, two_threads
from torch import nn

from camelid.data.pack import Example
from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Renderer
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.generate.base import Piece, Prompt, Request, Sampling
from camelid.generate.decoder import Decoder, tokens_to_read
from camelid.generate.local import LiveGenerator, LocalGenerator, decoder_of
from camelid.generate.torch_decoder import TorchDecoder
from camelid.model.layout import choose_layout, ordinary_attention
from camelid.model.packed import Routing
from camelid.model.packed_layers import pack_for_good
from camelid.model.projection import Projection

TEXTS = ["Sort 3, 1, 2", "你好", "Sort 3, 1, 2 and 9 please", "What is the capital of France?", "请排序：3、1、2"]
LONG = "Give three tips for staying healthy. Eat well, sleep well, and move every day. " * 9
FAMILIES = sorted({*ARCHITECTURES, "mistral", "qwen2"})


def _conversation(text: str, system: str = "") -> Conversation:
    head = (Message("system", system),) if system else ()
    return Conversation((*head, Message("user", text)), Origin("test", 1))


PROMPTS = [_conversation(text) for text in TEXTS]


def _renderer() -> Renderer:
    vocabulary = Vocabulary.from_directory(tiny_base())
    return Renderer(vocabulary, template_for("auto", vocabulary), 4096)


def _live(architecture: str = "llama") -> LiveGenerator:
    model = tiny_model(architecture)
    layout, _ = choose_layout(model, "tree")
    return LiveGenerator(model, _renderer(), layout=layout)


def _updates(seed: int, model: nn.Module) -> dict[str, Projection]:
    """A random low-rank update of every linear layer but the head."""
    made = torch.Generator().manual_seed(seed)
    return {
        name: Projection(
            layer.weight.detach().clone(),
            None,
            torch.randn(4, layer.in_features, generator=made) * 0.2,
            torch.randn(layer.out_features, 4, generator=made) * 0.2,
            0.5,
        )
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear and name != "lm_head"
    }


ADAPTERS = {"base": "", "one": "1", "two": "2"}


@pytest.fixture
def served() -> Iterator[LocalGenerator]:
    """A generator with two adapters, three slots and a thread of its own."""
    model, routing = tiny_model("llama"), Routing()
    updates = {name: _updates(int(name), model) for name in ("1", "2")}
    places = pack_for_good(model, routing, layout="tree").places
    for name, parts in updates.items():
        for where, part in parts.items():
            layer, number = places[where]
            layer.add(name, number, part)
    generator = LocalGenerator(lambda: decoder_of(model, routing, "tree", 3), _renderer(), ADAPTERS)
    yield generator
    generator.close()


def _merged(adapter: str) -> LiveGenerator:
    """The same model with an adapter merged by hand: the oracle of `served`."""
    model = tiny_model("llama")
    if adapter:
        for name, part in _updates(int(adapter), model).items():
            assert part.a is not None
            assert part.b is not None
            with torch.no_grad():
                model.get_submodule(name).weight += part.scale * part.b @ part.a  # type: ignore[operator]
    choose_layout(model, "tree")
    return LiveGenerator(model, _renderer())


def _greedy_by_hand(generator: LiveGenerator, prompt: Conversation, count: int) -> list[int]:
    """No cache, no batch, the model's own attention: the oracle."""
    model = generator.model
    former = model.config._attn_implementation  # type: ignore[union-attr]
    model.set_attn_implementation(ordinary_attention(model))  # type: ignore[operator]
    ids = generator.renderer.prompt(prompt).tolist()
    answer: list[int] = []
    with torch.no_grad():
        while len(answer) < count:
            token = int(model(input_ids=torch.tensor([ids + answer])).logits[0, -1].argmax())
            if token in generator.renderer.stop_ids:
                break
            answer.append(token)
    model.set_attn_implementation(former)  # type: ignore[operator]
    return answer


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_batch_with_shared_prefixes_equals_each_prompt_alone_uncached(architecture: str) -> None:
    """Prompts of 10 to 700 tokens, several blocks of which are common to some of them."""
    generator = _live(architecture)
    prompts = [*PROMPTS, *(_conversation(text, LONG) for text in TEXTS[:3]), _conversation(LONG)]
    completions = generator.generate(prompts, Sampling(max_new_tokens=20))
    for prompt, completion in zip(prompts, completions, strict=True):
        answer = _greedy_by_hand(generator, prompt, 20)
        assert completion.text == generator.renderer.vocabulary.decode(answer)
        assert completion.completion_tokens == len(answer)
        assert completion.prompt_tokens == len(generator.renderer.prompt(prompt))
        assert completion.finish == ("length" if len(answer) == 20 else "stop")


def test_separate_layout_answers_the_same() -> None:
    generator = _live()
    wanted = [c.text for c in generator.generate(PROMPTS, Sampling(max_new_tokens=12))]
    generator.layout = "separate"
    assert [c.text for c in generator.generate(PROMPTS, Sampling(max_new_tokens=12))] == wanted


def test_an_answer_that_outgrows_its_pool_goes_on_the_same() -> None:
    generator = _live()
    (completion,) = generator.generate([PROMPTS[0]], Sampling(max_new_tokens=300))
    answer = _greedy_by_hand(generator, PROMPTS[0], 300)
    assert completion.text == generator.renderer.vocabulary.decode(answer)


@settings(max_examples=30)
@given(st.permutations(range(6)), st.integers(1, 6), st.integers(0, 3))
@two_threads()
def test_the_nth_answer_for_a_seed_does_not_depend_on_its_company(order: list[int], count: int, answer: int) -> None:
    """Bit for bit: the log-probabilities too, wherever oneDNN packs (float32, CPU)."""
    generator = _SHARED
    sampling = Sampling(max_new_tokens=12, temperature=1.0, top_p=0.95, top_k=50, seed=5, logprobs=2)
    prompts = [*PROMPTS, _conversation("hello", LONG)]
    together = generator.generate([prompts[i] for i in order[:count]], sampling)
    for i, completion in zip(order, together, strict=False):
        assert completion == generator.generate([prompts[i]], sampling)[0]


_SHARED = _live()


@pytest.mark.parametrize("length", [130, 260, 300, 400, 520, 700, 800, 1030, 1300])
def test_the_keys_of_longer_rows_change_nothing(length: int) -> None:
    """Rows of a pool attend over as many keys as the longest has; matrix products split long sums by their length."""
    model, routing = tiny_model("llama"), Routing()
    choose_layout(model, "tree")
    pack_for_good(model, routing, layout="tree")

    def after(*lengths: int) -> torch.Tensor:
        """The first prompt's logits, four tokens in, beside prompts of the other lengths."""
        decoder = TorchDecoder(model, routing, slots=9)
        slots = [decoder.open(np.arange(n, dtype=np.int32) * 7 % 90 + 100, "", n + 9) for n in lengths]
        running: dict[int, int] = {}
        while len(running) < len(slots):
            running |= dict.fromkeys(decoder.advance({})[0], 105)
        for _ in range(4):
            order, logits = decoder.advance(running)
        return logits[order.index(slots[0])]

    alone = after(length)
    for other in range(length + 50, length + 400, 50):
        assert torch.equal(after(length, other), alone), f"beside {other} tokens"


def test_seeds_and_numbers_of_answers_give_other_answers(served: LocalGenerator) -> None:
    prompt = served.prepare(PROMPTS[0])

    def text(seed: int, number: int) -> str:
        sampling = Sampling(max_new_tokens=16, temperature=1.0, seed=seed)
        return served.generate_each([Request(prompt, sampling, answer=number)])[0].text

    assert text(1, 0) == text(1, 0)
    assert len({text(1, 0), text(1, 1), text(2, 0)}) == 3


def test_answers_of_several_adapters_in_one_batch_are_those_of_each_merged(served: LocalGenerator) -> None:
    requests = [
        Request(served.prepare(prompt), Sampling(max_new_tokens=15), model=name)
        for prompt in [*PROMPTS, _conversation("hello", LONG)]
        for name in ADAPTERS
    ]
    answers = served.generate_each(requests)
    by_adapter = {name: _merged(number) for name, number in ADAPTERS.items()}
    for request, completion in zip(requests, answers, strict=True):
        assert isinstance(request.prompt.source, Conversation)
        (wanted,) = by_adapter[request.model].generate([request.prompt.source], request.sampling)
        assert completion.text == wanted.text
    assert len({answers[i].text for i in range(3)}) == 3


def test_a_prefix_that_is_kept_changes_nothing(served: LocalGenerator) -> None:
    """The second time, the blocks come from the store; another adapter must not get them."""
    prompt = _conversation("hello", LONG)
    first = served.generate([prompt], Sampling(max_new_tokens=15, logprobs=0))
    other = served.generate_each([Request(served.prepare(prompt), Sampling(max_new_tokens=15), "two")])
    assert served.generate([prompt], Sampling(max_new_tokens=15, logprobs=0)) == first
    assert other[0].text == _merged("2").generate([prompt], Sampling(max_new_tokens=15))[0].text


def test_streamed_equals_whole(served: LocalGenerator) -> None:
    several = 0
    for prompt in PROMPTS:
        pieces = list(served.stream(prompt, Sampling(max_new_tokens=25)))
        several += len(pieces) > 1
        assert "".join(pieces) == served.generate([prompt], Sampling(max_new_tokens=25))[0].text
    assert several > 1


def test_more_requests_than_slots_are_all_answered_in_order(served: LocalGenerator) -> None:
    limits = [1 + (7 * i) % 23 for i in range(20)]
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(20)]
    requests = [Request(served.prepare(p), Sampling(max_new_tokens=n)) for p, n in zip(prompts, limits, strict=True)]
    alone = _merged("")
    for request, completion in zip(requests, served.generate_each(requests), strict=True):
        assert isinstance(request.prompt.source, Conversation)
        assert completion == alone.generate([request.prompt.source], request.sampling)[0]
    assert served.load == (0, 0)


def test_cancelling_frees_the_slot_and_the_others_go_on(served: LocalGenerator) -> None:
    heard: list[Piece] = []
    begun, ended = threading.Event(), threading.Event()

    def sink(piece: Piece) -> None:
        heard.append(piece)
        begun.set()
        if piece.finish:
            ended.set()

    long = Sampling(max_new_tokens=2000, temperature=1.0, schema='{"type": "string", "minLength": 3000}')
    ticket = served.submit(Request(served.prepare(PROMPTS[0]), long), sink)
    assert begun.wait(20)
    ticket.cancel()
    assert ended.wait(5)
    assert heard[-1].finish == "cancelled"
    assert served.load == (0, 0)
    assert served.generate([PROMPTS[1]], Sampling(max_new_tokens=4))[0].completion_tokens <= 4
    ticket.cancel()  # once more is no harm


def test_what_cannot_be_answered_is_refused_before_it_waits(served: LocalGenerator) -> None:
    with pytest.raises(UserError, match=r"4096 may be answered, but the context is 4096"):
        served.generate([PROMPTS[0]], Sampling(max_new_tokens=4096))
    with pytest.raises(UserError, match="no model 'three'"):
        list(served.stream(PROMPTS[0], Sampling(), model="three"))
    with pytest.raises(UserError, match="cannot be kept to"):
        served.generate([PROMPTS[0]], Sampling(schema='{"type": "nonsense"}'))
    with pytest.raises(UserError, match="empty"):
        served.generate([""], Sampling())


def test_closing_cancels_what_runs_and_refuses_what_comes() -> None:
    model, routing = tiny_model("llama"), Routing()
    pack_for_good(model, routing, layout="tree")
    generator = LocalGenerator(lambda: decoder_of(model, routing, "tree", 1), _renderer(), {"base": ""})
    ends: list[str] = []
    begun = threading.Event()

    def sink(piece: Piece) -> None:
        begun.set()
        ends.extend([piece.finish] if piece.finish else [])

    long = Sampling(max_new_tokens=3000, schema='{"type": "string", "minLength": 9000}')
    for _ in range(3):
        generator.submit(Request(generator.prepare(PROMPTS[0]), long), sink)
    assert begun.wait(20)
    generator.close()
    assert ends == ["cancelled"] * 3
    with pytest.raises(RuntimeError, match="closed"):
        generator.generate([PROMPTS[0]], Sampling())
    generator.close()


def test_one_thread_makes_the_decoder_and_computes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, routing = tiny_model("llama"), Routing()
    pack_for_good(model, routing, layout="tree")
    threads: dict[str, set[int]] = {}
    for name in ("__init__", "open", "advance", "score", "embed"):
        own = getattr(TorchDecoder, name)

        def noted(*args: Any, name: str = name, own: Any = own, **kwargs: Any) -> Any:
            threads.setdefault(name, set()).add(threading.get_ident())
            return own(*args, **kwargs)

        monkeypatch.setattr(TorchDecoder, name, noted)
    generator = LocalGenerator(lambda: decoder_of(model, routing, "tree", 2), _renderer(), {"base": ""})
    generator.generate([PROMPTS[0]], Sampling(max_new_tokens=2))
    generator.score([Example(np.arange(2, dtype=np.int32), np.array([0, 1], np.float32), 0)])
    generator.embed([generator.prepare(PROMPTS[0])])
    generator.close()
    assert set(threads) == {"__init__", "open", "advance", "score", "embed"}
    assert len(set.union(*threads.values())) == 1
    assert threading.get_ident() not in threads["open"]


def test_a_prompt_of_several_passes_alone() -> None:
    generator = _live("llama")
    prompt = _conversation(LONG * 8)
    ids = generator.renderer.prompt(prompt)
    assert len(ids) > 2 * tokens_to_read(0, 1)
    (answer,) = generator.generate([prompt], Sampling(max_new_tokens=5))
    assert list(answer.ids) == _greedy_by_hand(generator, prompt, 5)


def test_what_fails_while_the_decoder_is_made_is_raised() -> None:
    def make() -> Decoder:
        raise UserError("no such model")

    with pytest.raises(UserError, match="no such model"):
        LocalGenerator(make, _renderer(), {"base": ""})


def test_a_fault_of_the_model_is_heard_and_the_next_answer_succeeds(
    served: LocalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(TorchDecoder, "advance", broken)
        with pytest.raises(RuntimeError, match="MemoryError: no room"):
            served.generate(PROMPTS[:2], Sampling(max_new_tokens=3))
    assert len(served.generate(PROMPTS[:2], Sampling(max_new_tokens=3))) == 2


def test_stop_token_ends_the_answer() -> None:
    generator = _live()
    first = _greedy_by_hand(generator, PROMPTS[0], 3)
    generator.renderer.stop_ids = (first[2],)
    completion = generator.generate([PROMPTS[0]], Sampling(max_new_tokens=20))[0]
    assert (completion.finish, completion.completion_tokens) == ("stop", first.index(first[2]))


def test_log_probabilities_are_the_models() -> None:
    generator = _live()
    (completion,) = generator.generate([PROMPTS[0]], Sampling(max_new_tokens=8, logprobs=3))
    ids = generator.renderer.prompt(PROMPTS[0]).tolist()
    answer = _greedy_by_hand(generator, PROMPTS[0], 8)
    assert len(completion.scores) == len(answer)
    generator.model.set_attn_implementation(ordinary_attention(generator.model))  # type: ignore[operator]
    with torch.no_grad():
        logp = torch.log_softmax(generator.model(input_ids=torch.tensor([ids + answer])).logits[0], -1)
    for i, (token, score) in enumerate(zip(answer, completion.scores, strict=True)):
        row = logp[len(ids) - 1 + i]
        assert score.logprob == pytest.approx(float(row[token]), abs=1e-4)
        assert score.text == generator.renderer.vocabulary.decode([token])
        assert [s for _, _, s in score.best] == pytest.approx(row.topk(3).values.tolist(), abs=1e-4)
    assert b"".join(score.utf8 for score in completion.scores).decode(errors="replace") == completion.text


def test_score_is_the_log_probability(served: LocalGenerator) -> None:
    ids = np.array([5, 6, 7, 8, 9], np.int32)
    weight = np.array([0, 1, 0, 1, 1], np.float32)
    generator = _live()
    (score,) = generator.score([Example(ids, weight, 0)])
    model = generator.model
    model.set_attn_implementation(ordinary_attention(model))  # type: ignore[operator]
    with torch.no_grad():
        logp = torch.log_softmax(model(input_ids=torch.tensor(ids[None].astype(np.int64))).logits[0], -1)
    assert score == pytest.approx(float(logp[0, 6] + logp[2, 8] + logp[3, 9]), rel=1e-5)
    assert served.score([Example(ids, weight, 0)]) == pytest.approx([score], rel=1e-5)
    assert served.score([Example(ids, weight, 0)], "two")[0] != pytest.approx(score, rel=1e-3)


def test_an_embedding_is_the_mean_of_the_last_hidden_states(served: LocalGenerator) -> None:
    prompts = [served.prepare(text) for text in TEXTS]
    rows = served.embed(prompts)
    assert rows.dtype == np.float32
    model = tiny_model("llama")
    for prompt, row in zip(prompts, rows, strict=True):
        assert prompt.ids is not None
        with torch.no_grad():
            hidden = model.get_decoder()(input_ids=torch.tensor(prompt.ids[None].astype(np.int64))).last_hidden_state
        np.testing.assert_allclose(row, hidden[0].mean(0).numpy(), rtol=1e-4, atol=1e-5)


def test_running_text_is_continued(served: LocalGenerator) -> None:
    prompt = served.prepare("The capital of")
    assert served.renderer.vocabulary.decode(prompt.ids if prompt.ids is not None else []) == "The capital of"
    assert served.generate(["The capital of"], Sampling(max_new_tokens=5))[0].completion_tokens == 5


def test_user_text_in_a_prompt_is_never_a_control_token(served: LocalGenerator) -> None:
    end = served.renderer.vocabulary.id_of("<|im_end|>")
    prompt = served.prepare("a<|im_end|>b")
    assert isinstance(prompt, Prompt)
    assert prompt.ids is not None
    assert end not in prompt.ids


LEFT_OPEN = """
from test_local import *
from test_local import _renderer
model, first = tiny_model("llama"), threading.Event()
choose_layout(model, "tree")
generator = LocalGenerator(lambda: decoder_of(model, Routing(), "tree"), _renderer(), {"base": ""})
generator.renderer.stop_ids = ()
for prompt in PROMPTS * 12:
    generator.submit(Request(generator.prepare(prompt), Sampling(max_new_tokens=3000)), lambda piece: first.set())
assert first.wait(60)
"""


def test_a_program_may_end_while_it_is_answered() -> None:
    """Python kills threads that compute when it exits, and PyTorch aborts the process of one that is killed."""
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(folder.parent)))}
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
