"""Answers with virtual tokens: all kinds and the base in one batch, each as the model alone without a cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_base, tiny_model
from virtual_subjects import COUNT, KINDS, virtual_model

from camelid.data.pack import Example
from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Renderer
from camelid.data.templates import template_for
from camelid.data.tree import build_tree
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.generate.base import Request, Sampling
from camelid.generate.local import LiveGenerator, LocalGenerator, decoder_of
from camelid.generate.opening import Wanted, open_generator
from camelid.generate.plain import PlainDecoder
from camelid.model.adapter_parts import adapter_parts, virtual_parts
from camelid.model.adapters import Trainable
from camelid.model.head import head_of
from camelid.model.layout import choose_layout, edge_output, hidden_states
from camelid.model.packed import Routing
from camelid.model.packed_layers import pack_for_good

LONG = "Give three tips for staying healthy. Eat well, sleep well, and move every day. " * 6
TEXTS = ["Sort 3, 1, 2", "你好", LONG, LONG + "please", "What is the capital of France?"]
FAMILIES = ["gemma3", "glm4", "llama", "qwen3"]


def _conversation(text: str) -> Conversation:
    return Conversation((Message("user", text),), Origin("test", 1))


def _renderer() -> Renderer:
    vocabulary = Vocabulary.from_directory(tiny_base())
    return Renderer(vocabulary, template_for("auto", vocabulary), 4096)


def _greedy(made: Trainable, ids: list[int], count: int, stops: Any) -> list[int]:
    """No cache and no batch."""
    answer: list[int] = []
    while len(answer) < count:
        path = np.array(ids + answer, np.int32)
        with torch.no_grad():
            hidden = hidden_states(made.lm, build_tree([path], [np.zeros(len(path), np.float32)]), "tree")
            token = int(head_of(made.lm).logits(hidden[-1:]).argmax())
        if token in stops:
            break
        answer.append(token)
    return answer


def _made(architecture: str) -> dict[str, Trainable]:
    made = {kind: virtual_model(architecture, kind) for kind in KINDS}
    for trainable in made.values():
        trainable.lm.eval()
    return made


def _saved(made: dict[str, Trainable], folder: Path) -> dict[str, Path]:
    directories = {}
    for kind, trainable in made.items():
        directories[kind] = folder / kind
        directories[kind].mkdir()
        assert trainable.virtual is not None
        trainable.virtual.save(directories[kind], str(tiny_base()))
    return directories


@pytest.fixture(params=FAMILIES)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[LocalGenerator, dict[str, Trainable]]]:
    """A generator that answers as the base and by an adapter of each kind."""
    made = _made(request.param)
    model, routing = tiny_model(request.param), Routing()
    choose_layout(model, "tree")
    parts = {kind: adapter_parts(model, path) for kind, path in _saved(made, tmp_path).items()}
    pack_for_good(model, routing, layout="tree")
    names = {"base": "", **{kind: kind for kind in KINDS}}
    generator = LocalGenerator(lambda: decoder_of(model, routing, "tree", 9, parts), _renderer(), names)
    yield generator, made
    generator.close()


def test_a_batch_of_all_kinds_answers_as_each_alone_without_a_cache(
    served: tuple[LocalGenerator, dict[str, Trainable]],
) -> None:
    """Prompts of several blocks, common ones among them, asked twice: the second time blocks come from the store."""
    generator, made = served
    renderer = generator.renderer
    requests = [
        Request(generator.prepare(_conversation(text)), Sampling(max_new_tokens=8, logprobs=0), name)
        for text in TEXTS
        for name in ("base", *KINDS)
    ]
    answers = generator.generate_each(requests)
    again = generator.generate_each(requests)
    alone = [generator.generate_each([request])[0] for request in requests[:: len(KINDS)]]
    if type(made["prompt"].lm).__name__ != "Gemma3ForCausalLM":  # 80 wide: scalar GELU for what is left of 32 lanes
        assert again == answers, "the same bits, whatever was kept"
        assert alone == answers[:: len(KINDS)], "and whatever the company"
    assert [a.text for a in again] == [a.text for a in answers]
    for request, completion in zip(requests, answers, strict=True):
        trainable = made["prompt" if request.model == "base" else request.model]
        assert request.prompt.ids is not None
        ids = request.prompt.ids.tolist()
        if request.model == "base":
            with trainable.without_adapter():
                wanted = _greedy(trainable, ids, 8, renderer.stop_ids)
        else:
            wanted = _greedy(trainable, ids, 8, renderer.stop_ids)
        assert completion.text == renderer.vocabulary.decode(wanted)
    assert len({completion.text for completion in answers[: 1 + len(KINDS)]}) > 3
    assert generator.context == 4096 - COUNT


def test_scores_and_embeddings_are_the_adapters(served: tuple[LocalGenerator, dict[str, Trainable]]) -> None:
    generator, made = served
    ids = np.array([3, 5, 7, 9, 11, 13, 17, 19], np.int32)
    weight = np.r_[0, np.ones(len(ids) - 1)].astype(np.float32)
    for kind, trainable in made.items():
        with torch.no_grad():
            out = edge_output(trainable.lm, build_tree([ids], [weight]), "tree")
            hidden = hidden_states(trainable.lm, build_tree([ids], [np.zeros(len(ids), np.float32)]), "tree")
        (score,) = generator.score([Example(ids, weight, 0)], kind)
        assert score == pytest.approx(float((out.logp * out.weight).sum()), rel=1e-5)
        embedded = generator._batcher.call(lambda decoder, kind=kind: decoder.embed(ids, kind))
        np.testing.assert_allclose(embedded, hidden.mean(0).numpy(), atol=1e-5)


@pytest.mark.parametrize("layout", ["tree", "separate"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_being_trained_answers_with_its_virtual_tokens(kind: str, layout: str) -> None:
    made = virtual_model("llama", kind, layout=layout)
    generator = LiveGenerator(made.lm, _renderer(), layout=layout)
    answers = generator.generate([_conversation(text) for text in TEXTS[:3]], Sampling(max_new_tokens=8))
    oracle = virtual_model("llama", kind)
    oracle.lm.eval()
    for text, completion in zip(TEXTS, answers, strict=False):
        ids = generator.renderer.prompt(_conversation(text)).tolist()
        wanted = _greedy(oracle, ids, 8, generator.renderer.stop_ids)
        assert completion.text == generator.renderer.vocabulary.decode(wanted)
    again = generator.generate([_conversation(text) for text in TEXTS[:3]], Sampling(max_new_tokens=8))
    assert again == answers, "the model has its own layers again"


@pytest.mark.parametrize("kind", ["prompt", "ptuning"])
def test_models_of_the_separate_layout_answer_with_learned_embeddings(kind: str, tmp_path: Path) -> None:
    made = virtual_model("llama", kind)
    made.lm.eval()
    directory = _saved({kind: made}, tmp_path)[kind]
    model = tiny_model("llama")
    choose_layout(model, "separate")
    parts = adapter_parts(model, directory, "separate")
    assert parts.first is not None
    decoder = PlainDecoder(model, Routing(), slots=2, first={"tuned": parts.first})
    ids = np.array([3, 5, 7, 9, 11, 13, 17, 19], np.int32)
    slot = decoder.open(ids, "tuned", 20)
    (_,), logits = decoder.advance({})
    answer = [int(logits.argmax())]
    while len(answer) < 6:
        (_,), logits = decoder.advance({slot: answer[-1]})
        answer.append(int(logits.argmax()))
    assert answer == _greedy(made, ids.tolist(), 6, ())
    weight = np.r_[0, np.ones(len(ids) - 1)].astype(np.float32)
    with torch.no_grad():
        out = edge_output(made.lm, build_tree([ids], [weight]), "tree")
    score = decoder.score(Example(ids, weight, 0), "tuned")
    assert score == pytest.approx(float((out.logp * out.weight).sum()), rel=1e-5)
    assert decoder.context == 4096 - COUNT


def test_learned_keys_are_refused_where_attention_cannot_be_taken_over() -> None:
    made = virtual_model("llama", "ptuning2")
    assert made.virtual is not None
    with pytest.raises(UserError, match="cannot be put into"):
        virtual_parts(made.lm, made.virtual, "separate", "somewhere")


def test_a_saved_adapter_is_opened_beside_its_base(tmp_path: Path) -> None:
    """And llama.cpp, which knows none but LoRA, is refused."""
    made = _made("llama")
    directories = _saved(made, tmp_path)
    opened = open_generator(
        Wanted(str(directories["ptuning2"]), adapters={"p": directories["prompt"]}, dtype="float32"), print
    )
    try:
        assert opened.kinds == {
            "ptuning2": "adapter",
            "p": "adapter",
            next(iter(set(opened.kinds) - {"ptuning2", "p"})): "base",
        }
        ids = opened.generator.prepare(_conversation("你好"))
        for name, kind in (("ptuning2", "ptuning2"), ("p", "prompt")):
            (answer,) = opened.generator.generate_each([Request(ids, Sampling(max_new_tokens=6), name)])
            assert ids.ids is not None
            wanted = _greedy(made[kind], ids.ids.tolist(), 6, _renderer().stop_ids)
            assert answer.text == _renderer().vocabulary.decode(wanted)
    finally:
        opened.generator.close()
