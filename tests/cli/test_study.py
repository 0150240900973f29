"""The search: better than a planted bad default, halved as it goes, and after any kill what it would have been."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.cli.study import JOURNAL, Study, importances
from camelid.runs.search import Tried
from camelid.runs.space import Choices, Range

SPACE = [Range("learning_rate", 1e-6, 1e-1, True, False), Choices("lora.r", (4, 8, 16)), Choices("optim", ("a", "b"))]
OWN = {"learning_rate": 1e-7, "lora.r": 8, "optim": "a"}  # planted: below the space and far too small


def _losses(values: dict) -> list[tuple[float, float]]:
    """What a training with these values would measure: a bowl around 1e-3, falling with progress."""
    bowl = (math.log10(values["learning_rate"]) + 3) ** 2 * 0.2 + (values["optim"] == "b") * 0.01
    return [(step / 5, 5 - min(4.0, 4 - bowl) * step / 5) for step in range(6)]


def _run(folder: Path, trials: int, seed: int = 0, *, stop_after: int | None = None) -> list[Tried]:
    """A search whose trainings are computed; `stop_after` so many reports it is left as a kill leaves it."""
    study = Study(folder, SPACE, OWN, seed)
    try:
        while len(study.tried()) < trials:
            trial = study.ask()
            curve = _losses(trial.values or OWN)
            for i in range(len(curve)):
                if stop_after is not None:
                    stop_after -= 1
                    if stop_after < 0:
                        return study.tried()
                if study.report(trial.number, curve[: i + 1]):
                    break
            else:
                study.tell(trial.number, curve[-1][1])
        return study.tried()
    finally:
        study.close()


@pytest.mark.parametrize("seed", range(5))
def test_twelve_trials_beat_a_planted_bad_default(tmp_path: Path, seed: int) -> None:
    tried = _run(tmp_path, 12, seed)
    assert tried[0].values == OWN, "the first trial is the recipe as given"
    given = _losses(OWN)[-1][1]
    assert tried[0].badness == pytest.approx(given)
    assert min(t.badness for t in tried if t.badness is not None) < given - 1
    assert any(t.state == "pruned" for t in tried)
    assert all(SPACE[0].holds(t.values["learning_rate"]) for t in tried[1:])


def test_halving_ends_the_worse_half_at_a_fifth_and_two_fifths(tmp_path: Path) -> None:
    for trial in _run(tmp_path, 12):
        if trial.state == "pruned":
            assert trial.losses[-1][0] in (0.2, 0.4, 0.8)
    worst = max(t.losses[-1][1] for t in _run(tmp_path, 12) if t.badness is not None and t.number > 0)
    assert worst < _losses(OWN)[-1][1]


@pytest.mark.parametrize("kill", range(0, 40, 3))
def test_killed_between_any_two_reports_it_goes_on_as_it_would_have(tmp_path: Path, kill: int) -> None:
    whole = _run(_folder(tmp_path / "whole"), 8)
    broken = _folder(tmp_path / "broken")
    _run(broken, 8, stop_after=kill)
    assert _run(broken, 8) == whole


@given(st.floats(0, 1))
@settings(max_examples=30)
def test_a_journal_cut_anywhere_goes_on_as_it_would_have(tmp_path_factory: pytest.TempPathFactory, at: float) -> None:
    """SIGKILL and power cuts leave a prefix of the journal, its last line torn."""
    folder = tmp_path_factory.mktemp("cut")
    whole = _run(folder, 6)
    journal = (folder / JOURNAL).read_bytes()
    (folder / JOURNAL).write_bytes(journal[: round(at * len(journal))])
    assert _run(folder, 6) == whole


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_what_failed_is_kept_with_its_reason_and_is_never_the_best(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, OWN, 0)
    study.tell_failed(study.ask().number, "the loss of step 3 is nan")
    study.tell(study.ask().number, 1.0)
    first, second = study.tried()
    study.close()
    assert (first.state, first.failed, first.badness) == ("failed", "the loss of step 3 is nan", None)
    assert (second.state, second.badness) == ("done", 1.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_a_trial(tmp_path: Path, loss: float) -> None:
    study = Study(tmp_path, SPACE, OWN, 0)
    assert study.report(study.ask().number, [(0.2, loss)])
    last = study.ask().number
    assert not study.report(last, [(0.2, 1.0), (0.4, loss)], judge=False)
    study.tell(last, loss)
    study.close()
    again = Study(tmp_path, SPACE, OWN, 0).tried()
    assert [t.state for t in again] == ["pruned", "failed"]
    assert again[1].failed == f"it ended at {loss}"


def test_a_trial_too_quick_to_be_judged_counts_for_later_ones(tmp_path: Path) -> None:
    """Ten that ended unseen: the eleventh, worse at the first rung than all of them, is ended there."""
    study = Study(tmp_path, SPACE, OWN, 0)
    for i in range(10):
        trial = study.ask()
        assert not study.report(trial.number, [(0.2, 1 + i), (1.0, 1 + i)], judge=False)
        study.tell(trial.number, 1 + i)
    eleventh = study.ask()
    assert study.report(eleventh.number, [(0.2, 20.0)])
    assert study.tried()[10].state == "pruned"
    twelfth = study.ask()
    assert not study.report(twelfth.number, [(0.2, 0.5)])
    study.close()


def test_importance_finds_the_field_that_decides(tmp_path: Path) -> None:
    tried = [
        Tried(
            i, {"learning_rate": rate, "lora.r": (4, 8, 16)[i % 3], "optim": "ab"[i % 2]}, (math.log10(rate) + 3) ** 2
        )
        for i, rate in enumerate([1e-6 * 10 ** (i / 4) for i in range(20)])
    ]
    found, of = importances(SPACE, tried)
    assert of == "final"
    assert sum(found.values()) == pytest.approx(1)
    assert max(found, key=lambda field: found[field]) == "learning_rate"
    assert importances(SPACE, tried[:5]) == ({}, "none")
    cut = [Tried(t.number, t.values, None, [(0.2, t.badness or 0.0)]) for t in tried]
    assert importances(SPACE, cut)[1] == "early"
