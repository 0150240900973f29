"""Cached = uncached, batched = single, streamed = whole; prompts read as a tree answer as each alone would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, tiny_base, tiny_model

from camelid.data.pack import Example
from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Renderer
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary
from camelid.generate.base import EchoGenerator, Sampling
from camelid.generate.local import LocalGenerator
from camelid.model.layout import choose_layout, ordinary_attention

TEXTS = ["Sort 3, 1, 2", "你好", "Sort 3, 1, 2 and 9 please", "What is the capital of France?", "请排序：3、1、2"]
PROMPTS = [Conversation((Message("user", text),), Origin("test", i)) for i, text in enumerate(TEXTS)]


def _generator(architecture: str = "llama") -> LocalGenerator:
    vocabulary = Vocabulary.from_directory(tiny_base())
    model = tiny_model(architecture)
    layout, _ = choose_layout(model, "tree")
    return LocalGenerator(model, Renderer(vocabulary, template_for("auto", vocabulary), 4096), layout=layout)


def _greedy_by_hand(generator: LocalGenerator, prompt: Conversation, count: int) -> list[int]:
    """No cache, no batch, the model's own attention: the oracle."""
    model = generator.model
    model.set_attn_implementation(ordinary_attention(model))  # type: ignore[operator]
    ids = generator.renderer.prompt(prompt).tolist()
    answer: list[int] = []
    with torch.no_grad():
        while len(answer) < count:
            token = int(model(input_ids=torch.tensor([ids + answer])).logits[0, -1].argmax())
            if token in generator.renderer.stop_ids:
                break
            answer.append(token)
    return answer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batch_from_a_tree_equals_each_prompt_alone_uncached(architecture: str) -> None:
    generator = _generator(architecture)
    completions = generator.generate(PROMPTS, Sampling(max_new_tokens=20))
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        answer = _greedy_by_hand(generator, prompt, 20)
        assert completion.text == generator.renderer.vocabulary.decode(answer)
        assert completion.completion_tokens == len(answer)
        assert completion.finish == ("length" if len(answer) == 20 else "stop")


def test_separate_layout_answers_the_same() -> None:
    generator = _generator()
    wanted = [c.text for c in generator.generate(PROMPTS, Sampling(max_new_tokens=12))]
    generator.layout = "separate"
    assert [c.text for c in generator.generate(PROMPTS, Sampling(max_new_tokens=12))] == wanted


def test_a_sampled_answer_depends_on_its_seed_and_not_on_the_batch() -> None:
    generator = _generator()
    sampling = Sampling(max_new_tokens=16, temperature=1.0, top_p=0.95, top_k=50, seed=5)
    together = [c.text for c in generator.generate(PROMPTS, sampling)]
    alone = [generator.generate([prompt], sampling)[0].text for prompt in PROMPTS]
    assert together == alone
    other = [c.text for c in generator.generate(PROMPTS, Sampling(max_new_tokens=16, temperature=1.0, seed=6))]
    assert other != together


def test_streamed_equals_whole() -> None:
    generator = _generator()
    for prompt in PROMPTS:
        pieces = list(generator.stream(prompt, Sampling(max_new_tokens=25)))
        assert "".join(pieces) == generator.generate([prompt], Sampling(max_new_tokens=25))[0].text


def test_stop_token_ends_the_answer() -> None:
    generator = _generator()
    first = _greedy_by_hand(generator, PROMPTS[0], 3)
    generator.renderer.stop_ids = (first[2],)
    completion = generator.generate([PROMPTS[0]], Sampling(max_new_tokens=20))[0]
    assert (completion.finish, completion.completion_tokens) == ("stop", first.index(first[2]))


def test_repetition_penalty_and_greedy_limits() -> None:
    generator = _generator()
    plain = generator.generate(PROMPTS, Sampling(max_new_tokens=20))
    penalised = generator.generate(PROMPTS, Sampling(max_new_tokens=20, repetition_penalty=3.0))
    assert [c.text for c in plain] != [c.text for c in penalised]
    for prompt, completion in zip(PROMPTS, penalised, strict=True):
        assert completion.prompt_tokens == len(generator.renderer.prompt(prompt))


@pytest.mark.parametrize(
    "wrong", [{"max_new_tokens": 0}, {"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"repetition_penalty": 0}]
)
def test_impossible_sampling_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"needed|positive"):
        Sampling(**wrong)


def test_score_is_the_log_probability() -> None:
    generator = _generator()
    ids = np.array([5, 6, 7, 8, 9], np.int32)
    weight = np.array([0, 1, 0, 1, 1], np.float32)
    (score,) = generator.score([Example(ids, weight, 0)])
    model = generator.model
    model.set_attn_implementation(ordinary_attention(model))  # type: ignore[operator]
    with torch.no_grad():
        logp = torch.log_softmax(model(input_ids=torch.tensor(ids[None].astype(np.int64))).logits[0], -1)
    assert score == pytest.approx(float(logp[0, 6] + logp[2, 8] + logp[3, 9]), rel=1e-5)


def test_echo_is_a_generator() -> None:
    echo = EchoGenerator()
    assert [c.text for c in echo.generate(PROMPTS, Sampling())] == TEXTS
    assert "".join(echo.stream(PROMPTS[1], Sampling())) == TEXTS[1]
