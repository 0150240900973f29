"""`camelid data translate`: what it leaves and says, with a teacher and without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from program import camelid
from scripted_endpoint import scripted_endpoint, whole

from camelid.data.factory.scripted import rough_tokens
from camelid.data.factory.translate.job import frame

WORDS = {
    "Name a fruit that is red.": "说出一种红色的水果。",
    "An apple.": "苹果。",
    "Count to 12 please.": "请数数。",
    "12": "12",
}


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _said(words: str, count: int) -> tuple[int, Any, dict[str, str]]:
    text = words[words.rindex("<text>\n") + 7 : words.rindex("\n</text>")]
    return whole(WORDS[text])


def test_rows_in_are_rows_kept_and_rows_set_aside(tmp_path: Path) -> None:
    given, output = tmp_path / "en.jsonl", tmp_path / "zh.jsonl"
    rows = [
        {"id": 1, "instruction": "Name a fruit that is red.", "input": "", "output": "An apple."},
        {"id": 2, "instruction": "Count to 12 please.", "output": "12"},
        {"id": 3, "instruction": "Name a fruit that is red.", "output": ""},
        {
            "messages": [
                {"role": "user", "content": "Name a fruit that is red."},
                {"role": "assistant", "content": "An apple."},
            ]
        },
    ]
    given.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    with scripted_endpoint(_said) as (url, server):
        arguments = ["data", "translate", given, "-o", output, "--to", "zh", "--teacher", f"{url}#m"]
        code, out, err = camelid(*arguments, "--json")
        assert code == 0, err
        told = json.loads(out)
        assert told["counts"] == {"read": 4, "used": 2, "dropped": 2, "written": 2}
        assert told["reasons"] == {"cannot be read": 1, "a number is lost or new": 1}
        assert (told["ended"], told["asked_again"], told["teacher"]["answers"]) == ("complete", 1, 4)
        assert _rows(output) == [
            {"id": 1, "instruction": "说出一种红色的水果。", "input": "", "output": "苹果。"},
            {
                "messages": [
                    {"role": "user", "content": "说出一种红色的水果。"},
                    {"role": "assistant", "content": "苹果。"},
                ]
            },
        ]
        (one,) = [row for row in _rows(output.with_suffix(".dropped.jsonl")) if row["reason"] != "cannot be read"]
        assert (one["line"], one["where"], one["said"], one["found"]) == (2, ["instruction"], "请数数。", "12")
        assert one["row"] == rows[1]
        assert sum(server.asked.values()) == 4
        assert server.asked.most_common(1)[0][1] == 1, "the same text twice is one question"
        code, _, err = camelid(*arguments)
        assert (code, "is there already" in err) == (2, True)
        code, out, err = camelid(*arguments, "--overwrite")
        assert (code, sum(server.asked.values())) == (0, 4)
        assert "4 rows = 2 used + 2 dropped" in err


def test_a_dry_run_counts_what_is_asked_and_asks_nobody(tmp_path: Path) -> None:
    given, output = tmp_path / "en.jsonl", tmp_path / "zh.jsonl"
    rows = [{"instruction": "Name a fruit that is red.", "output": words} for words in ("An apple.", "苹果。")]
    rows.append({"instruction": "Name a fruit that is red.", "output": ""})
    given.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    with scripted_endpoint(_said) as (url, server):
        arguments = ["data", "translate", given, "-o", output, "--to", "zh", "--teacher", f"{url}#gpt-4o"]
        code, out, err = camelid(*arguments, "--dry-run", "--json")
        assert code == 0, err
        dry = json.loads(out)
        assert not server.asked
        assert [path.name for path in tmp_path.iterdir()] == ["en.jsonl"], "a dry run leaves nothing"
        code, out, err = camelid(*arguments, "--json")
        assert code == 0, err
        assert dry["questions"] == sum(server.asked.values()) == 2, "what is known, or in the language, is not asked"
    # four bytes are a token: 25 and 9 of the sources, each with the frame around it
    assert dry["completion_tokens"] == pytest.approx(25 / 4 + 9 / 4, abs=2)
    assert dry["prompt_tokens"] - dry["completion_tokens"] == pytest.approx(2 * rough_tokens(frame("zh")), abs=2)
    assert dry["cost"] == pytest.approx((dry["prompt_tokens"] * 2.5 + dry["completion_tokens"] * 10) / 1e6, abs=1e-6)
    assert dry["first_question"].endswith("<text>\nName a fruit that is red.\n</text>")
    code, out, _ = camelid(*arguments, "--dry-run", "--back-translate", "0.5", "--json")
    assert json.loads(out)["questions"] == 4
    code, _, err = camelid(*arguments, "--dry-run")
    assert (code, "2 questions: about" in err) == (0, True)


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    given = tmp_path / "en.jsonl"
    given.write_text('{"instruction": "Count to 12 please.", "output": "12"}\n', encoding="utf-8")
    for arguments, words in {
        (): "--to: is needed",
        ("--to", "zh"): "--teacher: is needed",
        ("--script", "simplified", "--teacher", "smollm2"): "--script asks no teacher",
        ("--script", "simplified", "--to", "en"): "--script asks no teacher",
        ("--script", "simplified", "--dry-run"): "--script asks no teacher",
        ("--dry-run",): "--to: is needed",
    }.items():
        code, _, err = camelid("data", "translate", given, "-o", tmp_path / "x.jsonl", *arguments)
        assert (code, words in err, err.count("\n")) == (2, True, 1), err
    with scripted_endpoint(_said) as (url, _):
        code, _, err = camelid(
            "data", "translate", given, "-o", tmp_path / "x.jsonl", "--to", "zh", "--teacher", f"{url}#m"
        )
        assert (code, "nothing could be kept, of 1 rows: 1 x a number is lost or new" in err) == (2, True)


def test_scripts_are_converted_without_a_teacher(tmp_path: Path) -> None:
    given, there, back = (tmp_path / name for name in ("s.jsonl", "t.jsonl", "b.jsonl"))
    row = {
        "conversations": [{"from": "human", "value": "发布 `发布`"}, {"from": "gpt", "value": "头发后面"}],
        "id": "发",
    }
    given.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    code, _, err = camelid("data", "translate", given, "-o", there, "--script", "traditional")
    assert code == 0, err
    (converted,) = _rows(there)
    assert [turn["value"] for turn in converted["conversations"]] == ["發佈 `发布`", "頭髮後面"]
    assert converted["id"] == "发"
    code, _, err = camelid("data", "translate", there, "-o", back, "--script", "simplified")
    assert (code, _rows(back)) == (0, [row])
