"""Student's t at 97.5%, for intervals at 95% from few figures."""

from __future__ import annotations

# For 1, 2, 3 ... degrees of freedom; beyond them the normal's is near enough.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_NORMAL = 1.96


def student_t(degrees: int) -> float:
    """The quantile for so many degrees of freedom, at least 1."""
    return _T[degrees - 1] if degrees <= len(_T) else _NORMAL
