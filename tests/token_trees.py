"""Hypothesis strategies: sets of token paths with common prefixes, and their weights."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

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
