"""`camelid data mix` and `camelid data stats`: what they write, what they say, and that every row is accounted for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from program import camelid
from tiny import tiny_base

from camelid.data.ledger import Ledger
from camelid.data.sources import read_records
from camelid.runs.manifest import hash_file


def _write(path: Path, rows: list) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return path


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _alpaca(name: str, count: int) -> list[dict]:
    return [{"instruction": f"{name} {i}", "output": "好。", "id": i} for i in range(count)]


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """Three sources of 40, 10 and 6 rows; the first has a broken row, the second is a list of messages."""
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    return {
        "a": _write(tmp_path / "a.jsonl", [*_alpaca("a", 40), {"instruction": "no answer", "output": ""}]),
        "b": _write(tmp_path / "b.jsonl", [[{**turns[0], "content": f"b {i}"}, turns[1]] for i in range(10)]),
        "r": _write(tmp_path / "r.jsonl", _alpaca("r", 6)),
    }


def test_mix_accounts_for_every_row(sources: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "made" / "mixed.jsonl"
    code, out, err = camelid(
        "data", "mix", f"{sources['a']}=1", f"{sources['b']}=3", "-o", output, "--count=50", "--temperature=0",
        "--cap=2", "--replay", sources["r"], "--replay-share=0.2", "--tag=from", "--json",
    )  # fmt: skip
    assert code == 0, err
    told = json.loads(out)
    # 10 rows are replay; of the other 40 three quarters would be b's, which can give 20 under the cap
    counted = ("rows", "drawn", "used", "more_than_once", "not_drawn")
    assert [tuple(one[key] for key in counted) for one in told["sources"]] == [
        (40, 20, 20, 0, 20),
        (10, 20, 10, 10, 0),
        (6, 10, 6, 4, 0),
    ]
    assert [one["probability"] for one in told["sources"]] == pytest.approx([0.2, 0.6, 0.2])
    assert [one["share"] for one in told["sources"]] == [0.4, 0.4, 0.2]
    assert told["sources"][2]["replay"] is True
    assert told["counts"] == {"read": 57, "used": 36, "dropped": 21, "written": 50}
    assert told["reasons"] == {"not drawn": 20, "cannot be read": 1}
    assert [Path(one["file"]).name for one in told["inputs"]] == ["a.jsonl", "b.jsonl", "r.jsonl"]
    assert told["output"]["sha256"] == hash_file(output)[0]
    assert told["options"] == {
        "count": 50, "temperature": 0.0, "cap": 2, "replay": str(sources["r"]), "replay_share": 0.2, "tag": "from",
        "seed": 42,
    }  # fmt: skip
    assert len(_rows(tmp_path / "made" / "mixed.dropped.jsonl")) == 1, "only what cannot be read is copied there"
    rows = _rows(output)
    assert Counter(row["from"] for row in rows) == {str(sources["a"]): 20, str(sources["b"]): 20, str(sources["r"]): 10}
    given = {json.dumps(row) for row in _rows(sources["a"]) + _rows(sources["r"])}
    given |= {json.dumps({"messages": row}) for row in _rows(sources["b"])}
    for row in rows:
        del row["from"]
    assert {json.dumps(row) for row in rows} <= given, "as they were"
    times = Counter(json.dumps(row) for row in rows)
    assert max(times.values()) == 2
    assert len(list(read_records(str(output), seed=0, ledger=Ledger()))) == 50, "what training reads"
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "mixed.dropped.jsonl", "mixed.jsonl", "mixed.manifest.json",
    ]  # fmt: skip


def test_the_same_rows_and_seed_give_the_same_file(sources: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    moved = {name: path.rename(tmp_path / "moved" / f"{name}.json") for name, path in sources.items()}
    for name, path in moved.items():  # the same rows, laid out otherwise and under another name
        sources[name].write_text(
            json.dumps([json.loads(line) for line in path.read_text("utf-8").splitlines()], indent=1)
        )

    def mixed(*arguments: str | Path) -> bytes:
        code, _, err = camelid("data", "mix", *arguments, "-o", tmp_path / "m.jsonl", "--overwrite")
        assert code == 0, err
        return (tmp_path / "m.jsonl").read_bytes()

    first = mixed(sources["a"], f"{sources['b']}=2", "--count=30")
    assert first == mixed(f"{moved['b']}=2", moved["a"], "--count=30")
    assert first != mixed(sources["a"], f"{sources['b']}=2", "--count=30", "--seed=43")


def test_without_options_every_row_comes_once(sources: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "m.jsonl"
    code, _, err = camelid("data", "mix", sources["a"], sources["r"], "-o", output)
    assert code == 0
    assert "47 rows = 46 used + 1 dropped\n" in err
    assert f"{sources['a']}: 40 drawn of 40 rows, 87.0% of the result\n" in err
    rows = _rows(output)
    assert sorted(row["instruction"] for row in rows) == sorted(
        [*(f"a {i}" for i in range(40)), *(f"r {i}" for i in range(6))]
    )
    assert [row["instruction"][0] for row in rows] != ["a"] * 40 + ["r"] * 6


def test_what_a_capped_mixture_says(sources: dict[str, Path], tmp_path: Path) -> None:
    code, _, err = camelid(
        "data", "mix", sources["a"], f"{sources['r']}#5=9", "-o", tmp_path / "m.jsonl", "--count=200", "--cap=3"
    )
    assert code == 0
    assert (
        "15 drawn of 5 rows, 11.1% of the result (by its weight 52.9%); 5 rows more than once, 3 times at most" in err
    )
    assert "200 rows were asked for; with --cap 3 there are only 135" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A=0"], "no positive number"),
        (["nowhere.jsonl=2"], "nowhere.jsonl"),
        (["A", "--replay-share=0.1"], "no replay"),
        (["A", "--replay", "R=2"], "r.jsonl=2"),
        (["A", "--replay", "R", "--count=100", "--cap=2"], "--cap 4"),
        (["A", "--tag=id"], "has a field 'id' of its own"),
        (["A", "--temperature=nan"], "less than or equal to 10"),
        (["A", "-o", "A", "--overwrite"], "is read and written at once"),
    ],
)
def test_what_cannot_be_mixed(sources: dict[str, Path], tmp_path: Path, arguments: list[str], message: str) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    given = [one.replace("A", str(sources["a"])).replace("R", str(sources["r"])) for one in arguments]
    output = [] if "-o" in arguments else ["-o", str(tmp_path / "m.jsonl")]
    code, _, err = camelid("data", "mix", *given, *output)
    assert code == 2, err
    assert message in err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_stats_as_json_and_page(sources: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    base = str(tiny_base())
    code, out, err = camelid("data", "stats", sources["a"], sources["b"], "--base", base, "--html", page, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["counts"] == {"read": 51, "kept": 50, "rejected": 1}
    assert found["reasons"] == {"output is empty": 1}
    assert found["formats"] == {"Alpaca": 40, "messages": 10}
    assert found["characters"]["answer"]["p50"] == 2
    assert found["tokens"][base]["answer"]["count"] == 50
    assert found["tokenizers"][base]["tokens"] == sum(
        found["tokens"][base][side]["total"] for side in ("prompt", "answer")
    )
    assert found["repeats"]["whole"]["exact"] == 0
    assert [one["sha256"] for one in found["inputs"]] == [hash_file(sources[name])[0] for name in ("a", "b")]
    text = page.read_text(encoding="utf-8")
    assert "a.jsonl and 1 more" in text
    assert "<script" not in text


def test_stats_in_words(sources: dict[str, Path]) -> None:
    code, out, _ = camelid("data", "stats", sources["a"], "--base", str(tiny_base()), "--base", "nano")
    assert code == 0
    assert "41 rows = 40 read + 1 rejected\n  1 x output is empty\n" in out
    assert "answers: zh 100.0%" in out
    assert "like an earlier row: 0.00% the same" in out
    assert "tokens that are a piece of a character" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl"),
        (["A", "--base", "no-such-base"], "no-such-base"),
        (["A", "--html", "/proc/nothing/page.html"], "/proc/nothing"),
    ],
)
def test_what_stats_cannot_do(sources: dict[str, Path], arguments: list[str], message: str) -> None:
    code, out, err = camelid("data", "stats", *[one.replace("A", str(sources["a"])) for one in arguments])
    assert code == 2
    assert message in err.splitlines()[-1]
    assert not out
