"""What a report reads from the run directory: recipe, curves, manifest and the number of rejected rows."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camelid.runs.directory import RunDirectory
from camelid.runs.jsonlines import read_lines
from camelid.runs.manifest import read_manifest
from camelid.runs.metrics import Point, read_curves
from camelid.runs.report_words import WORDS, Words
from camelid.runs.turning import best_evaluation, first_turn


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything about a run that is on disk. `curves`: metric -> (step, value) in order."""

    path: Path
    recipe: dict[str, Any]
    manifest: dict[str, Any]
    curves: dict[str, list[Point]]
    rejected: int
    version: str
    warnings: Sequence[Words] = field(default=())

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def base(self) -> str:
        base = self.manifest.get("base")
        label = base.get("label") if isinstance(base, dict) else None
        return str(label or self.recipe.get("base", "?"))

    @property
    def starts(self) -> list[dict[str, Any]]:
        return [start for start in self.manifest.get("starts", []) if isinstance(start, dict)]

    @property
    def last_start(self) -> dict[str, Any]:
        return self.starts[-1] if self.starts else {}

    @property
    def date(self) -> str:
        return str(self.last_start.get("time", ""))[:10]

    @property
    def hardware(self) -> Words:
        """The machine of the last start in one line; empty if it is not recorded."""
        hardware = self.last_start.get("hardware")
        if not isinstance(hardware, dict) or not isinstance(hardware.get("memory_bytes"), int):
            return Words("", "")
        devices = ", ".join(str(name) for name in hardware.get("accelerators") or ())
        return WORDS["machine_line"].filled(
            processor=hardware.get("processor", "?"),
            cores=hardware.get("cores", "?"),
            memory=f"{hardware['memory_bytes'] / 2**30:.0f} GiB",
            devices=devices or WORDS["no_gpu"],
        )


def read_facts(run: RunDirectory) -> RunFacts:
    """Raises UserError if the manifest is unreadable; damaged lines of metrics are counted in `warnings`."""
    damaged: list[int] = []
    curves = read_curves(run.metrics_file, on_damage=lambda line, reason: damaged.append(line))
    rejected = sum(1 for _ in read_lines(run.rejected_file, on_damage=lambda line, reason: None))
    warnings = []
    broken = sum(not math.isfinite(y) for key in ("loss", "eval_loss") for _, y in curves.get(key, ()))
    if broken:
        warnings.append(WORDS["broken"].filled(count=broken))
    if damaged:
        warnings.append(WORDS["unreadable"].filled(count=len(damaged)))
    warnings += _overfitting(curves.get("loss", []), curves.get("eval_loss", []), run.recipe)
    return RunFacts(
        path=run.path,
        recipe=run.recipe,
        manifest=read_manifest(run.manifest_file) if run.manifest_file.exists() else {},
        curves=curves,
        rejected=rejected,
        version=importlib.metadata.version("camelid"),
        warnings=warnings,
    )


def _overfitting(train: Sequence[Point], held: Sequence[Point], recipe: dict[str, Any]) -> list[Words]:
    """That validation turned, and what the last evaluation lost against the best one."""
    said = []
    if turn := first_turn(train, held):
        said.append(WORDS["turned"].filled(since=turn.since, lowest=f"{turn.lowest:.4f}", now=f"{turn.now:.4f}"))
    if best := best_evaluation(held):
        kept = recipe.get("load_best_model_at_end") and best.step > 0
        words = WORDS["best_base" if best.step == 0 else "best_kept" if kept else "best_lost"]
        said.append(words.filled(step=best.step, loss=f"{best.loss:.4f}", lost=f"{best.lost:.4f}"))
    return said
