"""What stands in `final/` is compared with what was trained before the run is called done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from runs_for_tests import run, tiny_recipe
from safetensors.torch import load_file, save_file

from camelid.errors import UserError
from camelid.train import finish
from camelid.train.finish import save_final


def a_bit(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    tensors = load_file(file)
    name = next(name for name in tensors if "layers.0" in name)
    tensors[name].view(torch.int32).view(-1)[0] ^= 1
    save_file(tensors, file, {"format": "pt"})


def a_tensor(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    tensors = load_file(file)
    del tensors[next(name for name in tensors if "layers.0" in name)]
    save_file(tensors, file, {"format": "pt"})


def the_header(folder: Path) -> None:
    next(folder.glob("*.safetensors")).write_bytes(b"\0" * 64)


def the_configuration(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["hidden_act"] = "relu"
    (folder / "config.json").write_text(json.dumps(config))


def a_layer_less(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] -= 1
    (folder / "config.json").write_text(json.dumps(config))


CASES: list[tuple[str, Callable[[Path], None], str]] = [
    ("full", a_bit, "does not hold what was trained"),
    ("full", a_tensor, "1 tensors were not saved"),
    ("full", the_header, "what was just written cannot be read"),
    ("full", the_configuration, "the reloaded result differs from the trained one"),
    ("full", a_layer_less, "weights do not fit the model's configuration"),
    ("lora", a_bit, "does not hold what was trained"),
    ("lora", the_header, "what was just written cannot be read"),
]


@pytest.mark.parametrize(("method", "damage", "said"), CASES, ids=[f"{m}-{d.__name__}" for m, d, _ in CASES])
def test_a_result_that_is_damaged_while_it_is_written(
    method: str, damage: Callable[[Path], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = finish._write

    def damaged(setup: Any, directory: Path) -> None:
        write(setup, directory)
        damage(directory)

    finished = run(tiny_recipe(tmp_path, method=method, max_steps=1, learning_rate=1e-3, retention=False))
    monkeypatch.setattr(finish, "_write", damaged)
    with pytest.raises(UserError, match=said):
        save_final(finished.setup, finished.directory)
    assert not finished.directory.final.exists()


@pytest.mark.parametrize("method", ["full", "freeze", "lora"])
def test_the_check_leaves_the_model_as_it_is(method: str, tmp_path: Path) -> None:
    freeze = {"last_layers": 1}
    recipe = tiny_recipe(tmp_path, method=method, freeze=freeze, max_steps=1, learning_rate=1e-3, retention=False)
    finished = run(recipe)
    before = {name: tensor.clone() for name, tensor in finished.setup.trainable.lm.state_dict().items()}
    asked = {name: p.requires_grad for name, p in finished.setup.trainable.lm.named_parameters()}
    saved = save_final(finished.setup, finished.directory)
    assert float(saved.check.split()[-1]) < 1e-5
    after = finished.setup.trainable.lm.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert asked == {name: p.requires_grad for name, p in finished.setup.trainable.lm.named_parameters()}
