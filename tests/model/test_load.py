"""Names -> models: every kind of name is found, every fault of the files is one line that says how to mend it."""

from __future__ import annotations

import gc
import json
import re
import shutil
import sys
import weakref
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from gguf_writing import random_model, write_gguf
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny import tiny_base
from transformers import AutoModelForCausalLM

from camelid.errors import UserError
from camelid.model import load, resolve
from camelid.model.load import Source, load_model, load_vocabulary, model_of_tensors
from camelid.model.presets import PRESETS
from camelid.model.resolve import resolve as find


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own cache, its own working directory, and no hub."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A Hugging Face directory that a test may damage."""
    return Path(shutil.copytree(tiny_base("llama"), tmp_path / "base"))


def edit(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text())
    value.update(changes)
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not ...}))


def adapter(base: Path, folder: Path, named: str | None = None) -> Path:
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    model.save_pretrained(str(folder))
    edit(folder / "adapter_config.json", base_model_name_or_path=named or str(base))
    return folder


# -- finding --------------------------------------------------------------------------------------------------------


def test_a_directory(base: Path) -> None:
    assert find(base) == Source("directory", base, None, "base", None)
    assert find("base").directory == Path("base")


def test_a_gguf_file_and_a_folder_with_one(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    extra = {"general.license": "apache-2.0"}
    path = write_gguf(tmp_path / "one" / "m.gguf", "llama", random_model("llama"), extra=extra)
    source = find(path)
    assert (source.kind, source.label, source.license) == ("gguf", "m.gguf", "apache-2.0")
    assert (source.directory / "config.json").is_file()
    assert find(path.parent).directory == source.directory
    shutil.copy(path, path.with_name("n.gguf"))
    with pytest.raises(UserError, match=r"name the file: m.gguf, n.gguf"):
        find(path.parent)


def test_a_run_directory_and_one_that_did_not_end(base: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(base, run / "final")
    assert find(run) == Source("run", run / "final", None, "run", None)
    (run / "checkpoints").mkdir()
    for step in (5, 40, 9):
        shutil.copytree(base, run / "checkpoints" / f"step-{step}")
    shutil.rmtree(run / "final")
    said: list[str] = []
    assert find(run, announce=said.append).directory == run / "checkpoints" / "step-40"
    assert "did not end" in said[0]
    assert "step-40" in said[0]
    shutil.rmtree(run / "checkpoints")
    (run / "recipe.yaml").write_text("base: nano")
    with pytest.raises(UserError, match="no final/ model yet — train on with resume=auto"):
        find(run)


def test_an_adapter_brings_its_base(base: Path, tmp_path: Path) -> None:
    folder = adapter(base, tmp_path / "tuned")
    assert find(folder) == Source("adapter", base, folder, "tuned on base", None)
    run = tmp_path / "run"
    run.mkdir()
    folder.rename(run / "final")
    assert find(run) == Source("run", base, run / "final", "run", None)


@pytest.mark.parametrize("named", ["tested", "/home/other/.cache/camelid/bases/tested-0123456789abcdef"])
def test_an_adapter_on_a_preset_of_whatever_machine(
    named: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tested", PRESETS["nano"])
    monkeypatch.setattr(resolve, "converted_preset", lambda name: base if name == "tested" else None)
    assert find(adapter(base, tmp_path / "tuned", named)).directory == base


def test_an_adapter_whose_base_is_gone(base: Path, tmp_path: Path) -> None:
    folder = adapter(base, tmp_path / "tuned", "/nowhere/base")
    with pytest.raises(UserError, match="base model '/nowhere/base' is not on this machine"):
        find(folder)
    edit(folder / "adapter_config.json", base_model_name_or_path="")
    with pytest.raises(UserError, match="names no base model"):
        find(folder)
    edit(folder / "adapter_config.json", base_model_name_or_path=str(folder))
    with pytest.raises(UserError, match="adapter on an adapter"):
        find(folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(UserError, match=r"no adapter_model\.safetensors — pickle"):
        find(folder)


NAMES = {
    "smolm2": "did you mean smollm2?",
    "Gemma3-270M": "did you mean gemma3-270m?",
    "bose": ") — did you mean base;",  # it might be an id: it is looked for
    "./bose": "did you mean base?",
    "/no/such/folder": "no model is found",
    "missing.gguf": "no model is found",
    "~/no-such-model": "no model is found",
    "base/sub/model": "no model is found",
    "two words": "no model is found",
    "a\nb": "no model is found",
    "": "no model is named",
    "modelscope:qwen": "write modelscope:organisation/name",
    "notes.txt": "only GGUF files are read as a single file",
    "nothing": "no model in this directory",
    "modelscope:Qwen/Qwen3-0.6B": "pip install modelscope",
    "some-org/some-model": "use modelscope:some-org/some-model",
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_found_is_said_with_the_nearest_name(name: str, base: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError) as caught:
        find(name)
    assert NAMES[name] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_modelscope_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    with pytest.raises(UserError, match=r"needs the package modelscope — run: .* -m pip install modelscope"):
        find("Qwen/Qwen3-0.6B")


def test_a_hub_model_that_is_cached_needs_no_network(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def snapshot(name: str, *, local_files_only: bool, **_: object) -> str:
        asked.append(local_files_only)
        return str(base)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert find("org/model") == Source("huggingface", base, None, "org/model", None)
    assert asked == [True]
    (base / "model.safetensors").unlink()  # only the config was fetched
    said: list[str] = []
    find("org/model", announce=said.append)
    assert asked == [True, True, False]
    assert "downloading" in said[0]


# -- loading --------------------------------------------------------------------------------------------------------


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 40)[None]).logits


def test_a_base_is_loaded_as_transformers_loads_it(base: Path) -> None:
    loaded = load_model(base, dtype="float32")
    torch.testing.assert_close(logits(loaded.model), logits(AutoModelForCausalLM.from_pretrained(base).eval()))
    assert not loaded.model.training
    assert loaded.vocabulary.eos == "<|im_end|>"
    half = load_model(base, dtype="bfloat16")
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}


def test_a_model_over_tensors_that_are_there(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    model = model_of_tensors(base, tensors)
    assert not model.training
    for name, tensor in model.state_dict().items():
        if name in tensors:
            assert tensor.data_ptr() == tensors[name].data_ptr(), f"{name} was copied"
    torch.testing.assert_close(logits(model), logits(load_model(base, dtype="float32").model), rtol=0, atol=0)


def test_tensors_that_do_not_make_the_model(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    name = next(name for name in tensors if "layers.1" in name)
    without = {key: value for key, value in tensors.items() if key != name}
    with pytest.raises(UserError, match=re.escape(name)):
        model_of_tensors(base, without)
    with pytest.raises(UserError, match="1 weights do not fit the model's configuration: more"):
        model_of_tensors(base, tensors | {"more": torch.zeros(1)})


def test_the_chosen_type_is_said(base: Path) -> None:
    said: list[str] = []
    model = load_model(base, announce=said.append).model
    assert said[0].startswith(f"compute type: {str(model.dtype).removeprefix('torch.')} (measured")


def test_an_adapter_is_applied_in_either_place(base: Path, tmp_path: Path) -> None:
    folder = adapter(base, tmp_path / "tuned")
    tuned = load_model(folder, dtype="float32").model
    beside = load_model(base, dtype="float32", adapter=folder, trainable=True).model
    torch.testing.assert_close(logits(tuned), logits(beside))
    assert (logits(tuned) - logits(load_model(base, dtype="float32").model)).abs().max() > 1e-4
    assert not any(parameter.requires_grad for parameter in tuned.parameters())
    assert any(parameter.requires_grad for parameter in beside.parameters())
    assert load_model(base, dtype="float32", adapter=folder).source.adapter_directory == folder
    with pytest.raises(UserError, match="this is no adapter"):
        load_model(base, dtype="float32", adapter=base)


def test_an_adapters_own_tokenizer_and_template_come_first(base: Path, tmp_path: Path) -> None:
    """Trained in one template, it is to be spoken to in the same; the base's own ends still stop it."""
    folder = adapter(base, tmp_path / "tuned")
    edit(base / "config.json", eos_token_id=[2, 1])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, folder)
    (folder / "chat_template.jinja").write_text("its own")
    vocabulary = load_model(folder, dtype="float32").vocabulary
    assert vocabulary.chat_template == "its own"
    assert vocabulary.eos_ids == (2, 1)
    assert load_model(base, dtype="float32").vocabulary.chat_template != "its own"


def test_a_tokenizer_that_is_held_is_not_read_again(base: Path) -> None:
    held = load_vocabulary(base)
    assert load_model(base, dtype="float32").vocabulary is held
    reference = weakref.ref(held)
    del held
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize(
    "name", ["chat_template.jinja", "generation_config.json", "additional_chat_templates/tool_use.jinja"]
)
def test_a_tokenizer_whose_files_changed_is_read_again(base: Path, name: str) -> None:
    before = load_vocabulary(base)
    (base / name).parent.mkdir(exist_ok=True)
    (base / name).write_text("{}" if name.endswith("json") else "{{ messages }}")
    after = load_vocabulary(base)
    assert after is not before
    assert after is load_vocabulary(base)


def test_an_adapter_of_another_model_is_refused(base: Path, tmp_path: Path) -> None:
    folder = adapter(base, tmp_path / "tuned")
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: torch.zeros(3, 3) for name in weights}, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match="the adapter does not fit the base"):
        load_model(folder, dtype="float32")


def test_from_scratch_needs_no_weights_and_follows_the_seed(base: Path) -> None:
    (base / "model.safetensors").unlink()
    before = torch.random.get_rng_state()
    one, same, other = (load_model(base, dtype="float32", from_scratch=True, seed=seed).model for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(logits(one), logits(same))
    assert not torch.equal(logits(one), logits(other))
    with pytest.raises(UserError, match=r"weights model\.safetensors are missing"):
        load_model(base, dtype="float32")


# -- faults ---------------------------------------------------------------------------------------------------------


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")


def without_one_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def another_shape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 3)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def noise(name: str) -> Any:
    return lambda folder: (folder / name).write_bytes(b"\x00\xff{[" * 9)


def config(**changes: Any) -> Any:
    return lambda folder: edit(folder / "config.json", **changes)


def tokenizer(**changes: Any) -> Any:
    return lambda folder: edit(folder / "tokenizer_config.json", **changes)


def index(names: list[str]) -> Any:
    value = json.dumps({"weight_map": dict.fromkeys("abc", names[0])})
    return lambda folder: (folder / "model.safetensors.index.json").write_text(value)


FAULTS = {
    "cut weights": (cut, r"cut or damaged: expected [\d,]+ bytes, found [\d,]+ — download or copy"),
    "weights that are noise": (noise("model.safetensors"), "not a sound safetensors file"),
    "only pickle": (only_pickle, "pytorch_model.bin is a pickle, which is never loaded"),
    "a weight missing": (without_one_weight, "1 of the model's weights are missing, such as model.layers.1.mlp"),
    "a weight of another shape": (another_shape, "transformers cannot load this model"),
    "a shard missing": (index(["model-00002.safetensors"]), "weights model-00002.safetensors are missing"),
    "a shard elsewhere": (index(["../../etc/passwd"]), "names no weight files of this directory"),
    "a config that is noise": (noise("config.json"), "config.json: cannot be read"),
    "no model type": (config(model_type=...), "names no model_type"),
    "a model type with a newline": (config(model_type="llama\nimport os"), "names no model_type"),
    "a model type of its own code": (config(model_type="my_own", auto_map={"AutoModel": "x.Y"}), "never run"),
    "an encoder": (config(model_type="clip"), "not causal language models"),
    "layers without end": (config(num_hidden_layers=10**9), "num_hidden_layers is 1000000000"),
    "a negative size": (config(hidden_size=-1), "hidden_size is -1"),
    "a vocabulary without end": (config(vocab_size=10**12), "vocab_size is"),
    "no end token": (tokenizer(eos_token=None), "no end token, so a tuned model would never stop"),
    "an end token that is not there": (tokenizer(eos_token="<nope>"), "no end token"),
    "an end token that is unknown": (tokenizer(unk_token="<|im_end|>"), "is also its unknown token"),
    "an end id outside": (config(eos_token_id=70_000), "eos_token_id 70000 is outside"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json here"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_a_base_are_one_line(name: str, base: Path) -> None:
    damage, message = FAULTS[name]
    damage(base)
    with pytest.raises(UserError, match=message) as caught:
        load_model(base, dtype="float32")
    assert "\n" not in str(caught.value)
    assert not Path("pwned").exists()


def test_a_tokenizer_larger_than_the_model(base: Path) -> None:
    value = json.loads((base / "tokenizer.json").read_text())
    count = max(value["model"]["vocab"].values()) + 1
    for extra in range(600):
        token = {"id": count + extra, "content": f"<extra{extra}>", "special": True}
        token |= {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        value["added_tokens"].append(token)
    (base / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match=r"tokens but the model only 512 rows of embeddings"):
        load_model(base, dtype="float32")


def test_ends_that_disagree_are_said(base: Path) -> None:
    edit(base / "config.json", eos_token_id=1)
    (base / "generation_config.json").unlink()
    said: list[str] = []
    loaded = load_model(base, dtype="float32", announce=said.append)
    assert "generation ends at [1], but the tokenizer's end token is '<|im_end|>' (2)" in said[-1]
    assert set(loaded.vocabulary.eos_ids) == {1, 2}


def test_resolving_imports_no_torch() -> None:
    """The lines above `_build` in load.py must stay free of it: `camelid plan` and `doctor` resolve names."""
    heavy = {"torch", "transformers", "peft"}
    for module in (load, resolve):
        source = Path(module.__file__ or "").read_text(encoding="utf-8")
        top = [line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))]
        assert not heavy & set(top)
    assert "torch" in sys.modules
