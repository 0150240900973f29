"""What the exam measures on running text: the model's own log-probabilities, behind bos where texts begin with one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import tiny_base, tiny_model

import camelid.evaluate.exam as exam_module
from camelid.data.render import Renderer
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary
from camelid.evaluate.exam import Exam
from camelid.generate.local import LiveGenerator
from camelid.model.layout import choose_layout, ordinary_attention

TEXT = "The capital of France is Paris. 北京是中国的首都。"


def _exam(*, adds_bos: bool) -> Exam:
    own = Vocabulary.from_directory(tiny_base())
    vocabulary = replace(own, adds_bos=adds_bos)
    renderer = Renderer(vocabulary, template_for("auto", vocabulary), 4096)
    model = tiny_model("llama")
    layout, _ = choose_layout(model, "tree")
    return Exam(LiveGenerator(model, renderer, layout=layout), [])


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("window", [512, 5])
def test_log_probability_is_the_models_own(adds_bos: bool, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exam_module, "PASSAGE_TOKENS", window)
    exam = _exam(adds_bos=adds_bos)
    got, tokens = exam.log_probability(TEXT)
    model, vocabulary = exam.generator.model, exam.generator.renderer.vocabulary
    model.set_attn_implementation(ordinary_attention(model))  # type: ignore[operator]
    ids = vocabulary.backend.encode(TEXT, add_special_tokens=False).ids
    head = [vocabulary.id_of(vocabulary.bos or "")] if adds_bos else []
    total, predicted = 0.0, 0
    for start in range(0, len(ids), window):
        row = torch.tensor([head + ids[start : start + window]])
        with torch.no_grad():
            log_probs = model(input_ids=row).logits[0, :-1].log_softmax(-1)
        total += float(log_probs.gather(1, row[0, 1:, None]).sum())
        predicted += row.shape[1] - 1
    assert tokens == predicted
    assert got == pytest.approx(total, rel=1e-5)
