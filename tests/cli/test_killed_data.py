"""`camelid data generate` and `translate`, killed at any moment: they go on, and no answer is lost or paid twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invented import WORDS, chinese, invented
from scripted_endpoint import scripted_endpoint, whole


def _translated(question: str) -> str:
    return chinese(question[question.rindex("<text>\n") + 7 : question.rindex("\n</text>")])


class _Faulty:
    """A quarter of the first two tries fails, in five ways. A question's number is what its prompt is said to have."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self._answer = answer
        self._numbers: dict[str, int] = {}
        self.asked: list[int] = []
        self.calm = False

    def __call__(self, words: str, count: int) -> tuple[int, Any, dict[str, str]] | None:
        number = self._numbers.setdefault(words, 1000 + len(self._numbers))
        self.asked.append(number)
        status, body, headers = whole(self._answer(words), number)
        data = json.dumps(body).encode()
        if self.calm:
            return status, data, headers
        match random.Random(f"{number} {count}").randrange(20) if count < 3 else 5:
            case 0:
                return 500, b"oops", {}
            case 1:
                return 429, {"error": {"message": "slow down"}}, {"retry-after": "0.05"}
            case 2:
                time.sleep(0.6)  # longer than the time-out
            case 3:
                return 200, data[: len(data) // 2], {"content-length": str(len(data))}
            case 4:
                return None
            case _:
                time.sleep(0.02)
        return status, data, headers


def _rows(path: Path, count: int) -> None:
    chance = random.Random(1)
    lines = []
    for number in range(count):
        texts = [f"{' '.join(chance.sample(WORDS, 8))} {chance.randrange(10, 1000)}" for _ in range(2)]
        lines.append(json.dumps({"id": number, "instruction": texts[0], "output": texts[1]}))
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("verb", ["generate", "translate"])
def test_killed_at_any_moment_it_goes_on(verb: str, kills: int, tmp_path: Path) -> None:
    """No answer that is in the journal is asked for again, none is there twice; the result is the uninterrupted one."""
    chance = random.Random(kills)
    faulty = _Faulty(invented if verb == "generate" else _translated)
    _rows(tmp_path / "given.jsonl", 30 + 6 * kills)
    what = {
        "generate": ["--language", "en", "--count", str(60 + 16 * kills)],
        "translate": [str(tmp_path / "given.jsonl"), "--to", "zh"],
    }[verb]
    with scripted_endpoint(faulty) as (url, _):
        command = [sys.executable, "-m", "camelid", "data", verb, *what, "-o", "made.jsonl", "--timeout", "0.5"]
        command += ["--teacher", f"{url}#m", "--slots", "4"]

        def run(folder: Path, kill: Callable[[], bool] = lambda: False) -> int | None:
            """The exit code; None where it was killed, as soon as that was asked for."""
            folder.mkdir(exist_ok=True)
            with (folder / "err").open("ab") as err:
                child = subprocess.Popen(command, cwd=folder, stderr=err, env={**os.environ, "OMP_NUM_THREADS": "1"})
            while child.poll() is None:
                if kill():
                    child.send_signal(signal.SIGKILL)
                    child.wait()
                    return None
                time.sleep(0.005)
            return child.returncode

        journal = tmp_path / "killed" / "made.journal.jsonl"
        killed = asked_before = 0
        known: set[int] = set()
        again: list[int] = []
        while True:
            kept = {row["answer"]["prompt_tokens"] for row in _whole_lines(journal)}
            again += [number for number in faulty.asked[asked_before:] if number in known]
            known, asked_before = kept, len(faulty.asked)
            code = run(tmp_path / "killed", _moment(journal, chance) if killed < kills else lambda: False)
            if code is not None:
                break
            killed += 1
        assert code == 0, (tmp_path / "killed" / "err").read_text()[-2000:]
        assert killed == kills, "the work was over before it was killed often enough"
        assert not again
        numbers = Counter(row["answer"]["prompt_tokens"] for row in _whole_lines(journal))
        assert set(numbers.values()) == {1}
        faulty.calm = True
        assert run(tmp_path / "whole") == 0
    for name in ("made.jsonl", "made.dropped.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (tmp_path / "whole" / "made.jsonl").read_bytes().count(b"\n") > 20


def _moment(journal: Path, chance: random.Random) -> Callable[[], bool]:
    """Whether it has come: while the program starts, or a little after some more answers, however fast it is."""
    if chance.random() < 0.2:
        end = time.monotonic() + chance.uniform(0.1, 1.0)
        return lambda: time.monotonic() > end
    wanted = len(_whole_lines(journal)) + chance.randrange(1, 6)
    late = chance.uniform(0, 0.03)
    seen: list[float] = []

    def come() -> bool:
        if not seen and len(_whole_lines(journal)) >= wanted:
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() > seen[0] + late

    return come


def _whole_lines(journal: Path) -> list[dict[str, Any]]:
    if not journal.exists():
        return []
    return [json.loads(line) for line in journal.read_bytes().split(b"\n")[:-1]]
