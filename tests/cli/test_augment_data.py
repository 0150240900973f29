"""`camelid data augment`: every row, and behind it what was made from it."""

from __future__ import annotations

import json
from pathlib import Path

from program import camelid


def test_rows_and_what_was_made_from_them(tmp_path: Path) -> None:
    given, output = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    rows = [
        {"instruction": "List three fruits.", "input": "red ones", "output": "Apples."},
        {"text": "Running text stays as it is."},
        {"instruction": "说出三种水果，要红色的。", "output": "苹果。"},
    ]
    given.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    code, out, err = camelid("data", "augment", given, "-o", output, "--copies", "2", "--json")
    assert code == 0, err
    told = json.loads(out)
    made = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row for row in made if "augmented" not in row] == rows
    assert told["counts"] == {"read": 3, "used": 3, "dropped": 0, "written": len(made)}
    assert sum(told["made"].values()) == len(made) - 3
    assert set(told["made"]) == {"paraphrase", "noise", "format"}
    code, _, err = camelid("data", "augment", given, "-o", output, "--way", "noise", "--overwrite", "--seed", "1")
    made = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert {row.get("augmented") for row in made} == {None, "noise"}
    for arguments, words in {
        ("--way", "magic"): "'magic' is no way",
        ("--way", "back-translate"): "who translates",
    }.items():
        code, _, err = camelid("data", "augment", given, "-o", tmp_path / "c.jsonl", *arguments)
        assert (code, words in err) == (2, True)
