"""`camelid data identity` and `identity-test`: rows that teach a name, and whether it was learnt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from camelid.cli.console import print_json, print_table, say
from camelid.cli.data.results import say_asked, tell
from camelid.cli.data.teacher import going_on, open_desk
from camelid.cli.data.teacher_options import TeacherOptions
from camelid.data.factory.identity import Identity, Row, identity_rows, says_who
from camelid.data.factory.output import Output
from camelid.data.factory.teacher import Ask
from camelid.data.skills.draw import LANGUAGES, Language
from camelid.errors import UserError
from camelid.runs.durable import write_durably
from camelid.runs.interval import Share
from camelid.runs.jsonlines import read_lines

_TOKENS = 96


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """Who it is. name_en, maker_en: in English, where they are other ones"""

    name: str
    maker: str
    name_en: str | None
    maker_en: str | None
    copies: int
    seed: int

    @property
    def who(self) -> dict[Language, Identity]:
        english = Identity(self.name_en or self.name, self.maker_en or self.maker)
        return {"zh": Identity(self.name, self.maker), "en": english}


def identity(options: IdentityOptions, output: Path, *, overwrite: bool, as_json: bool) -> int:
    """Write rows to train on, and beside them the test. Raises UserError."""
    who = options.who
    for one in who.values():
        if not one.name.strip() or not one.maker.strip():
            raise UserError("a name and a maker are needed", where="--name, --maker")
    test_file = output.with_suffix(".test.jsonl")
    with Output(output, overwrite=overwrite) as out:
        for number, row in enumerate(identity_rows(who, "train", copies=options.copies, seed=options.seed)):
            out.keep(_as_row(row, number))
        tests = [
            _as_test(row, who, n) for n, row in enumerate(identity_rows(who, "heldout", copies=1, seed=options.seed))
        ]
        lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in tests)
        settings: dict[str, Any] = {language: asdict(one) for language, one in who.items()}
        settings |= {"copies": options.copies, "seed": options.seed}
        write_durably(test_file, lines.encode())
        manifest = out.finish("identity", settings, [], test={"path": str(test_file), "rows": len(tests)})
    tell(manifest, out, as_json=as_json)
    if not as_json:
        say(f"held-out questions: {len(tests):,} in {test_file}")
    return 0


def identity_test(test_file: Path, teacher: TeacherOptions, *, least: float, as_json: bool) -> int:
    """Ask every held-out question; 1 where fewer than `least` of them are answered rightly. Raises UserError."""
    tests = _tests(test_file)
    journal_file = test_file.with_suffix(".answers.jsonl")
    with going_on(journal_file), open_desk(teacher, journal_file, seed=0) as desk:
        asks = [Ask(tuple((turn["role"], turn["content"]) for turn in one["messages"]), _TOKENS) for one in tests]
        answers = desk.ask(asks)
        ended, summary = desk.ask.ended, desk.summary()
    if ended:
        raise UserError(f"not every question was asked: {ended}", where=str(test_file))
    right: dict[tuple[str, str], list[bool]] = {}
    wrong = []
    for one, answer in zip(tests, answers, strict=True):
        said = "" if answer is None else answer.text
        good = says_who(said, one["kind"], Identity(one["name"], one["maker"]), one["others"])
        right.setdefault((one["language"], one["kind"]), []).append(good)
        if not good:
            wrong.append({"question": one["messages"][-1]["content"], "answer": said, "kind": one["kind"]})
    share = Share(len(tests) - len(wrong), len(tests))
    low, high = share.interval
    told = {"right": share.right, "of": share.total, "share": share.value, "low": low, "high": high, "wrong": wrong}
    if as_json:
        print_json({**told, "teacher": summary})
    else:
        body = [(*key, f"{sum(some)} of {len(some)}") for key, some in right.items()]
        print_table(("language", "kind", "right"), body, justify="llr")
        for one in wrong[:10]:
            say(f"  {one['question']!r}: {one['answer']!r}")
        say(f"right: {share}")
        say_asked("", summary)
    return 0 if share.value >= least else 1


def _as_row(row: Row, number: int) -> dict[str, Any]:
    turns = [{"role": role, "content": words} for role, words in row.turns]
    return {"id": f"identity-{number}", "kind": row.kind, "language": row.language, "messages": turns}


def _as_test(row: Row, who: Mapping[Language, Identity], number: int) -> dict[str, Any]:
    """Without the last answer, with what tells whether one is right."""
    told = _as_row(row, number)
    told["messages"] = told["messages"][:-1]
    return {**told, **asdict(who[row.language]), "others": list(row.others)}


def _tests(path: Path) -> list[dict[str, Any]]:
    """Raises UserError for what is no such file."""
    try:
        tests = list(read_lines(path))
    except ValueError as error:
        raise UserError(str(error), where=str(path)) from None
    needed = {"messages", "kind", "language", "name", "maker", "others"}
    if not tests or any(not needed <= set(one) or one["language"] not in LANGUAGES for one in tests):
        raise UserError("no test of `camelid data identity`", where=str(path), mend="NAME.test.jsonl, as it is written")
    return tests
