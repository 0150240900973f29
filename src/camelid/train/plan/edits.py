"""The smallest changes of a recipe that make it fit, each planned again before it is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from camelid.config import Recipe
from camelid.errors import UserError
from camelid.train.plan.draft import Plan
from camelid.train.plan.memory import PROGRAM

_WANTED = 3


@dataclass(frozen=True)
class Edit:
    """Overrides as they are written on the command line, and the plan with them."""

    overrides: tuple[str, ...]
    plan: Plan


def edits_that_fit(plan: Plan, again: Callable[[tuple[str, ...]], Plan]) -> list[Edit]:
    """Up to three: single changes first, the least costly first; where none is enough, several together.

    again: plans the recipe with further overrides; may raise UserError for a combination that is none
    """
    if plan.memory.parts[PROGRAM] > plan.machine.memory:
        return []  # nothing of a recipe makes that smaller
    tried: dict[tuple[str, ...], Edit | None] = {}

    def attempt(change: tuple[str, ...]) -> Edit | None:
        if change not in tried:
            tried[change] = _try(change, again)
        return tried[change]

    found: list[Edit] = []
    for change in candidates(plan.recipe):
        edit = attempt(change)
        if edit is not None and edit.plan.fits:
            found.append(edit)
        if len(found) == _WANTED:
            break
    if found:
        return sorted(found, key=lambda edit: edit.plan.seconds)
    together: tuple[str, ...] = ()
    best = plan.memory.peak
    for change in candidates(plan.recipe):
        wanted = _merged(together, change)
        edit = attempt(wanted)
        if edit is None or edit.plan.memory.peak >= best:
            continue  # it changes nothing, or only for the worse
        together, best = wanted, edit.plan.memory.peak
        if edit.plan.fits:
            return [edit]
    return []


def candidates(recipe: Recipe) -> list[tuple[str, ...]]:
    """Changes in the order in which they cost: of the layout, the optimiser, the base's precision, what is learnt."""
    changes: list[tuple[str, ...]] = []
    row, length = recipe.row_tokens, recipe.max_length
    for tokens in (row // 2, row // 4):
        if tokens >= max(length, 64):
            changes.append((f"max_tokens_per_row={tokens}",))
    if not recipe.gradient_checkpointing:
        changes.append(("gradient_checkpointing=true",))
    if recipe.retention:
        changes.append(("retention=false",))
    if not recipe.has_adapter and recipe.optim != "adafactor":
        changes.append(("optim=adafactor",))
    if recipe.has_adapter and not recipe.from_scratch:
        smaller = {"none": ("8bit", "4bit"), "8bit": ("4bit",)}
        changes += [(f"quantization={bits}",) for bits in smaller.get(recipe.quantization, ())]
    for tokens in (length // 2, length // 4):
        if tokens >= 64:
            changes.append((f"max_length={tokens}", f"max_tokens_per_row={tokens}"))
    if not recipe.has_adapter and not recipe.from_scratch:
        changes.append(("method=lora",))
    return changes


def _merged(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    values = dict(item.split("=", 1) for item in (*first, *second))
    return tuple(f"{key}={value}" for key, value in values.items())


def _try(change: tuple[str, ...], again: Callable[[tuple[str, ...]], Plan]) -> Edit | None:
    try:
        return Edit(change, again(change))
    except UserError:
        return None  # the recipe's other fields forbid it
