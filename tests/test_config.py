"""A recipe is what it says, or one line says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from camelid.config import Recipe, load_recipe, make_recipe
from camelid.errors import UserError

RECIPES = sorted((Path(__file__).resolve().parent.parent / "recipes").glob("*.yaml"))


def _write(path: Path, text: str = "data: rows.jsonl\n") -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_overrides_reach_nested_fields_and_scientific_numbers(tmp_path: Path) -> None:
    path = _write(tmp_path / "my.yaml")
    recipe = load_recipe(
        path, ["learning_rate=1e-4", "lora.r=32", "data=[a.json, {path: b.json, weight: 2}]", "seed=7"]
    )
    assert (recipe.learning_rate, recipe.lora.r, recipe.seed) == (1e-4, 32, 7)
    assert recipe.data[1].weight == 2  # type: ignore[union-attr]
    assert recipe.output_dir == "runs/my"


def test_a_rate_that_is_not_given_is_the_methods(tmp_path: Path) -> None:
    path = _write(tmp_path / "my.yaml")
    rates = {method: load_recipe(path, [f"method={method}"]).learning_rate for method in ("lora", "prompt", "ptuning2")}
    assert rates == {"lora": 2e-4, "prompt": 3e-2, "ptuning2": 3e-3}
    assert load_recipe(path, ["method=prompt", "learning_rate=2e-4"]).learning_rate == 2e-4
    beside_a_head = {
        m: load_recipe(path, ["task=pair", f"method={m}"]).learning_rate for m in ("lora", "full", "prefix")
    }
    assert beside_a_head == {"lora": 1e-3, "full": 5e-5, "prefix": 1e-3}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["learning_rat=1"], "unknown key 'learning_rat' — did you mean 'learning_rate'"),
        (["lora.ranks=1"], "unknown key 'lora.ranks'"),
        (["learning_rate=fast"], "learning_rate='fast'"),
        (["lora.r=-1"], "lora.r=-1"),
        (["cut=middle"], "'split', 'drop' or 'left'"),
        (["justakey"], "'justakey' is not an override — write key=value"),
        (["data=[{path: a, wait: 1}]"], "unknown key 'data.0.wait'"),
        (["method=freeze"], "freeze.trainable"),
        (["method=full", "kl_to_base=1"], "kl_to_base needs an adapter"),
        (["method=full", "lora.loraplus_lr_ratio=2"], "loraplus_lr_ratio needs method lora"),
        (["optim=muon", "lora.loraplus_lr_ratio=2"], "and adamw or adafactor"),
        (["method=full", "data=[{path: a, distil: 1}]"], "distil needs an adapter"),
        (["from_scratch=true"], "method=full"),
        (["from_scratch=true", "method=ptuning2"], "method=full"),
        (["task=classify", "kl_to_base=1"], "for task chat"),
        (["task=classify", "data=[{path: a, distil: 1}]"], "for task chat"),
        (["task=tag", "columns={text: a}"], "task tag has the columns words, tags"),
        (["columns={text: a}"], "columns are for the tasks"),
        (["task=pair", "objective=pretrain"], "needs objective sft"),
        (["task=pair", "method=ptuning2", "prefix.zero_gate=true"], "PEFT saves no head"),
        (["task=pair", "lora.modules_to_save=[embed_tokens]"], "the head is saved"),
        (["prompt.init=text"], "init: text and init_text go together"),
        (["prefix.init_text=Hello"], "init: text and init_text go together"),
        (["prefix.zero_gate=true", "prefix.prefix_projection=true"], "no MLP and no init_text"),
        (["prefix.gate=true"], "unknown key 'prefix.gate' — did you mean 'zero_gate'"),
        (["max_tokens_per_row=5"], "max_tokens_per_row=5 is below max_length=1024"),
        (["eval_steps=5"], "need eval_data or eval_fraction"),
        (["eval_steps=1.5", "eval_fraction=0.1"], "my.yaml: eval_steps=1.5"),
        (["train_fraction=0"], "train_fraction=0"),
        (["early_stopping_patience=2", "eval_fraction=0.1"], "need eval_steps"),
        (["resume=nowhere/step-5"], "no such checkpoint"),
        (["lora=5"], "lora"),
        (["a.b.c=5"], "unknown key 'a"),
        (["data=[unclosed"], "not readable as YAML"),
    ],
)
def test_faults_are_one_line_that_names_the_mend(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(_write(tmp_path / "my.yaml"), overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["- a list\n", "a: [\n", "", "\x00"])
def test_what_is_no_recipe(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"my\.yaml"):
        load_recipe(_write(tmp_path / "my.yaml", text))


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    _write(tmp_path / "alpaca.yaml")
    with pytest.raises(UserError, match=r"did you mean .*alpaca\.yaml"):
        load_recipe(tmp_path / "alpacca.yaml")


def test_resume_no_is_not_yamls_false(tmp_path: Path) -> None:
    assert load_recipe(_write(tmp_path / "my.yaml"), ["resume=no"]).resume == "no"


def test_every_field_has_a_meaning() -> None:
    undocumented = [
        name
        for name, field in Recipe.model_fields.items()
        if not field.description and name not in ("seed", "logging_steps", "adam_beta1", "adam_beta2", "adam_epsilon")
    ]
    assert not undocumented


def test_resolved_recipe_reads_back(tmp_path: Path) -> None:
    recipe = make_recipe({"data": [{"path": "a", "sample": 3}, "b"], "lora": {"r": 4}})
    values: dict[str, Any] = json.loads(json.dumps(recipe.model_dump(mode="json")))
    assert make_recipe(values) == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).output_dir.startswith("runs/")
