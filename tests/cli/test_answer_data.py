"""`camelid data answer`, `replay` and `evolve`: what they leave is read by `camelid train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from program import camelid
from scripted_endpoint import scripted_endpoint, whole

from camelid.data.factory.answers.questions import general_questions
from camelid.data.ledger import Ledger
from camelid.data.skills.replay import LONGEST, TEMPERATURE
from camelid.data.sources import read_records


def _said(words: str, count: int) -> tuple[int, Any, dict[str, str]]:
    new = (
        "Say why the sky is blue at noon and red in the evening." if "<task>" in words else f"It was {len(words)} long."
    )
    return whole(new)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("verb", ["answer", "replay", "evolve"])
def test_what_is_made_is_read(verb: str, tmp_path: Path) -> None:
    given, output = tmp_path / "asked.jsonl", tmp_path / "made.jsonl"
    rows = [{"id": 7, "instruction": "Why is the sky blue?", "output": "old"}, {"nothing": 1}]
    given.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    sources = [] if verb == "replay" else [given]
    with scripted_endpoint(_said) as (url, _):
        code, out, err = camelid("data", verb, *sources, "-o", output, "--teacher", f"{url}#m", "--json")
    assert code == 0, err
    told, made = json.loads(out), _rows(output)
    assert told["verb"] == verb
    assert told["ended"] == "complete"
    read = len(general_questions()) if verb == "replay" else 2
    assert told["counts"]["read"] == read == told["counts"]["used"] + told["counts"]["dropped"]
    assert len(list(read_records([str(output)], seed=0, ledger=Ledger()))) == len(made)
    if verb == "answer":
        turns = [
            {"role": "user", "content": "Why is the sky blue?"},
            {"role": "assistant", "content": "It was 20 long."},
        ]
        assert made == [{"id": 7, "messages": turns}]
    elif verb == "evolve":
        (one,) = made
        assert one["instruction"] == "Say why the sky is blue at noon and red in the evening."
        assert (one["output"], one["from"]) == ("It was 55 long.", "Why is the sky blue?")
    else:
        assert {row["id"][:2] for row in made} == {"en", "zh"}
        assert (told["options"]["max_new_tokens"], told["options"]["temperature"]) == (LONGEST, TEMPERATURE), (
            "as own is"
        )


def test_a_dry_run_says_what_answers_cost_at_most(tmp_path: Path) -> None:
    given = tmp_path / "asked.jsonl"
    given.write_text('{"question": "Why is the sky blue?"}\n{"question": "Who?"}\n{"nothing": 1}\n', encoding="utf-8")
    with scripted_endpoint(_said) as (url, server):
        arguments = ["data", "answer", given, "-o", tmp_path / "made.jsonl", "--teacher", f"{url}#m", "--dry-run"]
        arguments += ["--max-new-tokens", "100", "--price", "1000,10000"]
        code, out, err = camelid(*arguments, "--json")
        assert code == 0, err
        assert not server.asked
    told = json.loads(out)
    assert (told["questions"], told["prompt_tokens"], told["completion_tokens"]) == (2, 6 + 2, 200)
    assert (told["cost"], told["first_question"]) == (2.008, "Why is the sky blue?")
    code, _, err = camelid(*arguments)
    assert (code, "about 8 tokens of theirs, at most 200 of answers, at most $2.01" in err) == (0, True)
    assert [path.name for path in tmp_path.iterdir()] == ["asked.jsonl"], "a dry run leaves nothing"
