"""Codes of groups of float values: 8 bits as ggml's Q8_0, 4 bits with a scale and a least value as its Q4_1.

Shape legend: n rows, G groups of a row, S values of a group.
"""

from __future__ import annotations

import torch
from torch import Tensor

_INSETS = ((0.0, 0.0), (0.0, 1 / 30), (1 / 30, 0.0), (1 / 30, 1 / 30))  # shares of the range: none, or half a step


def eight_bits(groups: Tensor) -> tuple[Tensor, Tensor]:
    """(scale (n, G), codes (n, G, S)) with codes of -127 to 127: Q8_0's max|w| / 127."""
    scale = (groups.abs().amax(-1) / 127).half()
    return scale, _codes(groups, scale, -127, 127)


def four_bits(groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(scale (n, G), low (n, G), codes (n, G, S)) with codes of 0 to 15 and the smallest squared error found.

    Q4_1's own (max - min) / 15 and min where that is exact, as of values that come from such a file. Else from several
    ranges, each a little within the values' own: codes, then the scale and low that fit these codes by least squares
    (as ggml's k-quants are made), then codes again.
    """
    least, most = groups.amin(-1), groups.amax(-1)
    best = _rounded(groups, (most - least) / 15, least)
    if not bool(best[0].any()):
        return best[1:]
    mean = groups.mean(-1)
    for below, above in _INSETS:
        low = least + (most - least) * below
        _, _, _, codes = _rounded(groups, (most - least) * (1 - below - above) / 15, low)
        middle = codes.mean(-1)
        from_middle = codes - middle[..., None]
        spread = from_middle.square().sum(-1).clamp_(min=1e-6)
        scale = (from_middle * (groups - mean[..., None])).sum(-1) / spread
        found = _rounded(groups, scale, mean - scale * middle)
        better = found[0] < best[0]
        for new, old in zip(found, best, strict=True):
            old.copy_(torch.where(better if new.dim() == better.dim() else better[..., None], new, old))
    return best[1:]


def _rounded(groups: Tensor, scale: Tensor, low: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(squared error, scale, low, codes) for a scale and low, which are rounded to float16 first."""
    scale, low = scale.half(), low.half()
    from_low = groups - low.float()[..., None]
    codes = _codes(from_low, scale, 0, 15)
    return (from_low - codes * scale.float()[..., None]).square_().sum(-1), scale, low, codes


def _codes(values: Tensor, scale: Tensor, least: int, most: int) -> Tensor:
    """values / scale, rounded, in bounds; zero where the scale is."""
    inverse = torch.where(scale > 0, 1 / scale.float(), 0.0)[..., None]
    return (values * inverse).round_().clamp_(least, most)
