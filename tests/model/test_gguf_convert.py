"""GGUF -> Hugging Face directory: logits against the model the file was written from, and the cache's promises."""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gguf_writing import MODELS, bpe_metadata, random_model, write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

from camelid.errors import UserError
from camelid.model import gguf_convert
from camelid.model.gguf import GGUFFile
from camelid.model.gguf_convert import NOTE, cache_directory, converted
from camelid.model.gguf_layout import Layout, read_layout
from camelid.model.presets import preset_directory


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def logits(model: torch.nn.Module, rows: int = 512) -> torch.Tensor:
    ids = torch.randint(0, rows, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model(input_ids=ids).logits


CASES = [(name, "F32") for name in MODELS]
CASES += [("llama", "Q4_0"), ("llama", "Q8_0"), ("qwen3", "F16"), ("qwen3", "Q4_1"), ("gemma3", "BF16")]
CASES += [("gemma3", "Q5_1")]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_logits_equal_those_of_the_model_written(tmp_path: Path, name: str, kind: str) -> None:
    model = random_model(name)
    directory = converted(write_gguf(tmp_path / f"{name}.gguf", name, model, kind=kind))
    ours = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    torch.testing.assert_close(logits(ours), logits(model), rtol=1e-5, atol=1e-5)
    assert logits(ours).std() > 0.1  # not all alike: the comparison means something


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_broken_on_purpose_the_comparison_fails(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle sees a rotary order left as it is, and a norm offset forgotten."""

    def forgetful(file: GGUFFile) -> Layout:
        layout = read_layout(file)
        layout.rules = [replace(rule, heads=0, offset=0.0) for rule in layout.rules]
        return layout

    model = random_model(name)
    monkeypatch.setattr(gguf_convert, "read_layout", forgetful)
    directory = converted(write_gguf(tmp_path / f"{name}.gguf", name, model))
    ours = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    assert (logits(ours) - logits(model)).abs().max() > 1e-2


@pytest.mark.slow  # transformers' reader takes the time
def test_the_real_small_file_gives_transformers_own_logits(shared_data: Path) -> None:
    path = shared_data / "models" / "llama-2-tiny-random.gguf"
    ours = AutoModelForCausalLM.from_pretrained(converted(path), dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    torch.testing.assert_close(logits(ours, 32_000), logits(theirs, 32_000), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2", "gemma3-270m"])
def test_presets_give_transformers_own_logits(name: str, tmp_path: Path) -> None:
    try:
        directory = preset_directory(name, accept_license="gemma")
    except UserError as error:
        pytest.skip(str(error))
    path = _preset_file(name, tmp_path)
    ours = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    rows = ours.config.vocab_size
    torch.testing.assert_close(logits(ours, rows), logits(theirs, rows), rtol=1e-5, atol=1e-5)


def _preset_file(name: str, folder: Path) -> Path:
    from camelid.model.presets import PRESETS, _installed

    path = folder / "joined.gguf"
    path.write_bytes(b"".join(_installed(PRESETS[name], *file).read_bytes() for file in PRESETS[name].files))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "small.gguf", "llama", random_model("llama"))


def test_the_directory_is_a_whole_hugging_face_model(tmp_path: Path) -> None:
    extra = {"tokenizer.chat_template": "{{ messages }}", "general.license": "mit", "tokenizer.ggml.eot_token_id": 1}
    directory = converted(write_gguf(tmp_path / "m.gguf", "llama", random_model("llama"), extra=extra))
    assert json.loads((directory / "generation_config.json").read_text()) == {
        "bos_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": [2, 1, 0],
    }
    config = json.loads((directory / "config.json").read_text())
    assert (config["eos_token_id"], config["rms_norm_eps"], config["dtype"]) == (2, 1e-5, "float32")
    assert (directory / "chat_template.jinja").read_text() == "{{ messages }}"
    assert json.loads((directory / NOTE).read_text())["license"] == "mit"
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")
    assert tokenizer.decode(tokenizer.encode("你好 world")) == "你好 world"


def test_converted_once_and_again_when_the_file_changes(small: Path) -> None:
    said: list[str] = []
    first = converted(small, announce=said.append)
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert converted(small, announce=said.append) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    assert len(said) == 1
    write_gguf(small, "llama", random_model("llama", seed=1))
    os.utime(small, ns=(1, 1))
    assert converted(small, announce=said.append) != first


def test_a_damaged_copy_is_made_again_and_said(small: Path) -> None:
    directory = converted(small)
    whole = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(whole[:-5])
    said: list[str] = []
    assert converted(small, announce=said.append) == directory
    assert (directory / "model.safetensors").read_bytes() == whole
    assert "damaged" in said[0]


def test_a_kill_in_the_middle_leaves_no_directory_and_is_cleaned_up(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gguf_convert, "write_weights", killed)
        with pytest.raises(KeyboardInterrupt):
            converted(small)
    assert not [path for path in cache_directory().iterdir() if path.is_dir()]
    directory = converted(small)
    stale = directory.with_name(f".{directory.name}.partial-999999")  # as SIGKILL would leave it
    directory.rename(stale)
    assert converted(small) == directory
    assert not stale.exists()


def _convert(path: str) -> str:
    return str(converted(path))


def test_processes_at_once_make_one_directory(small: Path) -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        found = pool.map(_convert, [str(small)] * 3)
    assert len(set(found)) == 1
    assert [path.name for path in cache_directory().iterdir() if path.is_dir()] == [Path(found[0]).name]
    model = AutoModelForCausalLM.from_pretrained(found[0], dtype=torch.float32)
    torch.testing.assert_close(logits(model), logits(random_model("llama")), rtol=1e-5, atol=1e-5)


def test_a_full_disk_is_said_before_anything_is_written(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = gguf_convert.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(gguf_convert.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="GB are free"):
        converted(small)
    assert not [path for path in cache_directory().iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot write the converted model"):
        converted(small)


FAULTS = [
    ("a missing tensor", {"leave_out": "blk.1.ffn_down.weight"}, "blk.1.ffn_down.weight is missing"),
    ("a family unknown", {"extra": {"general.architecture": "mamba"}}, "supported are gemma, gemma2"),
    ("one of several parts", {"extra": {"split.count": 3}}, "one of 3 parts"),
    ("experts", {"extra": {"llama.expert_count": 8}}, "mixture of experts"),
    ("a strange rotary scaling", {"extra": {"llama.rope.scaling.type": "longrope"}}, "rotary scaling 'longrope'"),
    ("part of a head rotated", {"extra": {"llama.rope.dimension_count": 8}}, "a part of each head"),
    ("no context", {"extra": {"llama.context_length": 0}}, "context_length is 0"),
    ("a shape that differs", {"extra": {"llama.feed_forward_length": 97}}, "expected"),
    ("too many layers", {"extra": {"llama.block_count": 4_000_000_000}}, "block_count"),
    ("more layers than tensors", {"extra": {"llama.block_count": 3}}, "blk.2."),
    ("fewer layers than tensors", {"extra": {"llama.block_count": 1}}, "does not explain"),
    ("heads of zero", {"extra": {"llama.attention.head_count": 0}}, "head_count is 0"),
]


@pytest.mark.parametrize(("faults", "message"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_faults_are_one_line_that_names_them(tmp_path: Path, faults: dict, message: str) -> None:
    path = write_gguf(tmp_path / "faulty.gguf", "llama-tied", random_model("llama-tied"), **faults)
    with pytest.raises(UserError, match=message) as caught:
        converted(path)
    assert "\n" not in str(caught.value)
    assert "faulty.gguf" in str(caught.value)


def test_a_vocabulary_larger_than_the_embedding(tmp_path: Path) -> None:
    tokenizer = bpe_metadata()
    spare = 513 - len(tokenizer["tokenizer.ggml.tokens"])
    tokenizer["tokenizer.ggml.tokens"] += [f"spare{index}" for index in range(spare)]
    tokenizer["tokenizer.ggml.token_type"] += [1] * spare
    path = write_gguf(tmp_path / "m.gguf", "llama", random_model("llama"), tokenizer=tokenizer)
    with pytest.raises(UserError, match="513 tokens but its embedding only 512 rows"):
        converted(path)
