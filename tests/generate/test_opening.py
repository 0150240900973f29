"""What a user names is opened by the right engine, under names that can be asked for; faults are said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from serving import KEY, serving
from tiny import tiny_base, tiny_model

from camelid.data.records import Conversation, Message, Origin
from camelid.errors import UserError
from camelid.generate.base import Request, Sampling
from camelid.generate.echo import EchoGenerator
from camelid.generate.opening import Opened, Wanted, open_generator
from camelid.model.adapters import add_lora
from camelid.recipe_sections import LoraSettings

TALK = Conversation((Message("user", "Sort 3, 1, 2"),), Origin("test", 1))
SAMPLING = Sampling(max_new_tokens=8)


def _adapter(folder: Path, seed: int) -> Path:
    trainable = add_lora(tiny_model("llama"), LoraSettings(r=2), seed=0)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in trainable.named_parameters().items():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    assert trainable.peft is not None
    trainable.peft.peft_config["default"].base_model_name_or_path = str(tiny_base())
    trainable.peft.save_pretrained(str(folder))
    return folder


def _open(said: list[str], **fields: object) -> Opened:
    return open_generator(Wanted(**fields), said.append)  # type: ignore[arg-type]


def _texts(opened: Opened) -> dict[str, str]:
    generator = opened.generator
    try:
        requests = [Request(generator.prepare(TALK), SAMPLING, name) for name in generator.models]
        return dict(zip(generator.models, (a.text for a in generator.generate_each(requests)), strict=True))
    finally:
        generator.close()


def test_a_base_alone() -> None:
    said: list[str] = []
    opened = _open(said, model=str(tiny_base()), dtype="float32")
    assert (opened.engine, opened.kinds) == ("local", {tiny_base().name: "base"})
    assert opened.generator.slots == 64
    assert len(_texts(opened)) == 1


def test_an_adapter_answers_first_and_its_base_beside_it(tmp_path: Path) -> None:
    run = tmp_path / "my-run"
    one, two = _adapter(run / "final", 1), _adapter(tmp_path / "other", 2)
    base = str(tiny_base())
    texts = _texts(_open([], model=str(run), adapters={"second": two}, dtype="float32", slots=2))
    assert list(texts) == ["my-run", "second", tiny_base().name]
    assert len(set(texts.values())) == 3
    assert _texts(_open([], model=base, adapters={"a": one, "b": two}, dtype="float32")) == {
        "a": texts["my-run"],
        "b": texts["second"],
        tiny_base().name: texts[tiny_base().name],
    }


def test_names_that_clash_and_what_is_no_adapter(tmp_path: Path) -> None:
    adapter = _adapter(tmp_path / "x", 1)
    for adapters, why in (
        ({tiny_base().name: adapter}, "as its base is"),
        ({"y": tiny_base()}, "no adapter"),
    ):
        with pytest.raises(UserError, match=why):
            _open([], model=str(tiny_base()), adapters=adapters, dtype="float32")
    with pytest.raises(UserError, match="two adapters are called 'x'"):
        _open([], model=str(adapter), adapters={"x": adapter}, dtype="float32")
    with pytest.raises(UserError, match=r"llama\.cpp runs GGUF files"):
        _open([], model=str(tiny_base()), engine="llamacpp")


def test_an_endpoints_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    echo = EchoGenerator()
    try:
        with serving(echo) as server:
            opened = _open([], model=f"{server.url}/v1#echo")
            assert (opened.engine, opened.generator.models) == ("remote", ("echo",))
            assert _texts(opened) == {"echo": "Sort 3, "}
    finally:
        echo.close()
    with pytest.raises(UserError, match="which of the endpoint's models"):
        _open([], model="http://127.0.0.1:1/v1")
    with pytest.raises(UserError, match="its own engine"):
        _open([], model="http://127.0.0.1:1/v1#m", engine="local")


def test_llama_cpp_is_taken_of_itself_for_a_gguf_base() -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (pip install '.[gguf]')")
    said: list[str] = []
    opened = _open(said, model="smollm2")
    assert (opened.engine, opened.generator.slots) == ("llamacpp", 16)
    assert any("llama.cpp" in line and "--engine local" in line for line in said)
    assert set(_texts(opened)) == {"smollm2"}


def test_without_llama_cpp_it_is_said_what_would_be_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camelid.generate.opening.llama_cpp_installed", lambda: False)
    said: list[str] = []
    opened = _open(said, model="smollm2", dtype="float32", slots=1)
    opened.generator.close()
    assert opened.engine == "local"
    assert any("pip install 'camelid[gguf]'" in line for line in said)
