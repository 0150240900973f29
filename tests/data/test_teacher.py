"""The journal of a teacher's answers: none is lost, none is asked twice, whatever ends the program when."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from camelid.data.factory.teacher import Answer, Ask, Hear, Journal, NoAnswer
from camelid.errors import UserError
from camelid.runs.jsonlines import read_lines


def _asks(*words: str) -> list[Ask]:
    return [Ask((("user", word),), 16) for word in words]


class _Backwards:
    """Says each question backwards, in any order, from threads of its own; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, asks: Sequence[Ask], hear: Hear) -> None:
        self.asked += [ask.messages[-1][1] for ask in asks]
        places = list(range(len(asks)))
        random.Random(1).shuffle(places)
        threads = [
            threading.Thread(target=hear, args=(i, Answer(asks[i].messages[-1][1][::-1], "stop", 3, 2))) for i in places
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_answers_come_in_order_and_are_asked_for_once(tmp_path: Path) -> None:
    teacher, path = _Backwards(), tmp_path / "journal.jsonl"
    with Journal(path, "it") as journal:
        found = journal.answers(_asks("abc", "你好", "abc", "x"), teacher)
        assert [answer.text for answer in found] == ["cba", "好你", "cba", "x"]
        assert (journal.asked, journal.spent) == (3, (9, 6))
    assert sorted(teacher.asked) == sorted(["abc", "你好", "x"])
    with Journal(path, "it") as journal:
        assert [answer.text for answer in journal.answers(_asks("new", "你好"), teacher)] == ["wen", "好你"]
        assert (journal.asked, journal.spent) == (1, (12, 8))
    assert teacher.asked[3:] == ["new"]
    with Journal(path, "another") as journal:
        journal.answers(_asks("x"), teacher)
    assert teacher.asked[4:] == ["x"], "another teacher's answers are others"
    first, again = Ask((("user", "x"),), 16), Ask((("user", "x"),), 16, number=1)
    assert first.name("it") != again.name("it")
    assert first.name("it") == "b9c2dbeedc0d528e85d2e7272f068401", "journals of before must stay good"


def test_what_was_answered_before_a_fault_stays(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"

    def half(asks: Sequence[Ask], hear: Hear) -> None:
        hear(1, Answer("two", "stop", 1, 1))
        raise NoAnswer("503")

    def silent(asks: Sequence[Ask], hear: Hear) -> None:
        hear(0, Answer("one", "length", 1, 1))

    with Journal(path, "it") as journal:
        with pytest.raises(NoAnswer, match="503"):
            journal.answers(_asks("1", "2", "3"), half)
        with pytest.raises(NoAnswer, match="1 of 2 questions"):
            journal.answers(_asks("1", "2", "3"), silent)
    teacher = _Backwards()
    with Journal(path, "it") as journal:
        assert [answer.text for answer in journal.answers(_asks("1", "2", "3"), teacher)] == ["one", "two", "3"]
    assert teacher.asked == ["3"]


def test_an_answer_is_on_the_disk_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "journal.jsonl", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.read_bytes().count(b"\n")))
    with Journal(path, "it") as journal:
        journal.answers(_asks("1", "2"), _Backwards())
    assert synced == [1, 2]


def test_a_damaged_journal_is_said_and_a_torn_end_is_not_damage(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, "it") as journal:
        journal.answers(_asks("1"), _Backwards())
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"ask": "to')
    with Journal(path, "it") as journal:
        journal.answers(_asks("1", "2"), _Backwards())
    assert len(list(read_lines(path))) == 2
    path.write_bytes(b"rubbish\n" + whole)
    with pytest.raises(UserError, match="journal"):
        Journal(path, "it")
    path.write_bytes(b'{"ask": "a", "answer": {}}\n')
    with pytest.raises(UserError, match="journal"):
        Journal(path, "it")


_CHILD = """
import sys
from pathlib import Path
from camelid.data.factory.teacher import Answer, Ask, Journal

def teacher(asks, hear):
    for place, ask in enumerate(asks):
        with open(sys.argv[2], "a") as paid:
            paid.write(ask.messages[0][1] + "\\n")
        hear(place, Answer("to " + ask.messages[0][1], "stop", 1, 1))
        print("heard", flush=True)

with Journal(Path(sys.argv[1]), "it") as journal:
    journal.answers([Ask((("user", str(i)),), 8) for i in range(40)], teacher)
print("done", flush=True)
"""


def test_killed_again_and_again_at_most_the_answer_on_its_way_is_asked_twice(tmp_path: Path) -> None:
    """What was paid for is written before the answer is heard: only the one in between can be there twice."""
    journal, paid, rng, kills = tmp_path / "journal.jsonl", tmp_path / "paid", random.Random(3), 0
    for _ in range(60):
        arguments = [sys.executable, "-c", _CHILD, str(journal), str(paid)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(rng.randrange(1, 9)):
                if child.stdout.readline() == "done\n":
                    break
            else:
                child.kill()
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL
        kills += 1
    assert kills >= 4
    names = [row["ask"] for row in read_lines(journal)]
    assert len(names) == len(set(names)) == 40
    asked = paid.read_text().split()
    assert set(asked) == {str(i) for i in range(40)}
    assert len(asked) <= 40 + kills
