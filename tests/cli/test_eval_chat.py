"""`camelid eval` of a model that writes: the loss that training measured, and what was kept; adapters scaled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from program import camelid, recipe_file
from tiny import chat_rows, tiny_base, tiny_model, with_random_adapter

from camelid.errors import UserError
from camelid.evaluate.general import General
from camelid.model.adapter_parts import adapter_parts
from camelid.model.adapters import add_lora, scale_adapter
from camelid.model.layout import ordinary_attention
from camelid.recipe_sections import LoraSettings


@pytest.fixture(autouse=True)
def _few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """One question is enough here; which and how is asked is in tests/evaluate."""
    from camelid.evaluate import general

    questions = general.load_questions()[:2]
    monkeypatch.setattr(general, "load_questions", lambda: questions)


def _trained(folder: Path, **fields: Any) -> dict[str, Any]:
    held = chat_rows(folder / "held.jsonl")
    path = recipe_file(folder, eval_data=str(held), **fields)
    code, out, err = camelid("train", path, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize("method", ["lora", "ptuning2", "full"])
def test_the_loss_on_rows_is_what_training_measured(tmp_path: Path, method: str) -> None:
    result = _trained(tmp_path, method=method)
    code, out, err = camelid("eval", tmp_path / "run", tmp_path / "held.jsonl", "--max-length", "128", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["loss"] == pytest.approx(result["eval_losses"][-1][1], rel=1e-4)
    assert found["rows"] == {"read": 24, "kept": 24, "rejected": 0}
    assert ("general" in found) == (method == "full")
    if method != "full":
        assert found["retention"]["perplexity"]["en"]["rise"] != 0


def test_half_an_adapter_lies_between_the_base_and_the_whole(tmp_path: Path) -> None:
    result = _trained(tmp_path)
    losses = [result["eval_losses"][i][1] for i in (0, -1)]
    found = []
    for scale in (0, 0.5, 1):
        arguments = (
            "eval",
            tmp_path / "run",
            tmp_path / "held.jsonl",
            "--adapter-scale",
            str(scale),
            "--max-length",
            "128",
        )
        code, out, err = camelid(*arguments, "--json")
        assert code == 0, err
        found.append(json.loads(out))
    assert [found[0]["loss"], found[2]["loss"]] == pytest.approx(losses, rel=1e-4)
    assert losses[1] < found[1]["loss"] < losses[0]
    assert found[0]["retention"]["perplexity"]["zh"]["rise"] == 0


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}], ids=str)
def test_a_scaled_adapter_is_so_much_of_the_update(tmp_path: Path, settings: dict[str, Any]) -> None:
    """In PEFT's layers, and as the answer engine takes it: W + s * (W' - W)."""
    trainable = with_random_adapter(add_lora(tiny_model("llama"), LoraSettings(**settings), seed=1))
    assert trainable.peft is not None
    trainable.peft.save_pretrained(str(tmp_path))
    whole, half = (adapter_parts(tiny_model("llama"), tmp_path, scale=scale).updates for scale in (1.0, 0.5))
    assert whole
    for place, update in whole.items():
        assert half[place].scale == pytest.approx(update.scale / 2)
    lm = trainable.lm
    lm.set_attn_implementation(ordinary_attention(lm))  # type: ignore[operator]
    ids = torch.arange(5, 25)[None]
    with torch.no_grad(), trainable.without_adapter():
        base = lm(ids).logits
    scale_adapter(trainable.peft, 0.0, "here")
    with torch.no_grad():
        assert torch.equal(lm(ids).logits, base)


@pytest.mark.parametrize(
    ("method", "verb", "message"),
    [
        ("ptuning2", ("chat", "--prompt", "hi"), "these are virtual tokens"),
        ("ptuning2", ("eval",), "these are virtual tokens"),
        ("full", ("chat", "--prompt", "hi"), "no adapter to scale"),
        ("full", ("eval",), "no adapter to scale"),
        ("full", ("export", "--format", "hf"), "no adapter to scale"),
    ],
)
def test_what_cannot_be_scaled_is_refused(tmp_path: Path, method: str, verb: tuple[str, ...], message: str) -> None:
    _trained(tmp_path, method=method, max_steps=1)
    name, *rest = verb
    code, _, err = camelid(name, tmp_path / "run", *rest, "--adapter-scale", "0.5")
    assert code == 2
    assert message in err


def test_dora_is_not_scaled() -> None:
    trainable = add_lora(tiny_model("llama"), LoraSettings(use_dora=True), seed=1)
    assert trainable.peft is not None
    with pytest.raises(UserError, match="only plain LoRA"):
        scale_adapter(trainable.peft, 0.5, "here")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--column", "text=a"], "--column and --predictions are for"), (["no-such.jsonl"], "no-such.jsonl")],
)
def test_faults_of_the_command_are_said(arguments: list[str], message: str) -> None:
    code, _, err = camelid("eval", str(tiny_base()), *arguments)
    assert code == 2
    assert message in err


def test_a_model_without_a_base_has_figures_of_its_own() -> None:
    from camelid.cli.eval_chat import _alone

    found = _alone(General({"en": [(20.0, 10), (10.0, 10)]}, 3, ("a",)))
    assert found["perplexity"]["en"] == pytest.approx(4.4816891)
    assert found["plain_questions"] == {"right": 1, "asked": 3}
