"""Metrics: a resumed curve has no doubles, steps never go back, numbers are never edited."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.runs.metrics import MetricsLog, read_metrics


@given(st.lists(st.tuples(st.integers(1, 15), st.integers(0, 15)), min_size=1, max_size=5))
def test_after_any_kills_the_curve_is_that_of_an_uninterrupted_run(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "metrics.jsonl"
    path.unlink(missing_ok=True)
    saved = 0
    for steps, back in [*attempts, (60, 0)]:
        with MetricsLog(path, from_step=saved) as log:
            for step in range(saved + 1, saved + steps + 1):
                log.write(step, loss=1 / step)
                if step % 5 == 0:
                    log.write(step, eval_loss=2 / step)
        with path.open("ab") as file:
            file.write(b'{"step": 99')  # killed in the middle of a line
        saved = max(0, saved + steps - back)  # the newest checkpoint is some steps behind
    rows = [row for row in read_metrics(path) if row["step"] <= 60]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 61))
    assert [row["step"] for row in rows if "eval_loss" in row] == list(range(5, 61, 5))


def test_starting_from_the_beginning_empties_the_curve_also_of_step_0(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.write(0, eval_loss=3.0)
        log.write(1, loss=2.0)
    with MetricsLog(path, from_step=0) as log:
        assert log.dropped == 2
    assert read_metrics(path) == []


def test_steps_do_not_go_back(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "m.jsonl", from_step=0) as log:
        log.write(5, loss=1.0)
        log.write(5, eval_loss=1.0)
        with pytest.raises(ValueError, match="step 4 after those of step 5"):
            log.write(4, loss=1.0)


def test_broken_numbers_are_kept_as_they_are_in_valid_json(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with MetricsLog(path) as log:
        log.write(1, loss=math.nan, grad_norm=math.inf, low=-math.inf, exact=0.1 + 0.2)
    row = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert row == {"step": 1, "loss": "NaN", "grad_norm": "Infinity", "low": "-Infinity", "exact": 0.1 + 0.2}
    back = read_metrics(path)[0]
    assert math.isnan(back["loss"])
    assert (back["grad_norm"], back["low"], back["exact"]) == (math.inf, -math.inf, 0.1 + 0.2)
