"""Classifiers on disk: transformers and PEFT load what is saved, with equal logits, and so do we."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from runs_for_tests import tiny_recipe
from safetensors.torch import load_file, save_file
from tiny import tiny_base
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from camelid.cli.train import finish, opened_run
from camelid.config import Recipe
from camelid.data.tree import build_tree
from camelid.errors import UserError
from camelid.generate.opening import Wanted, open_generator
from camelid.model.class_head import add_class_head, class_logits
from camelid.model.classifier_files import load_classifier
from camelid.model.layout import choose_layout, hidden_states
from camelid.model.load import load_model, resolve
from camelid.model.task_info import TaskInfo
from camelid.train.distributed import World
from camelid.train.interrupt import Interrupts
from camelid.train.loop import SilentProgress, train

IDS = [3, 5, 7, 9, 11, 13, 17]
METHODS = ["lora", "prompt", "ptuning", "prefix", "ptuning2", "full", "freeze"]


def _rows(folder: Path, task: str) -> Path:
    path = folder / f"{task}.jsonl"
    rows: list[dict[str, Any]] = []
    for i in range(24):
        if task == "tag":
            rows.append({"words": ["Sort", str(i), "now"], "tags": ["O", "B-N" if i % 2 else "O", "O"]})
        else:
            rows.append({"text": f"Sort {i}", "label": ("odd", "even", "none")[i % 3]})
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def _recipe(folder: Path, task: str, method: str, **fields: Any) -> Recipe:
    # LoRA: at 0.05 the hidden states grow a hundredfold, and float32 itself is off by 1e-5
    rate = {"full": 1e-3, "freeze": 1e-2, "lora": 1e-2}.get(method, 0.05)
    values = {"task": task, "method": method, "data": str(_rows(folder, task)), "learning_rate": rate, **fields}
    return tiny_recipe(folder, **values)


def _trained(recipe: Recipe) -> tuple[Any, Path]:
    with Interrupts(notice="") as interrupts, opened_run(recipe, World(), interrupts, speak=lambda line: None) as run:
        outcome = train(run.setup, run.directory, SilentProgress(), interrupts, run.checkpoint)
        saved = finish(run, outcome)
        assert saved is not None
        assert "read back and equal" in saved.check
        return run.setup, saved.directory


def _logits(model: Any) -> torch.Tensor:
    tree = build_tree([np.array(IDS, np.int32)], [np.zeros(len(IDS), np.float32)])
    with torch.no_grad():
        return class_logits(model, hidden_states(model, tree, "tree"), torch.arange(len(IDS)))


def _louder(folder: Path, times: float) -> Path:
    """The tiny base, its last norm so many times as large, as Gemma's is beside a Llama's."""
    base = shutil.copytree(tiny_base(), folder / f"louder-{times:g}")
    file = base / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "model.norm.weight": tensors["model.norm.weight"] * times}, file, metadata={"format": "pt"})
    return base


@pytest.mark.parametrize(
    ("method", "times"), [(method, 1.0) for method in METHODS] + [("lora", 40.0), ("ptuning2", 40.0), ("full", 40.0)]
)
@pytest.mark.parametrize("task", ["classify", "tag"])
def test_others_load_what_is_saved(task: str, method: str, times: float, tmp_path: Path) -> None:
    base = _louder(tmp_path, times)
    setup, final = _trained(_recipe(tmp_path, task, method, base=str(base)))
    ours = _logits(setup.trainable.lm)
    assert setup.data.task is not None
    labels = setup.data.task.labels
    auto: Any = AutoModelForTokenClassification if task == "tag" else AutoModelForSequenceClassification
    if setup.trainable.has_adapter:
        theirs = auto.from_pretrained(base, num_labels=len(labels))
        theirs = PeftModel.from_pretrained(theirs, final)
    else:
        theirs = auto.from_pretrained(final)
        assert tuple(theirs.config.id2label.values()) == labels
    theirs.eval()
    with torch.no_grad():
        logits = theirs(input_ids=torch.tensor([IDS])).logits
    wanted = ours if task == "tag" else ours[-1:]
    torch.testing.assert_close(logits.reshape(-1, len(labels))[-len(wanted) :], wanted, rtol=0, atol=1e-5)
    model, info = load_classifier(resolve(final), dtype="float32")
    choose_layout(model, "tree")
    torch.testing.assert_close(_logits(model), ours, rtol=0, atol=1e-5)
    assert info == TaskInfo(task, labels)


def test_a_fresh_head_begins_alike_however_large_the_last_norm_is(tmp_path: Path) -> None:
    """Its loss is near that of a guess, and its scale a power of two, so that files hold exactly what was trained."""
    info, losses = TaskInfo("classify", ("a", "b", "c")), []
    for times in (1.0, 40.0, 0.01):
        model = load_model(_louder(tmp_path, times), dtype="float32").model
        head = add_class_head(model, info, seed=0)
        choose_layout(model, "tree")
        assert math.frexp(head.scale)[0] == 0.5
        losses += (-torch.log_softmax(_logits(model), -1)).mean(-1).tolist()
    assert max(losses) < 1.5 * math.log(3), losses


def test_a_classifier_is_trained_on_with_its_head_and_only_for_its_classes(tmp_path: Path) -> None:
    _, final = _trained(_recipe(tmp_path, "classify", "ptuning2", base=str(_louder(tmp_path, 40))))
    again, _ = _trained(
        _recipe(tmp_path, "classify", "ptuning2", base=str(final), learning_rate=1e-12, output_dir=str(tmp_path / "b"))
    )
    model, _ = load_classifier(resolve(final), dtype="float32")
    choose_layout(model, "tree")
    torch.testing.assert_close(_logits(again.trainable.lm), _logits(model), rtol=0, atol=1e-5)
    rows = tmp_path / "other.jsonl"
    rows.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    other = tiny_recipe(
        tmp_path, task="classify", method="ptuning2", base=str(final), data=str(rows), output_dir=str(tmp_path / "c")
    )
    with pytest.raises(UserError, match="classes"):
        _trained(other)


def test_a_classifier_writes_no_text(tmp_path: Path) -> None:
    _, adapter = _trained(_recipe(tmp_path, "classify", "lora"))
    _, tuned = _trained(_recipe(tmp_path, "classify", "full", output_dir=str(tmp_path / "full")))
    for directory in (adapter, tuned):
        with pytest.raises(UserError, match="camelid eval"):
            load_model(str(directory))
        with pytest.raises(UserError, match="camelid eval"):
            open_generator(Wanted(str(directory)), lambda line: None)
    with pytest.raises(UserError, match="camelid eval"):
        open_generator(Wanted(str(tiny_base()), adapters={"a": adapter}), lambda line: None)
    with pytest.raises(UserError, match="tells no classes apart"):
        load_classifier(resolve(tiny_base()))


def test_a_base_without_a_classifier_of_its_own_takes_adapters_only(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("camelid.train.setup.transformers_class", lambda task, config: None)
    with pytest.raises(UserError, match="use an adapter"):
        _trained(_recipe(tmp_path, "classify", "full"))
