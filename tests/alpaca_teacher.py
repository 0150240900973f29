"""Teachers that answer with published data: Alpaca's own rows as tasks, and a published translation of them."""

from __future__ import annotations

import html
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripted_endpoint import whole

from camelid.data.factory.make import prompts
from camelid.data.factory.seeds import SeedTask
from camelid.data.factory.translate.protect import protect

FIRST, LAST = 15323, 18280  # rows of Alpaca that have a published translation
PER_CALL = 17  # behind the three that a prompt shows


def alpaca(shared_data: Path) -> list[dict[str, str]]:
    """All rows in English."""
    return json.loads((shared_data / "instruct" / "alpaca_data.json").read_text("utf-8"))


def translated_pairs(shared_data: Path) -> list[tuple[dict[str, str], dict[str, str]]]:
    """(English row, the same in Chinese), where question and answer are translated."""
    file = shared_data / "instruct" / f"alpaca_zh_hikariming_{FIRST}-{LAST}.json"
    chinese = json.loads(file.read_text("utf-8"))
    english = alpaca(shared_data)[FIRST:LAST]
    assert len(english) == len(chinese)
    return [
        (one, {key: html.unescape(text) for key, text in other.items()})
        for one, other in zip(english, chinese, strict=True)
        if all(re.search("[一-鿿]", other[key]) for key in ("instruction", "output"))
    ]


def right_answers(pairs: list[tuple[dict[str, str], dict[str, str]]]) -> dict[str, str]:
    """What a right translation answers to each text as it is asked, with its marks."""
    table = {}
    for english, chinese in pairs:
        for key, text in english.items():
            protected, said = protect(text), chinese[key]
            for place, kept in enumerate(protected.kept):
                said = said.replace(kept, f"⟦{place}⟧", 1)
            table[protected.text.strip()] = said
    return table


def asked_text(question: str) -> str:
    """What is to be translated, out of the question to a teacher."""
    return question[question.index("<text>\n", question.index("\n\n")) + 7 : question.rindex("\n</text>")]


def teacher(shared_data: Path) -> Callable[[str, int], Any]:
    """A script for an endpoint: tasks where tasks are asked for, a translation where that is."""
    rows, table = alpaca(shared_data), right_answers(translated_pairs(shared_data))

    def script(question: str, count: int) -> Any:
        if "<text>\n" in question:
            return whole(table[asked_text(question)])
        start = zlib.crc32(question.encode()) % (FIRST - PER_CALL)
        tasks = [
            SeedTask("", "", row["instruction"], row["input"], row["output"], False)
            for row in rows[start : start + PER_CALL]
        ]
        return whole(prompts.as_tasks(tasks, 4, "en"))

    return script
