"""The run directory: who may write it, which recipe's run it holds, and where everything in it lies.

recipe.yaml      the resolved recipe          checkpoints/step-N/   see camelid.train.checkpoint
manifest.json    what the run was made from   final/                adapter or model, loadable by others
metrics.jsonl    the curves                   report.html           for people
rejected.jsonl   rows left out, and why       .lock                 one writer at a time
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from camelid.errors import UserError
from camelid.runs.durable import make_directory, not_saved, write_durably
from camelid.runs.jsonlines import JsonLines
from camelid.runs.lock import Lock
from camelid.runs.manifest import differences, read_manifest
from camelid.runs.metrics import MetricsLog
from camelid.runs.staging import clean_leftovers, staged_directory

# Fields that leave every trained weight as it is, and fields that leave it as it is up to rounding.
FREE_FIELDS = frozenset(
    {
        "resume",
        "output_dir",
        "logging_steps",
        "save_steps",
        "save_total_limit",
        "max_rejected",
        "accept_license",
        "retention",
    }
)
LAYOUT_FIELDS = frozenset({"max_tokens_per_row", "gradient_checkpointing"})


class RunDirectory:
    """A run on disk. Made by `create` (to write: locked) or `open` (to read)."""

    def __init__(self, path: Path, recipe: Mapping[str, Any], *, lock: Lock | None = None, resuming: bool = False):
        self.path = path
        self.recipe = dict(recipe)
        self.resuming = resuming  # an earlier start of the same recipe was here
        self._lock = lock
        self.recipe_file = path / "recipe.yaml"
        self.manifest_file = path / "manifest.json"
        self.metrics_file = path / "metrics.jsonl"
        self.rejected_file = path / "rejected.jsonl"
        self.report_file = path / "report.html"
        self.replay_file = path / "replay.jsonl"
        self.checkpoints = path / "checkpoints"
        self.final = path / "final"

    @classmethod
    def create(
        cls,
        output_dir: str | Path,
        resume: str = "auto",
        *,
        recipe: Mapping[str, Any],
        announce: Callable[[str], None] = lambda text: None,
    ) -> RunDirectory:
        """Take `output_dir` for a run of `recipe` (JSON values), and lock it until `close`.

        `resume` "auto" or a path: a run of the same recipe that is there goes on (`resuming` is then true). "no": a
        run that is there is renamed to `<output_dir>.old-N`, and announced. Raises UserError if the directory holds
        another recipe's run, somebody else's files, or is being written by another process; NotSaved if the disk
        refuses.
        """
        path = Path(output_dir)
        try:
            return cls._create(path, resume, json.loads(json.dumps(recipe)), announce)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(
                "output_dir is a file, or lies below one", where=str(path), mend="choose another output_dir"
            ) from error
        except OSError as error:
            raise not_saved(error, path) from error

    @classmethod
    def _create(cls, path: Path, resume: str, recipe: dict[str, Any], announce: Callable[[str], None]) -> RunDirectory:
        lock = _lock(path, announce)
        try:
            if resume == "no" and (path / "recipe.yaml").exists():
                old = set_aside(path)
                announce(f"{path} held a run; it is now {old} (resume=no)")
                lock.release()
                lock = _lock(path, announce)
            clean_leftovers(path)
            resuming = (path / "recipe.yaml").exists()
            if resuming:
                _require_same(path, recipe, announce)
            else:
                _require_empty(path)
            run = cls(path, recipe, lock=lock, resuming=resuming)
            make_directory(run.checkpoints)
            text = yaml.safe_dump(recipe, allow_unicode=True, sort_keys=False, width=100)
            write_durably(run.recipe_file, text.encode())
            return run
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """A run to read from. Raises UserError if there is none at `path`."""
        path = Path(path)
        return cls(path, _read_recipe(path))

    def record(self, manifest: Mapping[str, Any]) -> None:
        """Write manifest.json. A run that goes on must go on with the same data, template and base: else UserError.

        The manifests of earlier starts are kept under `starts`.
        """
        earlier = read_manifest(self.manifest_file) if self.manifest_file.exists() else None
        if earlier is not None:
            changed = differences(earlier, manifest)
            if changed:
                raise UserError(
                    f"this run was started with other inputs ({'; '.join(changed[:3])})",
                    where=str(self.path),
                    mend="put them back, or choose another output_dir",
                )
        starts = [*(earlier or {}).get("starts", []), manifest.get("start", {})]
        text = json.dumps({**manifest, "starts": starts}, ensure_ascii=False, indent=1)
        write_durably(self.manifest_file, text.encode("utf-8", errors="backslashreplace"))

    def first_start(self) -> dict[str, Any]:
        """`start` of the manifest as this run began, empty if it never did."""
        starts = read_manifest(self.manifest_file).get("starts", []) if self.manifest_file.exists() else []
        return starts[0] if starts else {}

    def metrics(self, *, from_step: int) -> MetricsLog:
        """metrics.jsonl, cut back to the state after `from_step` steps, open for appending."""
        return MetricsLog(self.metrics_file, from_step=from_step)

    def rejected(self) -> JsonLines:
        """rejected.jsonl, emptied: every start reads the data from its beginning and rejects the same rows again."""
        return JsonLines(self.rejected_file, fresh=True)

    @contextmanager
    def writing_final(self) -> Iterator[Path]:
        """Yield an empty directory that becomes `final/` as a whole when the block ends well. Raises NotSaved."""
        try:
            with staged_directory(self.final) as staging:
                yield staging
        except OSError as error:
            raise not_saved(error, self.final, kept="the checkpoints stand") from error

    def close(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()


def _lock(path: Path, announce: Callable[[str], None]) -> Lock:
    while True:
        make_directory(path)
        lock = Lock(path / ".lock", announce=announce)
        if lock.still_at(path / ".lock"):
            return lock
        lock.release()  # the directory was renamed between our mkdir and our lock


def set_aside(path: Path) -> Path:
    """Rename a directory to the first free `NAME.old-N`, which is returned."""
    number = 1
    while (old := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    path.rename(old)
    return old


def _require_empty(path: Path) -> None:
    known = {".lock", "checkpoints"}  # a start that died before it wrote its recipe leaves these
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in known)
    if not foreign and (path / "checkpoints").is_dir():
        foreign = [f"checkpoints/{entry.name}" for entry in (path / "checkpoints").iterdir()]
    if foreign:
        raise UserError(
            f"output_dir holds other files ({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}) and no run",
            where=str(path),
            mend="choose an empty or a new directory",
        )


def _read_recipe(path: Path) -> dict[str, Any]:
    file = path / "recipe.yaml"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            "no run directory (it has no readable recipe.yaml)",
            where=str(path),
            mend="give the output_dir of a `camelid train`",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            "the run's recipe.yaml is damaged", where=str(file), mend="choose another output_dir, or resume=no"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            "the run's recipe.yaml is damaged", where=str(file), mend="choose another output_dir, or resume=no"
        )
    return content


def _require_same(path: Path, recipe: dict[str, Any], announce: Callable[[str], None]) -> None:
    changed = _changed_fields(_read_recipe(path), recipe)
    decisive = {name: both for name, both in changed.items() if name.split(".")[0] not in FREE_FIELDS | LAYOUT_FIELDS}
    if decisive:
        shown = "; ".join(f"{name}: {old!r} there, {new!r} here" for name, (old, new) in list(decisive.items())[:3])
        more = f"; and {len(decisive) - 3} more" if len(decisive) > 3 else ""
        raise UserError(
            f"output_dir holds a run of another recipe ({shown}{more})",
            where=str(path),
            mend="choose another output_dir, put the fields back, or set resume=no (the old run is then set aside)",
        )
    layout = sorted(set(changed) & LAYOUT_FIELDS)
    if layout:
        announce(
            f"{', '.join(layout)} changed since this run was started: it goes on equal to rounding, not bit for bit"
        )


def _changed_fields(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted name -> (old value, new value), for each leaf that differs; a field that is not there counts as None."""
    changed: dict[str, tuple[Any, Any]] = {}
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            changed |= _changed_fields(before, after, f"{prefix}{name}.")
        elif before != after or type(before) is not type(after):
            changed[f"{prefix}{name}"] = (before, after)
    return changed
