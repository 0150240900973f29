"""`camelid data`: what a verb writes, what it drops, what it says; every row that comes in is accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import camelid

from camelid.data.factory.output import Output
from camelid.data.records import Origin
from camelid.errors import UserError
from camelid.runs.manifest import hash_file


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Six rows of several formats: one is broken, one is like another, one has fields of its own."""
    rows = [
        {"instruction": "Name the largest planet.", "output": "Jupiter.", "id": 7},
        {
            "messages": [
                {"role": "user", "content": "用一句话介绍北京的历史"},
                {"role": "assistant", "content": "古都。"},
            ]
        },
        {"instruction": "Name the largest planet!", "output": "Jupiter, a gas giant."},
        {"instruction": "Name a colour.", "output": ""},
        {
            "messages": [
                {"role": "user", "content": "用两句话介绍北京的历史"},
                {"role": "assistant", "content": "古都。"},
            ]
        },
    ]
    path = tmp_path / "mixed.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join([*lines[:3], '{"instruction": "Na', *lines[3:]]) + "\n", encoding="utf-8")
    return path


def test_dedup_accounts_for_every_row(mixed: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "clean.jsonl"
    code, out, err = camelid("data", "dedup", str(mixed), "-o", str(output), "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["counts"] == {"read": 6, "used": 2, "dropped": 4, "written": 2}
    assert told["reasons"] == {"like an earlier row (prompt)": 2, "cannot be read": 2}
    given = [json.loads(line) for line in mixed.read_text(encoding="utf-8").splitlines() if not line.endswith("Na")]
    assert _rows(output) == given[:2], "as they were, fields that no reader knows included"
    dropped = _rows(tmp_path / "made" / "clean.dropped.jsonl")
    assert [(row["line"], row["reason"]) for row in dropped] == [
        (3, "like an earlier row (prompt)"),
        (4, "cannot be read"),
        (5, "cannot be read"),
        (6, "like an earlier row (prompt)"),
    ]
    assert dropped[0]["row"] == given[2]
    assert dropped[0]["nearest"] == {"file": str(mixed), "line": 1, "score": 1.0}
    assert dropped[3]["nearest"] == {"file": str(mixed), "line": 2, "score": 0.9091}
    assert dropped[2]["why"] == "output is empty"
    manifest = json.loads((tmp_path / "made" / "clean.manifest.json").read_text(encoding="utf-8"))
    assert manifest == {key: value for key, value in told.items() if key != "output"} | {"output": manifest["output"]}
    assert manifest["inputs"][0]["sha256"] == hash_file(mixed)[0]
    assert (manifest["output"]["sha256"], manifest["output"]["rows"]) == (hash_file(output)[0], 2)
    assert manifest["options"] == {"method": "rouge", "threshold": 0.7, "on": "prompt", "tokens": "units"}

    code, _, err = camelid("data", "dedup", str(mixed), "-o", str(output))
    assert code == 2
    assert "is there already" in err
    assert "--overwrite" in err
    code, _, err = camelid(
        "data", "dedup", str(mixed), "-o", str(output), "--overwrite", "--method=exact", "--on=answer"
    )
    assert code == 0
    assert "6 rows = 3 used + 3 dropped\n" in err
    assert "1 x like an earlier row (answer)" in err
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "clean.dropped.jsonl",
        "clean.jsonl",
        "clean.manifest.json",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl", "-o", "OUT.jsonl"], "nowhere.jsonl"),
        (["MIXED", "-o", "OUT.csv"], "JSON Lines"),
        (["MIXED", "-o", "MIXED"], "is there already"),
        (["MIXED", "-o", "MIXED", "--overwrite", "--json"], "is read and written at once"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    mixed: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    before = mixed.read_bytes()
    named = [one.replace("MIXED", str(mixed)).replace("OUT", str(tmp_path / "out")) for one in arguments]
    code, _, err = camelid("data", "dedup", *named)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [mixed]
    assert mixed.read_bytes() == before


def test_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with Output(path) as out:
        out.keep({"a": 1})
    assert not list(tmp_path.iterdir()), "it was never finished"
    path.write_text("of before\n")
    with Output(path, overwrite=True) as out:
        out.keep({"a": 1})
    assert path.read_text() == "of before\n"
    with Output(path, overwrite=True) as out:
        out.keep({"a": "你"}, {"a": "\ud800"})
        out.drop(Origin("f", 3), "why", {"b": 2}, more=1)
        assert path.read_text() == "of before\n"
        manifest = out.finish("verb", {}, [])
    assert manifest["counts"] == {"read": 2, "used": 1, "dropped": 1, "written": 2}
    assert path.read_bytes() == '{"a": "你"}\n'.encode() + b'{"a": "\\ud800"}\n'
    assert _rows(tmp_path / "rows.dropped.jsonl") == [
        {"file": "f", "line": 3, "reason": "why", "more": 1, "row": {"b": 2}}
    ]


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not saved"):
        Output(Path("/proc/nothing/rows.jsonl"))
