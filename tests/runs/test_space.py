"""What a search may change: forms as people write them, faults by name, the methods' own spaces."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.config import Recipe, make_recipe
from camelid.errors import UserError
from camelid.runs.space import Choices, Range, default_space, make_space, own_value, shown_space, written

METHODS = get_args(Recipe.model_fields["method"].annotation)


def _recipe(**fields: Any) -> Recipe:
    return make_recipe({"data": "rows.jsonl", **fields})


def _checked(method: str, field: str, value: Any) -> Recipe:
    content: dict[str, Any] = {"data": "rows.jsonl", "method": method}
    if method == "freeze":
        content["freeze"] = {"last_layers": 1}
    section, _, name = field.partition(".")
    content |= {section: {**content.get(section, {}), name: value}} if name else {section: value}
    return make_recipe(content)


def _space(wanted: dict[str, Any], **fields: Any) -> list:
    method = fields.get("method", "lora")
    return make_space(wanted, _recipe(**fields), lambda f, v: _checked(method, f, v), where="command line")


@pytest.mark.parametrize(
    ("field", "form", "dimension"),
    [
        ("learning_rate", "log 1e-5 1e-2", Range("learning_rate", 1e-5, 1e-2, True, False)),
        ("lora.lora_dropout", "uniform 0 0.3", Range("lora.lora_dropout", 0, 0.3, False, False)),
        ("lora.r", "log 4 64", Range("lora.r", 4, 64, True, True)),
        ("num_train_epochs", "uniform 1 3", Range("num_train_epochs", 1, 3, False, False)),
        ("lora.r", [32, 4, 4], Choices("lora.r", (4, 8, 32))),
        ("learning_rate", ["1e-3", 0.01], Choices("learning_rate", (2e-4, 1e-3, 0.01))),
        ("optim", ["muon", "adafactor"], Choices("optim", ("muon", "adafactor", "adamw"))),
        ("lora.use_dora", [True, False], Choices("lora.use_dora", (True, False))),
        ("lora.target_modules", [["q_proj"], "all-linear"], Choices("lora.target_modules", (["q_proj"], "all-linear"))),
    ],
)
def test_forms_are_read_and_the_recipes_own_value_is_a_choice(field: str, form: Any, dimension: Any) -> None:
    assert _space({field: form}) == [dimension]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"learning_rat": "log 1e-5 1e-2"}, "space.learning_rat: unknown field — did you mean 'learning_rate'?"),
        ({"lora.rank": [4]}, "space.lora.rank: unknown field"),
        ({"learning_rate": "log 0 1e-2"}, "neither a range nor a list"),
        ({"learning_rate": "log 1e-2 1e-5"}, "neither a range nor a list"),
        ({"learning_rate": "uniform 0.1"}, "neither a range nor a list"),
        ({"learning_rate": "uniform 0.1 inf"}, "neither a range nor a list"),
        ({"learning_rate": "logarithmic 1e-5 1e-2"}, "neither a range nor a list"),
        ({"learning_rate": []}, "neither a range nor a list"),
        ({"learning_rate": 0.1}, "neither a range nor a list"),
        ({"learning_rate": None}, "neither a range nor a list"),
        ({"lora.r": "uniform 1.5 8"}, "neither a range nor a list"),
        ({"optim": "uniform 1 2"}, "the field is no number"),
        ({"lora.lora_dropout": "uniform 0 1"}, "lora.lora_dropout=1"),
        ({"optim": ["adamw", "sgd"]}, "optim='sgd'"),
        ({"prefix.num_virtual_tokens": [5]}, "method lora does not use it"),
        ({"seed": [1, 2]}, "not be measured alike"),
        ({"max_length": [64, 128]}, "not be measured alike"),
        ({"method": ["lora", "full"]}, "camelid compare"),
        ({"max_grad_norm": "default"}, "does not say anything about it"),
    ],
)
def test_faults_are_one_line_that_names_the_mend(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        _space(wanted)
    assert message in str(caught.value)


def test_epochs_are_not_searched_where_max_steps_decides() -> None:
    with pytest.raises(UserError, match="max_steps decides"):
        _space({"num_train_epochs": [1, 2]}, max_steps=5)
    assert "num_train_epochs" not in default_space(_recipe(max_steps=5))
    assert default_space(_recipe(num_train_epochs=4))["num_train_epochs"] == [2, 4, 8]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_space_of_its_own_that_its_recipe_takes(method: str) -> None:
    fields = {"freeze": {"last_layers": 1}} if method == "freeze" else {}
    space = {d.field: d for d in _space({}, method=method, **fields)}
    assert "learning_rate" in space
    rate = space["learning_rate"]
    assert isinstance(rate, Range)
    assert rate.holds(_recipe(method=method, **fields).learning_rate), "the default lies within"


def test_the_published_grid_of_p_tuning_v2_lies_within_its_space() -> None:
    """search_script/search_copa_roberta.sh of github.com/THUDM/P-tuning-v2."""
    space = {d.field: d for d in _space({}, method="ptuning2")}
    assert {4, 8, 16, 32, 64, 128} <= set(space["prefix.num_virtual_tokens"].values)
    assert all(space["learning_rate"].holds(rate) for rate in (5e-3, 7e-3, 1e-2))


def test_default_stands_for_the_methods_own_dimension() -> None:
    assert _space({"lora.r": "default", "max_grad_norm": [0.5, 1]}) == [
        Choices("lora.r", (4, 8, 16, 32, 64)),
        Choices("max_grad_norm", (0.5, 1)),
    ]


@given(st.floats(1e-9, 1e3), st.floats(1.0001, 1e4), st.floats(0, 1), st.booleans())
def test_a_rounded_value_stays_within_and_near(low: float, factor: float, at: float, log: bool) -> None:
    high = low * factor
    dimension = Range("learning_rate", low, high, log, False)
    value = low * factor**at if log else low + at * (high - low)
    rounded = dimension.rounded(value)
    assert dimension.holds(rounded)
    assert rounded == pytest.approx(value, rel=0.006)


def test_own_values_and_how_they_are_written() -> None:
    recipe = _recipe(lora={"r": 4}, learning_rate=3e-4)
    assert (own_value(recipe, "lora.r"), own_value(recipe, "learning_rate")) == (4, 3e-4)
    assert [written(v) for v in (3e-4, 1e-6, 4, True, "adamw")] == ["0.0003", "1e-06", "4", "true", '"adamw"']
    shown = shown_space(_space({"learning_rate": "log 1e-5 1e-2", "lora.r": [4]}))
    assert shown == {"learning_rate": "log 1e-05 0.01", "lora.r": "[4, 8]"}
