"""Models as GGUF: what is written is, by an independent reading, the model; what llama.cpp cannot compute is refused.

No llama.cpp is needed here; test_export_llama.py runs the same files in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from export_subjects import about_tiny, plan_of
from gguf_writing import MODELS, random_model
from tiny import tiny_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model import gguf_write
from camelid.model.export import plan_gguf, take_stored_values, weights_of, write_model
from camelid.model.gguf import GGUFFile
from camelid.model.gguf_convert import converted
from camelid.model.gguf_metadata import plan_file
from camelid.model.gguf_write import stored_difference

FAMILIES = [name for name in MODELS if name != "phi3"]
# Root mean square of rounding to 10 and 7 bits after the leading one, and to 127 steps a block of 32.
EXPECTED = {"F32": (0.0, 1e-6), "F16": (1e-4, 3e-4), "BF16": (1e-3, 2.5e-3), "Q8_0": (3e-3, 8e-3)}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def logits(model: Any) -> torch.Tensor:
    ids = torch.randint(0, 256, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model(input_ids=ids).logits


def written(tmp_path: Path, model: PreTrainedModel, kind: str) -> Path:
    path = tmp_path / f"model-{kind}.gguf"
    write_model(path, model, plan_of(model), kind)
    return path


@pytest.mark.parametrize("name", FAMILIES)
def test_a_float32_file_is_read_as_the_model(tmp_path: Path, name: str) -> None:
    model = random_model(name)
    ours = AutoModelForCausalLM.from_pretrained(converted(written(tmp_path, model, "f32")), dtype=torch.float32)
    torch.testing.assert_close(logits(ours), logits(model), rtol=1e-5, atol=1e-5)
    assert logits(model).std() > 0.1  # not all alike: the comparison means something


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("name", ["llama", "gemma3", "glm4"])
def test_stored_values_are_off_by_rounding_and_no_more(tmp_path: Path, name: str, kind: str) -> None:
    model = random_model(name)
    path = written(tmp_path, model, kind)
    errors = stored_difference(path, weights_of(model))
    assert kind.upper() in errors
    for stored, error in errors.items():
        low, high = EXPECTED[stored]
        assert low <= error <= high, stored
    take_stored_values(path, model)
    assert max(stored_difference(path, weights_of(model)).values()) <= 1e-6


@pytest.mark.parametrize("name", ["llama", "llama-bias"])
def test_broken_on_purpose_a_forgotten_rotary_order_is_seen(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(name)
    monkeypatch.setattr(gguf_write, "halves_together", lambda weight, heads: weight)
    assert stored_difference(written(tmp_path, model, "f32"), weights_of(model))["F32"] > 0.1


def test_the_head_is_written_only_where_it_is_not_the_embedding(tmp_path: Path) -> None:
    for name, own in (("llama", True), ("llama-tied", False)):
        with GGUFFile(written(tmp_path, random_model(name), "f32")) as file:
            assert ("output.weight" in file.tensors) is own


def test_llama_cpp_gives_mistral_no_window_so_its_context_ends_there() -> None:
    config = tiny_model("mistral").config
    assert plan_of(tiny_model("mistral")).plan.metadata["llama.context_length"] == config.sliding_window == 6


REFUSED = [
    ("another activation", "llama", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
    ("an unknown scaling", "llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "scaling 'dynamic'"),
    ("capped logits", "gemma3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0"),
    ("another scale", "gemma3", {"query_pre_attn_scalar": 64}, "query_pre_attn_scalar is 64"),
    (
        "layers out of step",
        "gemma3",
        {"layer_types": ["full_attention"] * 3 + ["sliding_attention"] * 4},
        "layer_types",
    ),
    ("a bias that is not there", "llama", {"attention_bias": True}, "attention_bias is True"),
    ("another architecture", "llama", {"model_type": "mamba"}, "type 'mamba' cannot be written"),
    ("heads of another size", "llama", {"head_dim": 16}, "the model has"),
    ("a quantised base", "qwen3", {"quantization_config": {"bits": 4}}, "quantization_config"),
]


@pytest.mark.parametrize(("name", "changes", "message"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_what_a_file_cannot_carry_is_refused_in_one_line(name: str, changes: dict[str, Any], message: str) -> None:
    model = random_model(name)
    shapes = {key: tuple(value.shape) for key, value in weights_of(model).items()}
    with pytest.raises(UserError, match=message) as caught:
        plan_file({**model.config.to_dict(), **changes}, shapes, Path("the-model"))
    assert str(caught.value).startswith("the-model: ")
    assert "--format hf" in str(caught.value)


def test_a_weight_too_large_for_float16_is_named(tmp_path: Path) -> None:
    model = random_model("llama")
    with torch.no_grad():
        model.get_parameter("model.layers.1.mlp.up_proj.weight")[3, 4] = 1e5
    with pytest.raises(UserError, match=r"layers.1.mlp.up_proj.weight reaches 1e\+05.*bf16"):
        written(tmp_path, model, "f16")
    assert stored_difference(written(tmp_path, model, "bf16"), weights_of(model))["BF16"] < 4e-3


def test_metadata_names_the_ends_the_template_and_the_licence(tmp_path: Path) -> None:
    about = about_tiny(license="MIT")
    path = tmp_path / "m.gguf"
    write_model(path, (model := random_model("llama")), plan_gguf(model, about), "f16")
    with GGUFFile(path) as file:
        found = file.metadata
        vocabulary = about.vocabulary
        assert found["tokenizer.ggml.eos_token_id"] == vocabulary.id_of("<|im_end|>")
        assert found["tokenizer.ggml.bos_token_id"] == vocabulary.id_of("<|endoftext|>")
        assert found["tokenizer.chat_template"] == about.template.source
        assert (found["general.license"], found["general.file_type"]) == ("MIT", 1)
        texts = found["tokenizer.ggml.tokens"]
        assert isinstance(texts, list)
        assert len(texts) == 512
        assert texts[-1] == "[PAD511]"
    directory = converted(path)
    assert json.loads((directory / "generation_config.json").read_text())["eos_token_id"][0] == 2
    again = Vocabulary.from_directory(directory)
    for text in ("你好 world", "<|im_end|> 12  3\n"):
        assert again.backend.encode(text).ids == vocabulary.backend.encode(text).ids
