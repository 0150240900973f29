"""`camelid eval`: how well a classifier or tagger does on a file, with every prediction where it is wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from camelid.cli.console import print_json, say
from camelid.cli.eval_chat import evaluate_chat
from camelid.config import ROLES
from camelid.data.ledger import Ledger
from camelid.data.pack import Example
from camelid.data.render import Renderer
from camelid.data.tasks.names import named
from camelid.data.tasks.read import read_task_records
from camelid.data.tasks.records import Classified, TaskRecord
from camelid.data.tasks.render import TaskRenderer
from camelid.data.templates import template_for
from camelid.errors import UserError
from camelid.evaluate.answered import answer_records, score_answered
from camelid.evaluate.tasks import ClassScore, TagScore, predict, score
from camelid.model.classifier_files import load_classifier
from camelid.model.fused import fuse
from camelid.model.layout import choose_layout
from camelid.model.load import Source, resolve, source_vocabulary
from camelid.model.task_info import TaskInfo
from camelid.model.tuned import load_tuned
from camelid.train.data import make_asker


@dataclass(frozen=True)
class EvalOptions:
    """What the command line asks for; `columns` and `predictions` for tasks, template and scale for chat."""

    model: str
    data: str | None
    columns: Sequence[str] = ()
    max_length: int = 1024
    predictions: Path | None = None
    template: str = "auto"
    adapter_scale: float = 1.0
    accept_license: str | None = None


@dataclass(frozen=True)
class _Scored:
    """The rows that could be used, what was said of each (a class, or tags), and the score."""

    records: list[TaskRecord]
    said: list[Any]
    score: ClassScore | TagScore


def evaluate(options: EvalOptions, *, as_json: bool) -> int:
    """Score a model on a file; the exit code."""
    source = resolve(options.model, accept_license=options.accept_license, announce=say)
    info = TaskInfo.load(source.outermost)
    if info is None:
        if options.columns or options.predictions is not None:
            raise UserError("--column and --predictions are for models of a task", where=options.model)
        return evaluate_chat(
            source,
            options.data,
            template=options.template,
            max_length=options.max_length,
            scale=options.adapter_scale,
            as_json=as_json,
        )
    if options.adapter_scale != 1 or options.template != "auto":
        raise UserError("--adapter-scale and --template are for models of task chat", where=options.model)
    if options.data is None:
        raise UserError("on which texts?", where=options.model, mend=f"camelid eval {options.model} FILE")
    return _evaluate_task(source, info, options.data, options, as_json=as_json)


def _evaluate_task(source: Source, info: TaskInfo, data: str, options: EvalOptions, *, as_json: bool) -> int:
    ledger = Ledger()
    rows = read_task_records(data, info.task, _columns(options.columns), seed=0, ledger=ledger, announce=say)
    scored = (_by_head if info.form == "head" else _by_answers)(source, info, named(rows, info.names), options, ledger)
    say(f"rows: {ledger.read:,} read = {ledger.kept:,} kept + {ledger.rejected:,} rejected")
    if ledger.rejected:
        say(f"rejected: {ledger.top_reasons()}")
    if options.predictions is not None:
        _write(options.predictions, scored)
    if as_json:
        named_here = {"model": options.model, "data": data, "task": info.task, "task_form": info.form}
        print_json({**named_here, **asdict(scored.score)})
    else:
        print(scored.score)
        for name, figures in scored.score.by_class.items():
            print(f"  {name}: " + ", ".join(f"{key} {figures[key]:.3f}" for key in ("precision", "recall", "f1")))
    return 0


def _by_head(source: Source, info: TaskInfo, rows: list[TaskRecord], options: EvalOptions, ledger: Ledger) -> _Scored:
    lm, _ = load_classifier(source, dtype="float32", announce=say)
    fuse(lm)
    layout, _ = choose_layout(lm, "tree")
    renderer = TaskRenderer(source_vocabulary(source), info.labels, options.max_length)
    examples, kept = renderer.render(rows, ledger.reject)
    _require(examples, options, ledger)
    found = predict(lm, examples, layout)
    said = [[info.labels[i] for i in classes] for classes in found]
    if info.task != "tag":
        said = [classes[0] for classes in said]
    return _Scored(kept, said, score(info, examples, found))


def _by_answers(
    source: Source, info: TaskInfo, rows: list[TaskRecord], options: EvalOptions, ledger: Ledger
) -> _Scored:
    tuned, vocabulary, layout = load_tuned(source, announce=say)
    # the run's own template lies beside its tokenizer
    chat = Renderer(vocabulary, template_for("auto", vocabulary), options.max_length)
    asker = make_asker(info, chat, options.max_length)
    examples, kept = asker.render(rows, ledger.reject)
    _require(examples, options, ledger)
    answered = answer_records(tuned.lm, asker, kept, layout)
    return _Scored(kept, answered.as_rows(kept), score_answered(asker, kept, answered))


def _require(examples: Sequence[Example], options: EvalOptions, ledger: Ledger) -> None:
    if not examples:
        raise UserError(f"none of its rows can be used: {ledger.top_reasons()}", where=str(options.data))


def _columns(given: Sequence[str]) -> Mapping[str, str]:
    columns = {}
    for item in given:
        role, equals, name = item.partition("=")
        if not equals or not any(role in roles for roles in ROLES.values()):
            raise UserError(f"{item!r} names no column", where="--column", mend="for example --column text=sentence")
        columns[role] = name
    return columns


def _write(path: Path, scored: _Scored) -> None:
    """One JSON object a row: where it came from, what was right, what was said."""
    with path.open("w", encoding="utf-8") as file:
        for record, said in zip(scored.records, scored.said, strict=True):
            row: dict[str, Any] = {"file": record.origin.file, "line": record.origin.line}
            if isinstance(record, Classified):
                row |= {"texts": record.texts, "label": record.label, "predicted": said}
            else:
                row |= {"words": record.words, "tags": record.tags, "predicted": said}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
