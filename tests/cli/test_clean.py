"""`camelid data clean`: what it writes is what training reads, and every turn that came in is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from program import camelid
from tiny import tiny_base

from camelid.data.ledger import Ledger
from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Renderer
from camelid.data.sources import read_records
from camelid.data.templates import template_for
from camelid.model.load import resolve, source_vocabulary
from camelid.runs.manifest import hash_file


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _chat(*turns: str, **more: Any) -> dict[str, Any]:
    sides = ("human", "gpt")
    return {**more, "conversations": [{"from": sides[i % 2], "value": turn} for i, turn in enumerate(turns)]}


MIXED = [
    _chat(
        "What is HTML?Share Prompt", '<div class="markdown prose"><p>A <b>language</b>.</p></div>', "And?", "", id="a_0"
    ),
    _chat("Who are you?", "I'm ChatGPT, trained by OpenAI."),
    {"id": "b", "conversations": [{"from": "gpt", "value": "It goes on."}, {"from": "nobody", "value": "?"}]},
    {"instruction": "Name a colour.\u200b", "input": "", "output": "Blue."},
    {"instruction": "Name a colour.", "output": ""},
    {"prompt": "q", "chosen": "a<br>b", "rejected": "c"},
    _chat("你好吗？", "很好。"),
]


def test_every_turn_is_accounted_for(tmp_path: Path) -> None:
    source, output = _write(tmp_path / "mixed.jsonl", MIXED), tmp_path / "made" / "clean.jsonl"
    with source.open("a", encoding="utf-8") as file:
        file.write('{"conversations": [{"from": "hum\n')
    code, out, err = camelid("data", "clean", source, "-o", output, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["counts"] == {"read": 8, "used": 4, "dropped": 4, "written": 4}
    assert told["reasons"] == {
        "cannot be read": 2,
        "the answer speaks as another assistant": 1,
        "a role is not known": 1,
    }
    assert told["turns"] == {
        "in": 15,
        "added": {},
        "out": 9,
        "removed": {
            "the answer speaks as another assistant": 2,
            "a role is not known": 2,
            "empty turn": 1,
            "a question without its answer": 1,
        },
    }
    assert told["changes"] == {
        "buttons removed": 1,
        "HTML written as Markdown": 1,
        "invisible characters removed": 1,
        "<br> written as a line break": 1,
    }
    written = _rows(output)
    assert written[0] == {
        "id": "a_0",
        "messages": [
            {"role": "user", "content": "What is HTML?"},
            {"role": "assistant", "content": "A **language**."},
        ],
    }
    assert written[1:3] == [
        {"instruction": "Name a colour.", "input": "", "output": "Blue."},
        {"prompt": "q", "chosen": "a\nb", "rejected": "c"},
    ]
    dropped = _rows(tmp_path / "made" / "clean.dropped.jsonl")
    assert [(row["line"], row["reason"], row.get("why", "")) for row in dropped[:3]] == [
        (2, "the answer speaks as another assistant", ""),
        (3, "a role is not known", "'nobody'"),
        (5, "cannot be read", "output is empty"),
    ]
    assert dropped[1]["row"] == MIXED[2]
    manifest = json.loads((tmp_path / "made" / "clean.manifest.json").read_text(encoding="utf-8"))
    assert manifest["turns"] == told["turns"]
    assert manifest["options"] == {"languages": [], "vendor": "drop", "max_length": None, "base": None}
    assert manifest["inputs"][0]["sha256"] == hash_file(source)[0]
    assert (manifest["output"]["sha256"], manifest["output"]["rows"]) == (hash_file(output)[0], 4)


def test_options_do_what_they_say(tmp_path: Path) -> None:
    source, output = _write(tmp_path / "mixed.jsonl", MIXED), tmp_path / "clean.jsonl"
    code, _, err = camelid(
        "data", "clean", source, "-o", output, "--vendor=rewrite", "--name=Milo", "--maker=Acme", "--language=en"
    )
    assert code == 0, err
    assert _rows(output)[1]["messages"][1]["content"] == "I'm Milo, trained by Acme."
    assert "7 rows = 4 used + 3 dropped\n" in err
    assert "  1 x is in another language\n" in err
    assert "15 turns = 9 out + 6 removed\n" in err
    assert "  1 turns: names of another assistant replaced\n" in err
    code, _, _ = camelid("data", "clean", source, "-o", output, "--vendor=keep", "--overwrite", "--json")
    assert code == 0
    assert _rows(output)[1]["messages"][1]["content"] == "I'm ChatGPT, trained by OpenAI."


LONG = [
    {
        "id": f"c{i}",
        "messages": [{"role": "system", "content": "Be brief."}]
        + [{"role": ("user", "assistant")[j % 2], "content": f"{i} {j} " + "word " * (5 + j)} for j in range(12)],
    }
    for i in range(20)
]


@pytest.mark.parametrize("in_tokens", [False, True])
def test_long_conversations_lose_nothing(tmp_path: Path, in_tokens: bool) -> None:
    source, output = _write(tmp_path / "long.jsonl", LONG), tmp_path / "clean.jsonl"
    options = ["--max-length=150", *(["--base", tiny_base()] if in_tokens else [])]
    code, out, err = camelid("data", "clean", source, "-o", output, "--json", *options)
    assert code == 0, err
    vocabulary = source_vocabulary(resolve(tiny_base()))
    renderer = Renderer(vocabulary, template_for("auto", vocabulary), 10_000, train_on="everything")

    def length(messages: list[dict[str, str]]) -> int:
        if not in_tokens:
            return sum(len(message["content"]) for message in messages)
        turns = tuple(Message(message["role"], message["content"]) for message in messages)  # type: ignore[arg-type]
        return len(renderer.render(Conversation(turns, Origin("", 0)))[0].ids)

    told, rows = json.loads(out), _rows(output)
    parts = {f"c{i}": [row for row in rows if row["conversation_id"] == f"c{i}"] for i in range(20)}
    for row in LONG:
        own = parts[row["id"]]
        assert len(own) > 1
        assert [one["id"] for one in own] == [f"{row['id']}_{i}" for i in range(len(own))]
        assert all(one["messages"][0] == row["messages"][0] for one in own)
        said = [message["content"] for one in own for message in one["messages"][1:]]
        assert said == [message["content"].rstrip() for message in row["messages"][1:]]
    long = sum(length(row["messages"]) > 150 for row in rows)
    assert all(len(row["messages"]) == 3 for row in rows if length(row["messages"]) > 150)
    assert told["longer_than_limit"] == long
    again = len(rows) - 20
    assert told["turns"]["added"] == {"system prompts, said again to each part": again}
    assert (told["turns"]["in"], told["turns"]["out"]) == (20 * 13, 20 * 13 + again)


def test_validation_by_whole_conversations(tmp_path: Path) -> None:
    rows = [_chat(f"Question {i}?", f"Answer {i}.", id=f"n{i}") for i in range(100)]
    rows += [_chat("Question 3?", "Another answer."), _chat(" question 4 ?", "Answer 4.")]
    source, output = _write(tmp_path / "rows.jsonl", rows + LONG), tmp_path / "clean.jsonl"
    command = ["data", "clean", str(source), "--json", "--max-length=150", "--validation=0.1"]
    code, out, err = camelid(*command, "-o", output)
    assert code == 0, err
    apart = tmp_path / "clean.validation.jsonl"
    told, kept, held = json.loads(out), _rows(output), _rows(apart)
    assert told["counts"]["written"] == len(kept) + len(held)
    assert (told["output"]["rows"], told["validation"]["rows"]) == (len(kept), len(held))
    assert told["validation"]["sha256"] == hash_file(apart)[0]
    assert abs(len(held) - 0.1 * (len(kept) + len(held))) <= 5
    for name in ("conversation_id", "question"):
        sides = [
            {row.get(name) or "".join(row["messages"][0]["content"].lower().split()) for row in side}
            for side in (kept, held)
        ]
        assert not sides[0] & sides[1] - {"bebrief."}, name
    assert len({json.dumps(row) for row in kept + held}) == told["counts"]["written"]

    # another order of the rows, the same conversations
    _write(source, [*reversed(LONG), *reversed(rows)])
    code, _, err = camelid(*command, "-o", tmp_path / "other.jsonl")
    assert code == 0, err
    others = {json.dumps(row["messages"]) for row in _rows(tmp_path / "other.validation.jsonl")}
    assert others == {json.dumps(row["messages"]) for row in held}
    code, _, err = camelid(*command, "-o", tmp_path / "third.jsonl", "--seed=7")
    assert code == 0, err
    assert {json.dumps(row["messages"]) for row in _rows(tmp_path / "third.validation.jsonl")} != others


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--language=xx"], "--language: 'xx' cannot be told — one of en, zh"),
        (["--name=Milo"], "--name: names are for answers that are rewritten — add --vendor rewrite"),
        (["--base=nano"], "--base: a base measures a length — add --max-length 2048"),
        (["--max-length=3"], "--max-length 3: is too short"),
        (["--validation=1"], "--validation 1.0: is no share"),
        (["--validation=nan"], "--validation nan: is no share"),
        (["--language=ko"], "no row is left: 1 x is in another language"),
        (["--validation=0.5"], "--validation: all rows belong to one conversation"),
        (["--vendor=rewrite", "-o", "rows.csv"], "JSON Lines"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(tmp_path: Path, arguments: list[str], message: str) -> None:
    source = _write(tmp_path / "rows.jsonl", [_chat("How are you?", "Fine, thank you.")])
    code, _, err = camelid("data", "clean", source, "-o", tmp_path / "clean.jsonl", "--json", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [source]


def test_no_file_is_written_over_by_accident(tmp_path: Path) -> None:
    source = _write(tmp_path / "rows.jsonl", [_chat(f"Question {i}?", "Yes.") for i in range(9)])
    apart = _write(tmp_path / "clean.validation.jsonl", [{"of": "before"}])
    command = ["data", "clean", str(source), "-o", str(tmp_path / "clean.jsonl"), "--validation=0.3"]
    code, _, err = camelid(*command)
    assert code == 2
    assert "clean.validation.jsonl: is there already" in err
    assert _rows(apart) == [{"of": "before"}]
    assert camelid(*command, "--overwrite")[0] == 0
    assert len(_rows(apart)) == 3
    code, _, err = camelid("data", "clean", apart, "-o", tmp_path / "clean.jsonl", "--validation=0.3", "--overwrite")
    assert code == 2
    assert "clean.validation.jsonl: is read and written at once" in err
    assert len(_rows(apart)) == 3


REAL = [
    # file, rows and turns in it, rows and turns that go out
    ("sharegpt_en_1k_raw.jsonl", (1011, 7540), (996, 7159)),
    ("sharegpt_zh_1k.jsonl", (1000, 8751), (977, 8302)),
    ("dirty_fastchat_dummy_merge_conflict.json", (1413, 3822), (1342, 3612)),
    ("toolcall_zh_300.jsonl", (300, 1880), (284, 1834)),
    ("oasst_trees_en_100.jsonl", (100, 1167), (100, 1148)),
    ("kdconv_travel_dev.json", (150, 2691), (150, 2690)),
]


@pytest.mark.parametrize(("name", "came", "went"), REAL, ids=[case[0] for case in REAL])
def test_real_files(shared_data: Path, tmp_path: Path, name: str, came: tuple[int, int], went: tuple[int, int]) -> None:
    """What goes out is read without a rejection or a repair, and cleaned once more it stays as it is."""
    once, twice = tmp_path / "once.jsonl", tmp_path / "twice.jsonl"
    code, out, err = camelid("data", "clean", shared_data / "dialogue" / name, "-o", once, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["counts"]["read"], told["turns"]["in"]) == came
    assert (told["counts"]["used"], told["turns"]["out"]) == went
    assert told["turns"]["in"] == told["turns"]["out"] + sum(told["turns"]["removed"].values())
    ledger = Ledger()
    records = list(read_records(str(once), seed=0, ledger=ledger))
    assert (len(records), ledger.rejected, ledger.notes) == (told["counts"]["written"], 0, {})
    code, out, err = camelid("data", "clean", once, "-o", twice, "--json")
    assert code == 0, err
    assert twice.read_bytes() == once.read_bytes()
    assert json.loads(out)["changes"] == {}
