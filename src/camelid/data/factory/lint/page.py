"""What lint found as one page: both languages, every text escaped, no script and no request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camelid.data.factory.lint.kinds import SEVERITY_WORDS
from camelid.data.factory.lint.linter import Findings, Tally
from camelid.data.factory.lint.report import command_of, place, share
from camelid.data.records import Origin
from camelid.runs.report_page import render_page
from camelid.runs.report_words import Words

_TITLE = Words("Data lint", "数据检查")
_HEADS = {
    "rule": Words("rule", "规则"),
    "severity": Words("severity", "级别"),
    "title": Words("what", "问题"),
    "rows": Words("rows", "行数"),
    "share": Words("share", "占比"),
}
_NOTHING = Words("Nothing was found.", "没有发现问题。")
_NOTE = Words(
    "A row counts once for each rule. Errors break training, teach what must never be taught, or hold what the law "
    "protects; warnings are probably not what the row's maker wanted; notes are worth a look. Personal data is masked.",
    "每条规则下每行只计一次。“错误”会破坏训练、教会模型绝不该学的内容，或包含受法律保护的信息；“警告”多半不是本意；"
    "“提示”值得看一看。个人信息已做遮挡。",
)
_MOODS = {"error": "warn", "warning": "", "note": ""}


def render_lint(findings: Findings, sources: Sequence[str]) -> str:
    """The page as text."""
    return render_page(
        "lint.html.jinja",
        title=_TITLE,
        name=", ".join(Path(source).name for source in sources),
        tiles=_tiles(findings),
        heads=_HEADS,
        kinds=[_kind(tally, findings, sources) for tally in findings.found],
        nothing=_NOTHING,
        note=_NOTE,
    )


def _tiles(findings: Findings) -> list[dict[str, Any]]:
    rows = findings.rows
    errors, warned = findings.rows_with("error"), findings.rows_with("warning")
    clean = rows - findings.rows_with("note")
    unreadable = Words("{n} of them unreadable", "其中 {n} 行无法读取").filled(n=f"{findings.unreadable:,}")
    return [
        _tile(rows, Words("rows read", "读取的行"), unreadable, ""),
        _tile(
            errors, Words("rows with errors", "有错误的行"), _same(share(errors, rows)), "warn" if errors else "good"
        ),
        _tile(warned, Words("rows with errors or warnings", "有错误或警告的行"), _same(share(warned, rows)), ""),
        _tile(clean, Words("rows without a finding", "没有问题的行"), _same(share(clean, rows)), "good"),
    ]


def _tile(figure: int, label: Words, detail: Words, mood: str) -> dict[str, Any]:
    return {"figure": f"{figure:,}", "label": label, "detail": detail, "mood": mood}


def _same(text: str) -> Words:
    return Words(text, text)


def _kind(tally: Tally, findings: Findings, sources: Sequence[str]) -> dict[str, Any]:
    kind = tally.kind
    return {
        "name": kind.name,
        "severity": SEVERITY_WORDS[kind.severity],
        "mood": _MOODS[kind.severity],
        "title": kind.title,
        "count": f"{tally.count:,}",
        "share": share(tally.count, findings.rows),
        "mend": kind.mend,
        "command": command_of(kind, findings, sources),
        "examples": [
            {
                "place": _place(one.origin, findings),
                "shown": one.shown,
                "other": _place(one.other, findings) if one.other else "",
            }
            for one in tally.examples
        ],
    }


def _place(origin: Origin, findings: Findings) -> str:
    """Where a row begins: the file by its name alone, where no other has that name."""
    name = Path(origin.file).name
    alone = sum(Path(file).name == name for file in findings.files) == 1
    return f"{name}:{origin.line}" if alone else place(origin)
