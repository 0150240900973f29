"""Sets of token paths with common prefixes, and their weights (hypothesis); what a model makes of their trees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import strategies as st

from camelid.data.tree import TokenTree
from camelid.model.adapters import Trainable
from camelid.model.layout import edge_output
from camelid.train.objectives import weighted_nll

Paths = tuple[list[np.ndarray], list[np.ndarray]]


@st.composite
def weighted_paths(draw: st.DrawFn, *, vocabulary: int = 500, most: int = 6, longest: int = 14) -> Paths:
    """(paths, weights): later paths often branch off earlier ones, some repeat or are prefixes of others."""
    token = st.integers(0, vocabulary - 1)
    paths: list[list[int]] = []
    for _ in range(draw(st.integers(1, most))):
        head: list[int] = []
        if paths and draw(st.booleans()):
            stem = draw(st.sampled_from(paths))
            head = stem[: draw(st.integers(0, len(stem)))]
        tail = draw(st.lists(token, min_size=0 if head else 1, max_size=longest - len(head)))
        paths.append(head + tail)
    weights = []
    for path in paths:
        chosen = draw(st.lists(st.sampled_from([0.0, 1.0, 0.5]), min_size=len(path), max_size=len(path)))
        weights.append(np.array([0.0, *chosen[1:]], np.float32))
    return [np.array(path, np.int32) for path in paths], weights


def loss_and_gradient(trainable: Trainable, trees: Sequence[TokenTree], layout: str) -> tuple[float, torch.Tensor]:
    """Summed loss over trees, and the gradient of every trained parameter in one vector."""
    parameters = list(trainable.named_parameters().values())
    total = torch.zeros(())
    for tree in trees:
        total = total + weighted_nll(edge_output(trainable.lm, tree, layout))
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    flat = [torch.zeros(p.numel()) if g is None else g.flatten() for g, p in zip(gradients, parameters, strict=True)]
    return float(total.detach()), torch.cat(flat)
