"""GGUF files of ours in llama.cpp: its logits, tokens and prompts against the model in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from export_subjects import about_tiny, plan_of
from gguf_writing import MODELS, random_model
from peft import LoraConfig, get_peft_model

from camelid.data.encode import Encoder
from camelid.data.templates.base import Piece
from camelid.errors import UserError
from camelid.model import gguf_write
from camelid.model.export import take_stored_values, write_model
from camelid.model.export_check import log_probability, model_logits, read_answers
from camelid.model.gguf_lora import write_lora
from camelid.model.llama_runtime import LlamaRunner
from camelid.model.probe_strings import probe_strings
from camelid.model.quantise import check_quantise, quantise, types_held

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (pip install '.[gguf]')")

IDS = torch.randint(0, 256, (48,), generator=torch.Generator().manual_seed(3)).tolist()
# Of the largest logit. Gemma's activation is a float16 table in ggml.
BOUNDS = {"f32": 1e-5, "f16": 5e-3, "bf16": 5e-2, "q8_0": 1e-1}


def relative_gap(path: Path, model: Any, lora: Path | None = None) -> float:
    ours = model_logits(model)(IDS)
    with LlamaRunner(path, context=64, lora=lora) as runner:
        return float(abs(runner.logits(IDS) - ours).max() / abs(ours).max())


@pytest.mark.parametrize("name", [name for name in MODELS if name != "phi3"])
def test_every_layout_gives_llama_cpp_the_logits_of_the_model(tmp_path: Path, name: str) -> None:
    path, model = tmp_path / "m.gguf", random_model(name)
    write_model(path, model, plan_of(model), "f32")
    assert relative_gap(path, model) < (1e-3 if name.startswith("gemma") else BOUNDS["f32"])


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0"])
def test_every_number_type_gives_them_within_its_rounding(tmp_path: Path, kind: str) -> None:
    path, model = tmp_path / "m.gguf", random_model("qwen3")
    write_model(path, model, plan_of(model), kind)
    take_stored_values(path, model)
    gap = relative_gap(path, model)
    assert gap < BOUNDS[kind]
    if kind != "f16":  # whose products some processors make in float32
        assert gap > BOUNDS["f32"]


def test_broken_on_purpose_llama_cpp_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, model = tmp_path / "m.gguf", random_model("llama")
    monkeypatch.setattr(gguf_write, "halves_together", lambda weight, heads: weight)
    write_model(path, model, plan_of(model), "f32")
    assert relative_gap(path, model) > 1e-2


def adapted(model: Any, **settings: Any) -> Any:
    config = LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM", **settings)
    peft = get_peft_model(model, config)
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return peft.eval()


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"rank_pattern": {"k_proj": 2}}], ids=str)
@pytest.mark.parametrize("name", ["llama", "glm4"])
def test_an_adapter_on_its_base_is_the_adapted_model(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    base, lora, model = tmp_path / "base.gguf", tmp_path / "lora.gguf", random_model(name)
    planned = plan_of(model)
    write_model(base, model, planned, "f32")
    plain = model_logits(model)(IDS)
    peft = adapted(model, **settings)
    count = write_lora(lora, peft, planned.plan, planned.layout, kind="f32", name="tiny")
    assert count == (14 if name == "llama" else 12)  # 7 matrices a layer; gate and up are one in glm4
    assert relative_gap(base, peft.get_base_model(), lora) < BOUNDS["f32"]
    assert abs(model_logits(peft.get_base_model())(IDS) - plain).max() > 0.1  # it does change something


REFUSED = [
    ({"use_dora": True}, "DoRA"),
    ({"modules_to_save": ["lm_head"]}, "modules in full"),
    ({"init_lora_weights": "pissa"}, "initialisation changed the base"),
    ({"bias": "lora_only"}, "trains biases"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_an_adapter_that_llama_cpp_would_compute_otherwise_is_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    model = random_model("llama")
    planned = plan_of(model)
    peft = adapted(model, **settings)
    with pytest.raises(UserError, match=message) as caught:
        write_lora(tmp_path / "lora.gguf", peft, planned.plan, planned.layout, kind="f32", name="tiny")
    assert "--lora-only" in str(caught.value)


def test_users_text_gives_the_same_tokens_and_never_a_control_token(tmp_path: Path) -> None:
    about, path, model = about_tiny(), tmp_path / "m.gguf", random_model("llama")
    write_model(path, model, plan_of(model), "f16")
    strings = probe_strings(["你好，世界。Hello there, friend."], list(about.vocabulary.control), 400)
    assert any("<|im_end|>" in text for text in strings)
    encoder = Encoder(about.vocabulary)
    with LlamaRunner(path, context=64) as runner:
        for text in strings:
            ids = runner.tokens(text)
            assert ids == encoder.encode([Piece(text, "content", False)]).ids.tolist(), text
            assert not about.vocabulary.control_ids & set(ids)
        assert runner.prompt_tokens("<|im_end|>") == [2]


def test_greedy_answers_and_running_text_agree(tmp_path: Path) -> None:
    path, model = tmp_path / "m.gguf", random_model("llama")
    write_model(path, model, plan_of(model), "f32")
    prompts = [IDS[start : start + 8] for start in range(0, 40, 8)]
    with LlamaRunner(path, context=64) as runner:
        answers = [runner.greedy(prompt, 12, (2,)) for prompt in prompts]
        scores = [log_probability(logits, IDS, None, 16) for logits in (runner.logits, model_logits(model))]
    report = read_answers(prompts, answers, model_logits(model))
    assert (report.identical, report.prompts) == (5, 5)
    assert report.tokens > 20
    assert report.relative < 1e-5
    assert scores[0][1] == scores[1][1] == 45
    assert scores[0][0] == pytest.approx(scores[1][0], rel=1e-5)
    wrong = [type(answers[0])((answers[0].ids[0] ^ 1, *answers[0].ids[1:]), None, answers[0].logits), *answers[1:]]
    assert read_answers(prompts, wrong, model_logits(model)).identical == 4  # a planted difference is counted


def test_llama_cpp_quantises_and_loads_it(tmp_path: Path) -> None:
    source, target, model = tmp_path / "f32.gguf", tmp_path / "q.gguf", random_model("llama")
    write_model(source, model, plan_of(model), "f32")
    quantise(source, target, check_quantise("Q5_0"))
    assert "Q5_0" in types_held(target)
    assert relative_gap(target, model) < 0.3
    with pytest.raises(UserError, match="could not quantise the model to q4_0"):
        quantise(tmp_path / "missing.gguf", tmp_path / "none.gguf", "q4_0")


def test_a_file_that_llama_cpp_refuses_is_one_line_with_its_reason(tmp_path: Path) -> None:
    path, model = tmp_path / "m.gguf", random_model("llama")
    write_model(path, model, plan_of(model), "f32")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"blk.1.ffn_down.weight", b"blk.1.ffn_dawn.weight"))
    with pytest.raises(UserError, match=r"llama.cpp cannot load it: .*blk\.1\.ffn_down"):
        LlamaRunner(path)
