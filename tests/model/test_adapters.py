"""The fused LoRA layer computes what PEFT's own does; methods train exactly what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tiny import tiny_model, with_random_adapter

from camelid.errors import UserError
from camelid.model import projection
from camelid.model.adapters import FusedLoraLinear, Trainable, add_lora, continue_lora, freeze_all_but, train_in_full
from camelid.recipe_sections import FreezeSettings, LoraSettings

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11]])


def _adapted(settings: LoraSettings) -> Trainable:
    trainable = add_lora(tiny_model("llama"), settings, seed=3)
    return with_random_adapter(trainable)


def _outputs(trainable: Trainable) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    logits = trainable.lm(input_ids=IDS).logits
    parameters = trainable.named_parameters()
    gradients = torch.autograd.grad(logits.square().mean(), list(parameters.values()))
    return logits.detach(), dict(zip(parameters, gradients, strict=True))


@pytest.mark.parametrize("settings", [LoraSettings(r=4), LoraSettings(r=3, lora_alpha=1, use_rslora=True)], ids=str)
def test_fused_equals_peft(settings: LoraSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    trainable = _adapted(settings)
    calls = []
    apply = projection._Linear.apply
    monkeypatch.setattr(projection._Linear, "apply", lambda *a: calls.append(1) or apply(*a))
    logits, gradients = _outputs(trainable)
    assert len(calls) == 21, "three layers of seven projections take the fused path"
    monkeypatch.setattr(FusedLoraLinear, "projection", lambda self: None)
    wanted, wanted_gradients = _outputs(trainable)
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted_gradients[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [LoraSettings(use_dora=True), LoraSettings(lora_dropout=0.5)], ids=["dora", "dropout"]
)
def test_variants_take_pefts_path(settings: LoraSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    trainable = _adapted(settings)
    trainable.lm.train()
    calls = []
    apply = projection._Linear.apply
    monkeypatch.setattr(projection._Linear, "apply", lambda *a: calls.append(1) or apply(*a))
    trainable.lm(input_ids=IDS)
    assert not calls, "the fused path knows neither"


def test_step_zero_is_the_base_and_the_base_stays_as_it_was() -> None:
    base = tiny_model("llama")
    before = {name: p.clone() for name, p in base.named_parameters()}
    with torch.no_grad():
        wanted = base(input_ids=IDS).logits
    trainable = add_lora(base, LoraSettings(), seed=0)
    torch.testing.assert_close(trainable.lm(input_ids=IDS).logits, wanted, rtol=0, atol=1e-6)
    _outputs(_adapted(LoraSettings()))
    after = {name.replace(".base_layer", ""): p for name, p in trainable.lm.named_parameters() if "lora_" not in name}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_adapter_loads_with_plain_peft(tmp_path: Path) -> None:
    trainable = _adapted(LoraSettings(r=4))
    assert trainable.peft is not None
    trainable.peft.save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(tiny_model("llama"), str(tmp_path))
    assert not any(isinstance(m, FusedLoraLinear) for m in loaded.modules())
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(input_ids=IDS).logits, trainable.lm(input_ids=IDS).logits, rtol=1e-5, atol=1e-5
        )


def test_an_adapter_is_trained_on_with_another_ratio_of_rates_but_not_in_another_shape(tmp_path: Path) -> None:
    first = add_lora(tiny_model("llama"), LoraSettings(r=4), seed=3)
    assert first.peft is not None
    first.peft.save_pretrained(str(tmp_path))
    again = continue_lora(tiny_model("llama"), tmp_path, LoraSettings(loraplus_lr_ratio=16))
    assert again.count() == first.count()
    with pytest.raises(UserError, match=r"lora.r is 2, but the base is an adapter with r 4"):
        continue_lora(tiny_model("llama"), tmp_path, LoraSettings(r=2, loraplus_lr_ratio=16))


def test_seed_decides_the_start() -> None:
    first, again, other = (add_lora(tiny_model("llama"), LoraSettings(), seed=s).named_parameters() for s in (1, 1, 2))
    name = next(n for n in first if "lora_A" in n)
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_methods_train_what_they_say() -> None:
    model = tiny_model("llama")
    trained, everything = train_in_full(model).count()
    assert trained == everything
    chosen = freeze_all_but(model, FreezeSettings(trainable=[r"layers\.2\.", "lm_head"])).named_parameters()
    assert {name.split(".")[0] for name in chosen} == {"model", "lm_head"}
    assert all("layers.2." in name or "lm_head" in name for name in chosen)
    depth = model.config.num_hidden_layers
    chosen = freeze_all_but(model, FreezeSettings(last_layers=1)).named_parameters()
    assert set(chosen) == {name for name, _ in model.named_parameters() if f"layers.{depth - 1}." in name}
    head = freeze_all_but(model, FreezeSettings(head=True)).named_parameters()
    assert list(head) == ["lm_head.weight"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: add_lora(m, LoraSettings(target_modules=["nowhere"]), seed=0), "matches no module"),
        (lambda m: freeze_all_but(m, FreezeSettings(trainable=["nowhere"])), "matches no parameter"),
        (lambda m: freeze_all_but(m, FreezeSettings(trainable=["("])), "not a regular expression"),
        (lambda m: freeze_all_but(m, FreezeSettings(last_layers=99)), "99 layers are wanted"),
    ],
)
def test_patterns_that_match_nothing_are_the_users_fault(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(tiny_model("llama"))
