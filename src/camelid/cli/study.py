"""The search itself: Optuna's sampler and successive halving over a journal of JSON lines that survives any kill.

One writer (the folder's lock), so the journal needs no lock of Optuna's; and no snapshot, so nothing is pickled. The
sampler is seeded anew for each trial by its number: a search that was killed goes on as it would have.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from camelid.runs.jsonlines import JsonLines, read_lines
from camelid.runs.search import Tried
from camelid.runs.space import Dimension, Range, own_value

JOURNAL = "journal.jsonl"
_NAME = "camelid"
_RANDOM_TRIALS = 4  # before the sampler learns from what was found, the recipe's own values among them
# A trial is judged at a fifth, two fifths and four fifths of its own steps; the better half goes on (Li et al. 2020).
_FIRST_RUNG, _HALVING = 20, 2
_ENOUGH = 8  # trials from which importance can be told
_TOP = 0.3  # what counts as good then: with a tenth, the usual, there would be one trial


class _Journal(BaseJournalBackend):
    """Optuna's log on our JSON lines: a line is all that one decision wrote, so a kill leaves whole decisions only."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path)
        self._known = [log for row in read_lines(path) for log in row["logs"]]
        self._waiting: list[dict[str, Any]] | None = None

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The entries from this number on."""
        return self._known[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write entries behind the others, at once or when the decision is made."""
        self._known += logs
        if self._waiting is None:
            self._write(logs)
        else:
            self._waiting += logs

    @contextmanager
    def decision(self) -> Iterator[None]:
        """What is appended in here is written together at the end, durably; nothing of it after an exception."""
        self._waiting = []
        try:
            yield
            if self._waiting:
                self._write(self._waiting)
        finally:
            self._waiting = None

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def _write(self, logs: list[dict[str, Any]]) -> None:
        self._lines.write({"logs": logs})
        self._lines.sync()


@dataclass(frozen=True)
class Asked:
    """A trial to run. values: by field; empty where the recipe's own are taken, which is trial 0."""

    number: int
    values: dict[str, Any]


class Study:
    """A search in `folder`: ask for a trial, report its losses, tell how it ended."""

    def __init__(self, folder: Path, space: Sequence[Dimension], own: dict[str, Any], seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._own, self._seed = space, own, seed
        self._journal = _Journal(folder / JOURNAL)
        self._storage = JournalStorage(self._journal)
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=_NAME,
            load_if_exists=True,
            direction="minimize",
            pruner=SuccessiveHalvingPruner(min_resource=_FIRST_RUNG, reduction_factor=_HALVING),
        )

    def ask(self) -> Asked:
        """The trial that was running when the search was stopped, or the next one."""
        trials = self._study.get_trials(deepcopy=False)
        going = [trial for trial in trials if trial.state == TrialState.RUNNING]
        if going:
            return self._asked(going[0])
        number = len(trials)
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = TPESampler(seed=seed, n_startup_trials=_RANDOM_TRIALS)
        with self._journal.decision():
            if not trials:
                self._study.enqueue_trial({d.field: _inside(d, self._own[d.field]) for d in self._space})
            self._study.ask(
                {d.field: _distribution(d, self._own[d.field] if not trials else None) for d in self._space}
            )
        return self._asked(self._study.get_trials(deepcopy=False)[number])

    def report(self, number: int, losses: Sequence[tuple[float, float]], *, judge: bool = True) -> bool:
        """Take in the (share of all steps done, held-out loss) so far; True if the trial is to be ended.

        judge: False for a trial that ended before it could be: later ones are measured by it all the same
        """
        with self._journal.decision():
            return self._report(number, losses, judge)

    def _report(self, number: int, losses: Sequence[tuple[float, float]], judge: bool) -> bool:
        trial = self._trial(number)
        known = self._study.get_trials(deepcopy=False)[number].intermediate_values
        for progress, loss in losses:
            step = round(progress * 100)
            if step == 0 or step in known or progress >= 1:  # what the base can do, known, or the end itself
                continue
            if not math.isfinite(loss):  # nothing to compare with, and no JSON
                if judge:
                    self._study.tell(number, state=TrialState.PRUNED)
                return judge
            trial.report(loss, step)
            if trial.should_prune() and judge:
                self._study.tell(number, state=TrialState.PRUNED)
                return True
        return False

    def tell(self, number: int, badness: float) -> None:
        """A trial has ended; the search makes this smaller. What is no number counts as failed."""
        if not math.isfinite(badness):
            self.tell_failed(number, f"it ended at {badness}")
            return
        with self._journal.decision():
            self._study.tell(number, badness)

    def tell_failed(self, number: int, reason: str) -> None:
        """A trial did not end well (it diverged, or ran out of memory): the sampler keeps away from its values."""
        with self._journal.decision():
            self._trial(number).set_user_attr("failed", reason)
            self._study.tell(number, state=TrialState.PRUNED)

    def tried(self) -> list[Tried]:
        """Every trial that has ended, in order."""
        ended = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return [
            Tried(
                number=trial.number,
                values=self._values(trial),
                badness=trial.value if trial.state == TrialState.COMPLETE else None,
                losses=[(step / 100, loss) for step, loss in sorted(trial.intermediate_values.items())],
                failed=trial.user_attrs.get("failed"),
            )
            for trial in ended
        ]

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _asked(self, trial: FrozenTrial) -> Asked:
        return Asked(trial.number, {} if trial.number == 0 else self._values(trial))

    def _values(self, trial: FrozenTrial) -> dict[str, Any]:
        if trial.number == 0:
            return dict(self._own)
        return {d.field: _value(d, trial.params[d.field]) for d in self._space}

    def _trial(self, number: int) -> Trial:
        study = self._storage.get_study_id_from_name(_NAME)
        return Trial(self._study, self._storage.get_trial_id_from_study_id_trial_number(study, number))


def importances(space: Sequence[Dimension], tried: Sequence[Tried]) -> tuple[dict[str, float], str]:
    """(share of each field in what made a trial good, by PED-ANOVA (Watanabe et al. 2023); what 'good' was).

    Of the final figures where enough trials have one, else of the losses at the first rung, which nearly all have;
    empty where there are too few of both.
    """
    final = {t.number: t.badness for t in tried if t.badness is not None}
    early = {t.number: t.losses[0][1] for t in tried if t.losses}
    what, figures = ("final", final) if len(final) >= _ENOUGH else ("early", early)
    if len(figures) < _ENOUGH or len(space) < 2:
        return {}, "none"
    wide = {d.field: _distribution(d, tried[0].values[d.field]) for d in space}
    study = optuna.create_study(direction="minimize")
    for one in tried:
        if one.number in figures:
            params = {d.field: _inside(d, one.values[d.field]) for d in space}
            study.add_trial(create_trial(params=params, distributions=wide, value=figures[one.number]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # its interface may change: it is pinned
        evaluator = PedAnovaImportanceEvaluator(target_quantile=_TOP)
    return dict(get_param_importances(study, evaluator=evaluator)), what


def own_values(recipe: Any, space: Sequence[Dimension]) -> dict[str, Any]:
    """What the recipe itself says about each field."""
    return {d.field: own_value(recipe, d.field) for d in space}


def _distribution(dimension: Dimension, also: Any) -> BaseDistribution:
    """As Optuna has it, widened to hold `also`; choices are searched by their place among the others."""
    if not isinstance(dimension, Range):
        places = len(dimension.values)
        return IntDistribution(0, places - 1) if dimension.ordered else CategoricalDistribution(list(range(places)))
    low, high = dimension.low, dimension.high
    if isinstance(also, int | float) and (also > 0 or not dimension.log):
        low, high = min(low, also), max(high, also)
    if dimension.whole:
        return IntDistribution(int(low), int(high), log=dimension.log)
    return FloatDistribution(low, high, log=dimension.log)


def _inside(dimension: Dimension, value: Any) -> Any:
    """A value as Optuna's parameter; the nearest one where the scale does not reach it (0, or none, on a range)."""
    if not isinstance(dimension, Range):
        return dimension.values.index(value)
    if value is None or (dimension.log and value <= 0):
        return int(dimension.low) if dimension.whole else dimension.low
    return value


def _value(dimension: Dimension, parameter: Any) -> Any:
    return dimension.rounded(parameter) if isinstance(dimension, Range) else dimension.values[parameter]
