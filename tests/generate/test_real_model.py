"""SmolLM2 itself: the engine's answers are transformers', token for token; JSON under a schema always parses."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import torch

from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Renderer
from camelid.data.skills import make_skill_rows
from camelid.data.templates import template_for
from camelid.generate.base import Sampling
from camelid.generate.local import LiveGenerator
from camelid.model.layout import choose_layout
from camelid.model.load import load_model

TIE = 2e-4  # two logits nearer than this are a tie: both programs round float32 sums, each in its own order


@cache
def _model() -> tuple[Any, Renderer]:
    loaded = load_model("smollm2", dtype="float32")
    choose_layout(loaded.model, "tree")
    return loaded.model, Renderer(loaded.vocabulary, template_for("auto", loaded.vocabulary), 1 << 20)


def _prompts(count: int) -> list[Conversation]:
    """Chinese and English questions of our skills, a quarter of them behind a long system prompt."""
    system = Message("system", "You answer briefly and truly. 你的回答简短而真实。" * 12)
    talks = []
    for i, row in enumerate(make_skill_rows(5, count)):
        head = (system,) if i % 4 == 0 else ()
        talks.append(Conversation((*head, *row.conversation.messages), Origin("skills", i)))
    return talks


def _reference(model: Any, ids: np.ndarray, count: int) -> torch.Tensor:
    tokens = torch.from_numpy(ids.astype(np.int64))[None]
    model.set_attn_implementation("sdpa")
    try:
        return model.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=count, do_sample=False, pad_token_id=0
        )[0, len(ids) :]
    finally:
        choose_layout(model, "tree")


def _is_tie(model: Any, ids: list[int], left: int, right: int) -> bool:
    with torch.no_grad():
        model.set_attn_implementation("sdpa")
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
    choose_layout(model, "tree")
    return abs(float(logits[left] - logits[right])) < TIE


def _require_same(model: Any, ids: np.ndarray, ours: list[int], wanted: list[int]) -> int:
    """1 where two answers part at a tie, 0 where they are the same; anything else is a failure."""
    if ours == wanted:
        return 0
    at = next((i for i, pair in enumerate(zip(ours, wanted, strict=False)) if pair[0] != pair[1]), -1)
    assert at >= 0, f"one answer is a part of the other: {ours} {wanted}"
    assert _is_tie(model, [*ids.tolist(), *wanted[:at]], ours[at], wanted[at]), f"token {at} of {ours} {wanted}"
    return 1


@pytest.mark.slow
def test_two_hundred_answers_are_transformers() -> None:
    """Answers of a batch against transformers' one by one, and some of them against themselves alone."""
    count, new = 200, 32
    model, renderer = _model()
    prompts = _prompts(count)
    generator = LiveGenerator(model, renderer)
    sampling = Sampling(max_new_tokens=new, logprobs=0)
    answers = generator.generate(prompts, sampling)
    ties = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = renderer.prompt(prompt)
        wanted = [int(i) for i in _reference(model, ids, new)]
        if wanted[-1] in renderer.stop_ids:
            del wanted[-1]
        ties += _require_same(model, ids, list(answer.ids), wanted)
        assert answer.text == renderer.vocabulary.decode(answer.ids)
        assert (answer.prompt_tokens, answer.completion_tokens) == (len(ids), len(answer.ids))
    assert ties <= count // 50
    some = range(0, count, count // 8)
    assert [generator.generate([prompts[i]], sampling)[0] for i in some] == [answers[i] for i in some]


SCHEMA = json.loads((Path(__file__).parents[1] / "cases" / "answer_schema.json").read_text("utf-8"))


@pytest.mark.slow
def test_two_hundred_answers_under_a_schema_parse_and_validate() -> None:
    model, renderer = _model()
    for temperature, budget in ((0.0, 48), (1.0, 96)):
        sampling = Sampling(max_new_tokens=budget, temperature=temperature, schema=json.dumps(SCHEMA), seed=1)
        answers = LiveGenerator(model, renderer).generate(_prompts(100), sampling)
        for answer in answers:
            jsonschema_rs.validate(SCHEMA, json.loads(answer.text))
            assert answer.finish == "stop"
