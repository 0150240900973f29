"""What a search may change: one dimension for each field of a recipe, written as people write it.

    log 1e-5 1e-2      a number between the two, evenly on a logarithmic scale
    uniform 0 0.3      a number between the two
    [8, 16, 32]        one of these
    default            what the method's own space says about this field

Fields that are named are searched and no others; where none is named, the method's own space is.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from camelid.config import Recipe, read_number
from camelid.errors import UserError

# Each with its source; the learning rates of virtual tokens reach up to the published ones, which ours rarely stand
# because they start from the base's own values (docs/en/methods.md).
_PREFIX = "prefix.num_virtual_tokens"
_PROMPT = "prompt.num_virtual_tokens"
_SPACES: dict[str, dict[str, Any]] = {
    # Hu et al. 2021: rank 1 to 64, dropout 0 or 0.1, weight decay 0 to 0.1
    "lora": {
        "learning_rate": "log 1e-5 5e-3",
        "lora.r": [4, 8, 16, 32, 64],
        "lora.lora_dropout": [0, 0.05, 0.1],
        "weight_decay": [0, 0.01, 0.1],
    },
    "full": {"learning_rate": "log 1e-6 1e-3", "weight_decay": [0, 0.01, 0.1], "warmup_ratio": [0, 0.03, 0.1]},
    "freeze": {"learning_rate": "log 1e-5 1e-2", "weight_decay": [0, 0.01, 0.1], "warmup_ratio": [0, 0.03, 0.1]},
    # Lester et al. 2021: 1 to 150 tokens, a rate of 0.3 (with Adafactor)
    "prompt": {"learning_rate": "log 1e-3 3e-1", _PROMPT: [1, 5, 20, 100, 150], "weight_decay": [0, 1e-5]},
    # P-tuning's scripts for SuperGLUE: a rate of 1e-4
    "ptuning": {"learning_rate": "log 1e-4 1e-2", _PROMPT: [5, 10, 20, 50], "prompt.encoder_dropout": [0, 0.1]},
    # Li & Liang 2021: 5 tokens (WebNLG) to 200 (XSum), a rate of 5e-5
    "prefix": {"learning_rate": "log 5e-5 1e-2", _PREFIX: [5, 10, 20, 50, 100, 200]},
    # P-tuning v2's search script: 4 to 128 tokens, rates of 5e-3, 7e-3 and 1e-2; its run scripts: up to 6e-2
    "ptuning2": {"learning_rate": "log 5e-4 6e-2", _PREFIX: [4, 8, 16, 32, 64, 128]},
}
_SECTION = {"lora": "lora", "freeze": "freeze", "prompt": "prompt", "ptuning": "prompt"} | dict.fromkeys(
    ("prefix", "ptuning2"), "prefix"
)
# With these the held-out rows, or what is measured on them, would not be the same for every trial.
_FIXED = frozenset(
    {
        *("base", "accept_license", "from_scratch", "objective", "task", "columns", "data", "eval_data"),
        *("eval_fraction", "max_eval_examples", "split_seed", "train_fraction", "template", "train_on", "max_length"),
        *("cut", "seed", "output_dir", "logging_steps", "eval_steps", "save_steps", "save_total_limit", "retention"),
        "resume",
    }
)


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included. whole: an integer."""

    field: str
    low: float
    high: float
    log: bool
    whole: bool

    def __str__(self) -> str:
        return f"{'log' if self.log else 'uniform'} {self.low:g} {self.high:g}"

    def holds(self, value: Any) -> bool:
        """Whether the value lies within."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def rounded(self, value: float) -> float:
        """A value to three digits, which a person would write; never outside."""
        return int(value) if self.whole else min(max(float(f"{value:.3g}"), self.low), self.high)


@dataclass(frozen=True)
class Choices:
    """One of some values. ordered: numbers, ascending."""

    field: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return json.dumps(self.values, ensure_ascii=False)

    @property
    def ordered(self) -> bool:
        """Whether the values are numbers, so that neighbours are alike."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)


Dimension = Range | Choices


def default_space(recipe: Recipe) -> dict[str, Any]:
    """The method's own space as a user would write it; epochs too, unless max_steps decides."""
    space = dict(_SPACES[recipe.method])
    if recipe.max_steps is None:
        epochs = recipe.num_train_epochs
        space["num_train_epochs"] = [epochs / 2, epochs, epochs * 2]
    return space


def make_space(
    wanted: Mapping[str, Any], recipe: Recipe, check: Callable[[str, Any], object], *, where: str
) -> list[Dimension]:
    """The dimensions, each with the recipe's own value in its choices.

    check: raises UserError where the recipe cannot take a value of a field. Raises UserError for what cannot be
    searched.
    """
    usual = default_space(recipe)
    dimensions = []
    for field, form in (wanted or usual).items():
        _require_searchable(field, recipe, where)
        if form == "default" and field not in usual:
            raise UserError(
                f"space.{field}: the space of method {recipe.method} does not say anything about it",
                where=where,
                mend=f"it has {', '.join(usual)}",
            )
        dimension = _read(field, usual[field] if form == "default" else form, where)
        ends = [dimension.low, dimension.high] if isinstance(dimension, Range) else dimension.values
        for value in ends:
            check(field, int(value) if isinstance(dimension, Range) and dimension.whole else value)
        dimensions.append(_with_own(dimension, own_value(recipe, field)))
    return dimensions


def own_value(recipe: Recipe, field: str) -> Any:
    """What the recipe itself says."""
    value: Any = recipe.model_dump(mode="json")
    for part in field.split("."):
        value = value[part]
    return value


def written(value: Any) -> str:
    """A value as an override or a table shows it."""
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _read(field: str, form: Any, where: str) -> Dimension:
    kind = _kind(field)
    if isinstance(form, str) and form.split()[:1] in (["log"], ["uniform"]):
        word, *ends = form.split()
        if kind not in ("integer", "number"):
            raise UserError(f"space.{field}={form}: the field is no number", where=where, mend="give a list of choices")
        numbers = [number for end in ends if (number := _as_number(end)) is not None]
        if len(numbers) == len(ends) == 2:
            low, high = numbers
            whole = kind == "integer"
            if low < high and (word == "uniform" or low > 0) and not (whole and (low % 1 or high % 1)):
                return Range(field, low, high, word == "log", whole)
    if isinstance(form, list) and form:
        values = [read_number(value) for value in form]
        unique = list({json.dumps(value): value for value in values}.values())
        choices = Choices(field, tuple(unique))
        return replace(choices, values=tuple(sorted(unique))) if choices.ordered else choices
    raise UserError(
        f"space.{field}={form}: neither a range nor a list of choices",
        where=where,
        mend="write 'log 1e-5 1e-2' (both above 0), 'uniform 0 0.3', or '[8, 16, 32]'",
    )


def _with_own(dimension: Dimension, own: Any) -> Dimension:
    """The recipe's own value becomes a choice; a range stays as it is."""
    if isinstance(dimension, Range) or own in dimension.values:
        return dimension
    grown = replace(dimension, values=(*dimension.values, own))
    return replace(grown, values=tuple(sorted(grown.values))) if grown.ordered else grown


def _require_searchable(field: str, recipe: Recipe, where: str) -> None:
    first = field.split(".")[0]
    if first == "method":
        raise UserError("space.method: methods are compared, not searched", where=where, mend="camelid compare")
    if first in _FIXED:
        raise UserError(
            f"space.{field}: with it the trials would not be measured alike", where=where, mend="leave it out"
        )
    if first in _SECTION.values() and first != _SECTION.get(recipe.method):
        raise UserError(f"space.{field}: method {recipe.method} does not use it", where=where, mend="leave it out")
    if field == "num_train_epochs" and recipe.max_steps is not None:
        raise UserError(
            "space.num_train_epochs: max_steps decides how long a run is",
            where=where,
            mend="leave it out, or add max_steps=null",
        )
    if _kind(field) is None:
        known = _fields()
        near = difflib.get_close_matches(field, known, 1, cutoff=0.5)
        mend = f"did you mean '{near[0]}'?" if near else "`camelid schema` lists the known keys"
        raise UserError(f"space.{field}: unknown field", where=where, mend=mend)


def _kind(field: str) -> str | None:
    """The JSON type of a field: 'integer', 'number' or another; None where there is no such field."""
    return _fields().get(field)


def _fields() -> dict[str, str]:
    """Every field of a recipe by its dotted name, with its JSON type."""
    schema = Recipe.model_json_schema()
    found: dict[str, str] = {}

    def add(prefix: str, properties: Mapping[str, Any]) -> None:
        for name, entry in properties.items():
            if "$ref" in entry:
                add(f"{prefix}{name}.", schema["$defs"][entry["$ref"].rpartition("/")[2]]["properties"])
                continue
            types = {part.get("type") for part in entry.get("anyOf", [entry])} - {"null"}
            found[prefix + name] = str(types.pop()) if len(types) == 1 else "several"

    add("", schema["properties"])
    return found


def _as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def shown_space(space: Sequence[Dimension]) -> dict[str, str]:
    """Each field with its form, for people and for the file that says what is searched."""
    return {dimension.field: str(dimension) for dimension in space}
