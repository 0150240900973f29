"""Which parameter gets which learning rate."""

from __future__ import annotations

import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from tiny import tiny_model, with_random_adapter

from camelid.config import Recipe
from camelid.model.adapters import add_lora
from camelid.train.optim import make_optimizers, pull_to_start, set_learning_rate

LR, RATIO = 1e-3, 16.0


def _recipe(**fields: object) -> Recipe:
    return Recipe.model_validate({"data": "rows.jsonl", "learning_rate": LR, "weight_decay": 0.1, **fields})


@pytest.mark.parametrize("optim", ["adamw", "adafactor"])
def test_lora_plus_steps_like_pefts(optim: str) -> None:
    """LoRA+ (Hayou et al. 2024): B learns `loraplus_lr_ratio` times as fast; one step is that of PEFT's optimiser."""
    recipe = _recipe(optim=optim, lora={"loraplus_lr_ratio": RATIO})
    results = []
    for theirs in (False, True):
        trainable = with_random_adapter(add_lora(tiny_model("llama"), recipe.lora, seed=1))
        parameters = trainable.named_parameters()
        if theirs:
            kind = torch.optim.AdamW if optim == "adamw" else torch.optim.Adafactor
            fields = {"eps": recipe.adam_epsilon, "betas": (recipe.adam_beta1, recipe.adam_beta2)}
            assert trainable.peft is not None
            made = [
                create_loraplus_optimizer(
                    trainable.peft,
                    kind,
                    lr=LR,
                    loraplus_lr_ratio=RATIO,
                    loraplus_weight_decay=0.1,
                    weight_decay=0.1,
                    **(fields if optim == "adamw" else {}),
                )
            ]
        else:
            made = make_optimizers(recipe, parameters, embeddings=set())
            set_learning_rate(made, LR)
        for i, parameter in enumerate(parameters.values()):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i))
        for optimizer in made:
            optimizer.step()
        results.append({name: p.detach().clone() for name, p in parameters.items()})
    for name, ours in results[0].items():
        torch.testing.assert_close(ours, results[1][name], rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("optim", ["adamw", "adafactor", "muon"])
def test_the_pull_to_the_start_is_decoupled(optim: str) -> None:
    """L2-SP: every step is the one without it, then rate * strength of the way back to the first weights."""
    recipe = _recipe(optim=optim, weight_decay=0.0)
    ends = []
    for strength in (0.0, 30.0):
        model = torch.nn.Linear(5, 4)
        with torch.no_grad():
            for i, parameter in enumerate(model.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
        parameters = dict(model.named_parameters())
        start = {name: p.detach().clone() for name, p in parameters.items()}
        made = make_optimizers(recipe, parameters, embeddings=set())
        if strength:
            pull_to_start(made, strength)
        set_learning_rate(made, LR)
        for i, parameter in enumerate(parameters.values()):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i + 9))
        for optimizer in made:
            optimizer.step()
        ends.append({name: p.detach() - start[name] for name, p in parameters.items()})
    for name, moved in ends[0].items():
        assert moved.abs().max() > 0
        assert torch.allclose(ends[1][name], moved * (1 - LR * 30.0), atol=1e-7), name
