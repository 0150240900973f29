"""The curve of a run: `metrics.jsonl`, one object a line, in steps that never go back.

On resume the file is cut back to the checkpoint's step, so a step that is trained again is not drawn twice. Keys with
a meaning for the report: `step`, `loss`, `eval_loss`, `learning_rate`, `grad_norm`, `tokens_per_second` (useful ones),
`computed_tokens_per_second`, `peak_memory_bytes`; `progress` beside an `eval_loss`: the share of all steps done. Other
keys are kept as they are.

Numbers are never edited: JSON has no NaN or infinity, so these are written as the strings "NaN", "Infinity" and
"-Infinity", which any JSON reader takes, and `read_metrics` turns them back into floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from camelid.runs.jsonlines import JsonLines, read_lines

Point = tuple[float, float]  # step, value

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class MetricsLog:
    """Append rows for one run; the loop calls `write(step, loss=...)`."""

    def __init__(self, path: Path, *, from_step: int = 0) -> None:
        """Open `path` for a run whose state is that after `from_step` optimiser steps (0: the beginning).

        Rows of later steps belong to work that was lost; `dropped` says how many lines were cut. Raises OSError.
        """
        self._lines = JsonLines(path)
        self._last = from_step
        self.dropped = self._lines.cut_from(lambda row: _step(row) > from_step)
        if from_step == 0:
            # Step 0 may hold an evaluation from before training; it is made again.
            self.dropped += self._lines.cut_from(lambda row: True)

    def write(self, step: int, **values: Any) -> None:
        """Append one row. Raises ValueError if `step` goes back: then the curve would have doubles."""
        if step < self._last:
            raise ValueError(f"metrics of step {step} after those of step {self._last}")
        self._last = step
        self._lines.write({"step": step, **{key: _word(value) for key, value in values.items()}})

    def sync(self) -> None:
        """Make the rows durable; called before a checkpoint, which must never know more steps than its curve."""
        self._lines.sync()

    def close(self) -> None:
        self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()


def read_metrics(path: Path, *, on_damage: Callable[[int, str], None] | None = None) -> list[dict[str, Any]]:
    """All rows of a metrics file; see `read_lines` for damaged ones."""
    return [
        {key: _WORDS.get(value, value) if isinstance(value, str) else value for key, value in row.items()}
        for row in read_lines(path, on_damage=on_damage)
    ]


def read_curves(path: Path, *, on_damage: Callable[[int, str], None] | None = None) -> dict[str, list[Point]]:
    """Every metric that is a number as a curve: name -> (step, value) in order."""
    curves: dict[str, list[Point]] = {}
    for row in read_metrics(path, on_damage=on_damage):
        for key, value in row.items():
            if key != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                curves.setdefault(key, []).append((float(row.get("step", 0)), float(value)))
    return curves


def _word(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _step(row: Any) -> int:
    step = row.get("step")
    return step if isinstance(step, int) else -1
