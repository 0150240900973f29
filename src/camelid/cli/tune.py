"""`camelid tune`: search for hyper-parameters by short runs, bad ones ended early, and write the best as a recipe.

Each trial is a run of its own (child_run.py) in `{output_dir}-tune/`; what the search knows is in its journal
(study.py). Killed and given the same command again it goes on: nothing that has ended is run again, and the trial that
was running resumes from its checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from camelid.cli.arguments import read_value, whole_number
from camelid.cli.child_run import (
    NOTICE,
    RESULT,
    Unwanted,
    held_out_losses,
    measure_of,
    quality_of,
    require_held_out,
    result_of,
)
from camelid.cli.console import print_json, print_table, say
from camelid.config import Recipe, load_recipe
from camelid.errors import UserError
from camelid.runs.directory import set_aside
from camelid.runs.durable import make_directory, write_durably
from camelid.runs.lock import Lock
from camelid.runs.manifest import differences, read_manifest
from camelid.runs.search import Search, as_object, shown, verdict
from camelid.runs.search_page import render_search
from camelid.runs.space import Dimension, make_space, shown_space, written
from camelid.train.interrupt import Interrupted, Interrupts

if TYPE_CHECKING:
    from camelid.cli.study import Asked, Study

_SEARCH = "search.json"
_TRIALS = 12
_EVALUATIONS = 0.2  # of the steps, where the recipe names no eval_steps: what trials are judged by on the way
_GIVE_UP = 3  # trials that fail before any has ended well


@dataclass(frozen=True)
class Plan:
    """What is asked for: the recipe as given, the overrides for all trials, what is searched, how many trials."""

    recipe: Recipe
    overrides: list[str]
    space: list[Dimension]
    trials: int


def plan(path: Path, arguments: Sequence[str]) -> Plan:
    """Read the command line. Raises UserError for every fault, before the first minute is spent."""
    trials, wanted, overrides = _TRIALS, {}, []
    file: Path | None = None
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "trials":
            trials = whole_number(argument, "how many trials are run")
        elif key == "space":
            file = Path(value)
        elif key.startswith("space."):
            wanted[key.removeprefix("space.")] = read_value(argument)
        else:
            overrides.append(argument)
    recipe = load_recipe(path, overrides)
    require_held_out(recipe, path, "a search")
    if recipe.resume not in ("auto", "no"):
        raise UserError("a search begins no trial from a checkpoint", where="resume", mend="resume=auto, or resume=no")
    beside = path.with_suffix(".space.yaml")
    if file is None and beside.is_file():
        file = beside
        say(f"space: {file}")
    if file is not None:
        wanted = {**_space_file(file), **wanted}
    space = make_space(
        wanted,
        recipe,
        lambda field, value: load_recipe(path, [*overrides, _override(field, value)]),
        where=str(file or "command line"),
    )
    return Plan(recipe, overrides, space, trials)


def tune(path: Path, arguments: Sequence[str], *, as_json: bool) -> int:
    """Run the trials that are missing, print the table and write tune.json, tune.html and best.yaml."""
    asked = plan(path, arguments)
    folder = Path(f"{asked.recipe.output_dir}-tune")
    if asked.recipe.resume == "no" and (folder / _SEARCH).exists():
        say(f"{folder} held a search; it is now {set_aside(folder)} (resume=no)")
    make_directory(folder)
    lock = Lock(folder / ".lock", announce=say)
    try:
        with Interrupts(notice=NOTICE) as interrupts:
            search = _Running(path, asked, folder, interrupts).search()
    finally:
        lock.release()
    _tell(search, folder, as_json=as_json)
    return 0 if search.best is not None else 2


class _Running:
    """A search at work."""

    def __init__(self, path: Path, asked: Plan, folder: Path, interrupts: Interrupts) -> None:
        self._path, self._asked, self._folder, self._interrupts = path, asked, folder, interrupts
        self._shared = [*asked.overrides, *_for_trials(asked.recipe), "resume=auto"]

    def search(self) -> Search:
        """Every trial, those of earlier starts included."""
        from camelid.cli.study import Study, own_values

        _require_same_search(self._folder, self._asked)
        recipe = self._asked.recipe
        study = Study(self._folder, self._asked.space, own_values(recipe, self._asked.space), recipe.seed)
        try:
            while len(study.tried()) < self._asked.trials:
                if self._interrupts.requested:
                    raise Interrupted(self._interrupts.exit_code, NOTICE)
                self._trial(study, study.ask())
                self._write(study)
                _give_up(study)
            return self._write(study)
        finally:
            study.close()

    def _trial(self, study: Study, trial: Asked) -> None:
        """Run one, to its end or until it is judged not worth it."""
        run = self._folder / f"trial-{trial.number:03d}"
        values = [_override(field, value) for field, value in trial.values.items()]
        named = " ".join(f"{f}={written(v)}" for f, v in trial.values.items())
        say(f"[{trial.number + 1}/{self._asked.trials}] {named or 'as given'}")
        overrides = [*self._shared, *values, *self._compute_type(), f"output_dir={run}"]
        try:
            result = result_of(
                self._path,
                overrides,
                run,
                self._interrupts,
                unwanted=lambda: study.report(trial.number, held_out_losses(run)),
            )
        except Unwanted:
            say(f"  stopped at {held_out_losses(run)[-1][0]:.0%}: not among the better half")
        else:
            if isinstance(result, str):
                say(f"  failed: {result}")
                study.tell_failed(trial.number, result)
            else:
                self._ended(study, trial.number, result, run)
        shutil.rmtree(run / "checkpoints", ignore_errors=True)  # the trial goes on no more; `final/` stays

    def _ended(self, study: Study, number: int, result: dict[str, Any], run: Path) -> None:
        first = self._folder / "trial-000" / "manifest.json"
        if first.is_file() and (changed := differences(read_manifest(first), read_manifest(run / "manifest.json"))):
            raise UserError(
                f"the inputs changed during the search ({'; '.join(changed[:3])})",
                where=str(self._folder),
                mend="put them back and remove this trial, or begin anew with resume=no",
            )
        quality, _ = quality_of(self._asked.recipe, result, run)
        measure = measure_of(self._asked.recipe)
        study.report(number, held_out_losses(run), judge=False)  # some were quicker than our last look
        study.tell(number, quality if measure == "held-out loss" else 1 - quality)
        say(f"  {measure} {quality:.4f}")

    def _compute_type(self) -> list[str]:
        """The compute type that the first trial measured: the others are not to differ by it."""
        manifest = self._folder / "trial-000" / "manifest.json"
        if self._asked.recipe.dtype != "auto" or not manifest.is_file() or not (manifest.parent / RESULT).is_file():
            return []
        return [f"dtype={read_manifest(manifest)['starts'][0]['dtype']['chosen']}"]

    def _write(self, study: Study) -> Search:
        """tune.json, tune.html and best.yaml as of now."""
        from camelid.cli.study import importances

        asked, tried = self._asked, study.tried()
        importance, of = importances(asked.space, tried)
        search = Search(
            title=self._path.stem,
            measure=measure_of(asked.recipe),
            space=asked.space,
            tried=tried,
            minutes={t.number: seconds / 60 for t in tried if (seconds := _seconds(self._folder / t.run)) is not None},
            importance=importance,
            important_for=of,
        )
        write_durably(self._folder / "tune.json", json.dumps(as_object(search), ensure_ascii=False, indent=1).encode())
        write_durably(self._folder / "tune.html", render_search(search).encode())
        if search.best is not None:
            write_durably(self._folder / "best.yaml", self._best_recipe(search).encode())
        return search

    def _best_recipe(self, search: Search) -> str:
        """The whole recipe with the best trial's values, and where they come from."""
        assert search.best is not None
        recipe, best = self._asked.recipe, search.best
        values = [] if best.number == 0 else [_override(f, v) for f, v in best.values.items()]
        overrides = [*self._asked.overrides, *values, "resume=auto", f"output_dir={recipe.output_dir}-best"]
        whole = load_recipe(self._path, overrides).model_dump(mode="json")
        named = ", ".join(f"{f} {written(v)}" for f, v in best.values.items())
        head = f"# {verdict(search)}; {named}\n# by camelid tune {self._path}, {len(search.tried)} trials\n"
        return head + yaml.safe_dump(whole, allow_unicode=True, sort_keys=False, width=100)


def _for_trials(recipe: Recipe) -> list[str]:
    """What every trial has beside the recipe: losses to be judged by, and no retention unless it was asked for."""
    own = [] if recipe.eval_steps is not None else [f"eval_steps={_EVALUATIONS}"]
    return own if "retention" in recipe.model_fields_set else [*own, "retention=false"]


def _require_same_search(folder: Path, asked: Plan) -> None:
    """A search goes on only as the search that it was; its first start writes down what it is."""
    changes = {"resume", "output_dir", "logging_steps", "save_steps", "save_total_limit"}
    now = {"recipe": asked.recipe.model_dump(mode="json", exclude=changes), "space": shown_space(asked.space)}
    file = folder / _SEARCH
    if not file.exists():
        if any(folder.glob("trial-*")):
            raise UserError(f"there are trials but no {_SEARCH}", where=str(folder), mend="choose another output_dir")
        write_durably(file, json.dumps(now, ensure_ascii=False, indent=1).encode())
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    changed = [
        f"{prefix}{name}: {before[part].get(name)!r} there, {now[part].get(name)!r} here"
        for part, prefix in (("recipe", ""), ("space", "space."))
        for name in {**before[part], **now[part]}
        if before[part].get(name) != now[part].get(name)
    ]
    if changed:
        raise UserError(
            f"there is another search ({'; '.join(changed[:3])})",
            where=str(folder),
            mend="put it back, choose another output_dir, or set resume=no (the old search is then set aside)",
        )


def _give_up(study: Study) -> None:
    tried = study.tried()
    if len(tried) >= _GIVE_UP and all(t.failed for t in tried):
        raise UserError(f"the first {len(tried)} trials failed, the last one so: {tried[-1].failed}", where="tune")


def _space_file(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"no readable space ({error.strerror})", where=str(file), mend="space=FILE") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not readable as YAML ({' '.join(str(error).split())})", where=str(file)) from error
    if not isinstance(content, dict) or not content:
        raise UserError("a space is a YAML mapping of fields", where=str(file), mend="learning_rate: log 1e-5 1e-2")
    return {str(field): form for field, form in content.items()}


def _override(field: str, value: Any) -> str:
    return f"{field}={json.dumps(value, ensure_ascii=False)}"


def _seconds(run: Path) -> float | None:
    """Training time of a run that ended well."""
    file = run / RESULT
    return json.loads(file.read_text(encoding="utf-8"))["result"]["seconds"] if file.is_file() else None


def _tell(search: Search, folder: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"directory": str(folder), **as_object(search)})
    else:
        print_table(*shown(search), justify="l")
    say(verdict(search))
    if search.best is not None:
        say(f"train it: camelid train {folder}/best.yaml")
    say(f"page: {folder}/tune.html; all figures: {folder}/tune.json")
