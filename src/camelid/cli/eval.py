"""`camelid eval`: how well a classifier or tagger does on a file, with every prediction where it is wanted; of a model
that writes, cli/eval_chat.py."""

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
from camelid.data.tasks.read import read_task_records
from camelid.data.tasks.records import Classified, TaskRecord
from camelid.data.tasks.render import TaskRenderer
from camelid.errors import UserError
from camelid.evaluate.tasks import predict, score
from camelid.model.classifier_files import load_classifier
from camelid.model.fused import fuse
from camelid.model.layout import choose_layout
from camelid.model.load import resolve, source_vocabulary, task_of
from camelid.model.resolve import Source


@dataclass(frozen=True)
class EvalOptions:
    """What the command line asks for; `columns` and `predictions` for tasks with classes, the rest for text."""

    columns: Sequence[str] = ()
    max_length: int = 1024
    predictions: Path | None = None
    template: str = "auto"
    adapter_scale: float = 1.0
    accept_license: str | None = None


def evaluate(model: str, data: str | None, options: EvalOptions, *, as_json: bool) -> int:
    """Score MODEL on DATA; the exit code."""
    source = resolve(model, accept_license=options.accept_license, announce=say)
    if task_of(source) is None:
        if options.columns or options.predictions is not None:
            raise UserError("--column and --predictions are for models that tell classes apart", where=model)
        return evaluate_chat(
            source,
            data,
            template=options.template,
            max_length=options.max_length,
            scale=options.adapter_scale,
            as_json=as_json,
        )
    if options.adapter_scale != 1 or options.template != "auto":
        raise UserError("--adapter-scale and --template are for models that write text", where=model)
    if data is None:
        raise UserError("on which texts?", where=model, mend=f"camelid eval {model} FILE")
    return _evaluate_classes(source, model, data, options, as_json=as_json)


def _evaluate_classes(source: Source, model: str, data: str, options: EvalOptions, *, as_json: bool) -> int:
    lm, info = load_classifier(source, dtype="float32", announce=say)
    fuse(lm)
    layout, _ = choose_layout(lm, "tree")
    ledger = Ledger()
    records = read_task_records(data, info.task, _columns(options.columns), seed=0, ledger=ledger, announce=say)
    renderer = TaskRenderer(source_vocabulary(source), info.labels, options.max_length)
    examples, kept = renderer.render(records, ledger.reject)
    if not examples:
        raise UserError(f"none of its rows can be used: {ledger.top_reasons()}", where=data)
    found = predict(lm, examples, layout)
    result = score(info, examples, found)
    say(f"rows: {ledger.read:,} read = {ledger.kept:,} kept + {ledger.rejected:,} rejected")
    if ledger.rejected:
        say(f"rejected: {ledger.top_reasons()}")
    if options.predictions is not None:
        _write(options.predictions, info.labels, kept, found)
    if as_json:
        print_json({"model": model, "data": data, "task": info.task, **asdict(result)})
    else:
        print(result)
        for name, figures in result.by_class.items():
            print(f"  {name}: " + ", ".join(f"{key} {figures[key]:.3f}" for key in ("precision", "recall", "f1")))
    return 0


def _columns(given: Sequence[str]) -> Mapping[str, str]:
    columns = {}
    for item in given:
        role, equals, name = item.partition("=")
        if not equals or not any(role in roles for roles in ROLES.values()):
            raise UserError(f"{item!r} names no column", where="--column", mend="for example --column text=sentence")
        columns[role] = name
    return columns


def _write(path: Path, labels: Sequence[str], records: Sequence[TaskRecord], found: Sequence[Any]) -> None:
    """One JSON object a row: where it came from, what was right, what was said."""
    with path.open("w", encoding="utf-8") as file:
        for record, classes in zip(records, found, strict=True):
            said: Any = [labels[i] for i in classes]
            row: dict[str, Any] = {"file": record.origin.file, "line": record.origin.line}
            if isinstance(record, Classified):
                row |= {"texts": record.texts, "label": record.label, "predicted": said[0]}
            else:
                row |= {"words": record.words, "tags": record.tags, "predicted": said}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
