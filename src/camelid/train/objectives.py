"""Objectives: pure functions from what the model says about a row's edges to (sum, report).

They return sums, never means. The loop divides once per optimiser step by the summed weight of the step's trained
edges over all micro-batches and ranks, so one batch of 8, 8 of 1, and 2 ranks of 4 give the same loss to rounding.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from camelid.config import Recipe
from camelid.model.layout import EdgeOutput

Objective = Callable[[EdgeOutput], Tensor]


def weighted_nll(out: EdgeOutput) -> Tensor:
    """Sum of weight * -log p(label): supervised fine-tuning and pretraining."""
    return -(out.weight * out.logp).sum()


def smoothed_nll(epsilon: float) -> Objective:
    """Label smoothing (Szegedy et al. 2016): a share `epsilon` of the target is spread over the vocabulary."""

    def objective(out: EdgeOutput) -> Tensor:
        return -(out.weight * ((1 - epsilon) * out.logp + epsilon * out.mean)).sum()

    return objective


def objective_of(recipe: Recipe) -> Objective:
    """The objective that a recipe asks for."""
    if recipe.label_smoothing_factor:
        return smoothed_nll(recipe.label_smoothing_factor)
    return weighted_nll
