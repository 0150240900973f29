"""`camelid data generate`: what it leaves and says, what it costs, and who may be the teacher."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from invented import WORDS, invented
from program import camelid
from scripted_endpoint import scripted_endpoint, whole
from tiny import tiny_base

from camelid.data.ledger import Ledger
from camelid.data.sources import read_records


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_what_it_makes_is_read_by_train_and_every_candidate_is_told(tmp_path: Path) -> None:
    output = tmp_path / "made" / "tasks.jsonl"
    with scripted_endpoint(lambda words, count: whole(invented(words))) as (url, server):
        arguments = [
            "data",
            "generate",
            "-o",
            output,
            "--language",
            "en",
            "--count",
            "20",
            "--teacher",
            f"{url}#gpt-4o",
        ]
        code, out, err = camelid(*arguments, "--json")
        assert code == 0, err
        told = json.loads(out)
        assert told["counts"]["written"] == 20
        assert told["counts"]["read"] == told["counts"]["used"] + told["counts"]["dropped"] == 21
        assert told["reasons"] == {"more than were wanted": 1}
        assert told["ended"] == "complete"
        assert told["teacher"] == {
            "name": f"{url}#gpt-4o",
            "answers": 7,
            "prompt_tokens": 70,
            "completion_tokens": 140,
            "cost": pytest.approx((70 * 2.5 + 140 * 10) / 1e6),
        }
        rows, dropped = _rows(output), _rows(output.with_suffix(".dropped.jsonl"))
        assert [row["id"] for row in rows][:4] == ["alpaca-1-1", "alpaca-1-2", "alpaca-1-3", "alpaca-2-1"]
        assert [(one["reason"], one["row"]["id"]) for one in dropped] == [("more than were wanted", "alpaca-3-12")]
        read = list(read_records([str(output)], seed=0, ledger=Ledger()))
        assert len(read) == 20
        assert sum(server.asked.values()) == 7

        code, _, err = camelid(*arguments)
        assert (code, "is there already" in err) == (2, True)
        code, _, err = camelid(*["21" if one == "20" else one for one in arguments], "--overwrite")
        assert code == 0
        assert "21 candidates = 21 used + 0 dropped" in err
        assert _rows(output)[:20] == rows
        assert sum(server.asked.values()) == 7, "one more was in the journal"


def test_limits_of_money_and_time_leave_what_was_made(tmp_path: Path) -> None:
    output = tmp_path / "tasks.jsonl"
    with scripted_endpoint(lambda words, count: whole(invented(words), 700)) as (url, server):
        arguments = ["data", "generate", "-o", output, "--language", "en", "--count", "500", "--teacher", f"{url}#mine"]
        code, _, err = camelid(*arguments, "--max-cost", "0.1")
        assert (code, "what mine costs is not known" in err) == (2, True)
        code, out, err = camelid(*arguments, "--max-cost", "0.1", "--price", "1,10", "--json")
        assert code == 0, err
        told = json.loads(out)
        assert "could cost more than is left of 0.1" in told["ended"]
        assert 0.05 < told["teacher"]["cost"] <= 0.1
        first = _rows(output)
        assert len(first) == 3 * told["teacher"]["answers"]
        asked = sum(server.asked.values())
        code, out, _ = camelid(*arguments, "--max-cost", "0.2", "--price", "1,10", "--json")
        assert code == 0, "what ended early may be gone on with"
        assert len(_rows(output)) > len(first)
        assert sum(server.asked.values()) == json.loads(out)["teacher"]["answers"] > asked
        code, _, err = camelid(*arguments, "--minutes", "0")
        assert code == 0
        assert "ended: the time is over" in err


def test_what_goes_wrong_is_said_and_the_answers_stay(tmp_path: Path) -> None:
    output = tmp_path / "tasks.jsonl"

    def script(words: str, count: int) -> Any:
        return (401, {"error": {"message": "no such key"}}, {})

    with scripted_endpoint(script) as (url, _):
        code, _, err = camelid("data", "generate", "-o", output, "--teacher", f"{url}#m")
        assert code == 2
        assert "401: no such key" in err
        assert not output.exists()
    with scripted_endpoint(lambda words, count: whole("I'd rather not.")) as (url, _):
        code, _, err = camelid("data", "generate", "-o", output, "--teacher", f"{url}#m")
        assert code == 2
        assert "nothing could be kept" in err
        assert "x no task in it" in err
        assert not output.exists()
        assert len(_rows(output.with_suffix(".journal.jsonl"))) > 8
    for arguments, words in {
        (): "--teacher: is needed",
        ("--teacher", "http://127.0.0.1:1/v1"): "which of the endpoint's models?",
        ("--teacher", "smollm2", "--max-cost", "1"): "--max-cost is for an endpoint",
        ("--teacher", "http://x/v1#m", "--price", "1"): "two prices are needed",
        ("--teacher", "http://x/v1#m", "--key-file", str(tmp_path / "none")): "the key cannot be read",
        ("--teacher", "http://x/v1#m", "--seeds", str(tmp_path / "none")): "the seed tasks cannot be read",
    }.items():
        code, _, err = camelid("data", "generate", "-o", tmp_path / "x.jsonl", *arguments)
        assert (code, words in err) == (2, True), err
        assert err.count("\n") == 1 or "going on" in err


def test_seeds_and_prices_of_ones_own(tmp_path: Path) -> None:
    seeds, prices = tmp_path / "seeds.jsonl", tmp_path / "prices.yaml"
    tasks = [" ".join(random.Random(n).sample(WORDS, 6)) for n in range(17)]
    rows = [{"instruction": f"Tell me {task}.", "input": "", "output": f"It is {task}."} for task in tasks]
    seeds.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    prices.write_text("my: [1, 2]\nmy-large: [10, 20]\n", encoding="utf-8")
    arguments = ["data", "generate", "-o", tmp_path / "x.jsonl", "--seeds", seeds, "--prices", prices]
    arguments += ["--dry-run", "--count", "3", "--language", "en", "--json", "--teacher"]
    costs = []
    for name in ("my-small", "org/My-Large-3", "another"):
        code, out, err = camelid(*arguments, f"http://x/v1#{name}")
        assert code == 0, err
        told = json.loads(out)
        assert "Instruction: Tell me" in told["first_question"]
        costs.append(told["for_all"].get("cost"))
    assert costs[1] == pytest.approx(10 * costs[0], rel=0.01)
    assert costs[2] is None
    assert not list(tmp_path.glob("x*")), "a dry run leaves nothing"
    code, _, err = camelid(*arguments[:-1], "--teacher", "http://x/v1#m", "--language", "zh")
    assert (code, "0 seed tasks in 'zh'" in err) == (2, True)
    seeds.write_text('{"instruction": "x"}\n', encoding="utf-8")
    code, _, err = camelid(*arguments, "http://x/v1#m")
    assert (code, "seeds.jsonl:1" in err) == (2, True)


def test_a_local_model_may_be_the_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model of random weights writes no task, but it is asked, and its answers are kept."""
    monkeypatch.setattr("camelid.runs.meter._LINE_S", 0.01)
    output = tmp_path / "x.jsonl"
    arguments = ["data", "generate", "-o", output, "--teacher", tiny_base(), "--language", "en"]
    code, _, err = camelid(*arguments, "--minutes", "0.1", "--debug")
    assert code in (1, 2), err
    assert re.search(r"\d+ answers, [1-9][\d,]* tokens", err), "what is slow is heard of meanwhile"
    assert output.with_suffix(".journal.jsonl").exists()
    assert not output.exists()


def test_an_endpoint_is_told_and_a_local_model_goes_on_with_text(tmp_path: Path) -> None:
    told = {}
    for teacher in ("http://x/v1#m", "smollm2"):
        arguments = ["--dry-run", "--count", "9", "--language", "en", "--json", "--teacher", teacher]
        code, out, err = camelid("data", "generate", "-o", tmp_path / "x.jsonl", *arguments)
        assert code == 0, err
        told[teacher] = json.loads(out)["strategy"]
    assert [(one["name"], one["form"]) for one in told.values()] == [("alpaca", "chat"), ("self-instruct", "text")]
