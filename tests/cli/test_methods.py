"""Every way to tune from the command line: train, look, prove, answer, score; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import camelid, recipe_file
from tiny import tiny_base

from camelid.runs.interval import paired_rise


def _recipe(folder: Path, **fields: object) -> Path:
    """Of a task the rows are its own."""
    if "task" in fields:
        tags = [{"words": ["Sort", str(i)], "tags": ["O", "B-N" if i % 2 else "O"]} for i in range(24)]
        classes = [{"text": f"Sort {i}", "label": i % 2} for i in range(24)]
        rows = folder / "rows.jsonl"
        if fields["task"] == "pair":
            classes = [{**row, "text_b": "odd?", "text_a": row["text"]} for row in classes]
        rows.write_text("\n".join(map(json.dumps, tags if fields["task"] == "tag" else classes)))
        fields["data"] = str(rows)
    return recipe_file(folder, max_steps=2, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "prompt", "retention": True},
        pytest.param({"method": "ptuning"}, marks=pytest.mark.slow),
        pytest.param({"method": "prefix"}, marks=pytest.mark.slow),
        {"method": "ptuning2", "gradient_checkpointing": True, "retention": True},
        {"method": "ptuning2", "prefix": {"zero_gate": True}},
        {"method": "ptuning2", "layout": "separate"},
    ],
    ids=str,
)
def test_train_and_prove_and_answer(tmp_path: Path, fields: dict[str, object]) -> None:
    recipe = _recipe(tmp_path, **fields)
    code, out, err = camelid("train", recipe, "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert 0 < summary["trained_parameters"] < summary["parameters"]
    if "retention" in fields:
        forgotten = summary["retention"]["perplexity"]
        assert all(f["low"] <= f["rise"] <= f["high"] and f["before"] > 1 for f in forgotten.values())
        assert set(forgotten) == {"en", "zh"}
        before = json.loads((tmp_path / "run" / "before.json").read_text())["text"]["zh"]
        rise, *_ = paired_rise(before, summary["retention"]["passages"]["zh"])
        assert rise == forgotten["zh"]["rise"]
        assert "general Chinese text, perplexity" in err
        assert "perplexity" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    code, out, err = camelid("verify", recipe, "--rows", "8", "--json")
    assert code == 0, err
    checks = {check["name"]: check["holds"] for check in json.loads(out)["checks"]}
    assert checks["tree = separate"]
    assert checks["resumed = uninterrupted"]
    code, out, err = camelid("chat", tmp_path / "run", "--prompt", "你好", "--max-new-tokens", "3", "--json")
    assert code == 0, err
    code, _, err = camelid("export", tmp_path / "run", "--format", "gguf", "--output", tmp_path / "out")
    assert code == 2
    assert "cannot be merged" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_a_task_is_trained_scored_shown_and_proven(tmp_path: Path, task: str) -> None:
    recipe = _recipe(tmp_path, task=task, method="lora", eval_fraction=0.3, retention=True)
    code, out, err = camelid("train", recipe, "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["score"]["texts"] == 7
    assert summary["retention"]["plain_questions"]["asked"] == 0
    assert "held out: " in err
    assert f"camelid eval {tmp_path / 'run'} FILE" in err
    predictions = tmp_path / "predictions.jsonl"
    code, out, err = camelid("eval", tmp_path / "run", tmp_path / "rows.jsonl", "--predictions", predictions, "--json")
    assert code == 0, err
    scored = json.loads(out)
    lines = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert (scored["texts"], len(lines), lines[3]["line"]) == (24, 24, 4)
    if task == "classify":
        assert scored["accuracy"] == pytest.approx(sum(r["label"] == r["predicted"] for r in lines) / 24)
    else:
        assert all(len(r["predicted"]) == len(r["words"]) for r in lines)
    code, out, err = camelid("inspect", recipe)
    assert code == 0, err
    assert "-> 1" in out if task == "classify" else "-> B-N" in out
    code, out, err = camelid("verify", recipe, "--rows", "8", "--json")
    assert code == 0, err
    assert len(json.loads(out)["checks"]) == 4


@pytest.mark.parametrize(
    ("task", "form", "method"),
    [
        ("classify", "words", "lora"),
        ("classify", "json", "ptuning2"),
        ("tag", "json", "full"),
        ("pair", "words", "lora"),
    ],
)
def test_a_task_is_learnt_by_answering(tmp_path: Path, task: str, form: str, method: str) -> None:
    """The same verbs and the same measures as with a head; and the model goes on to chat."""
    names = {"0": "even", "1": "odd"} if task != "tag" else {"N": "number"}
    fields = {"task": task, "task_form": form, "label_names": names, "method": method, "max_length": 160}
    recipe = _recipe(tmp_path, eval_fraction=0.3, **fields)
    code, out, err = camelid("train", recipe, "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["score"]["texts"] == 7
    assert "held out: " in err
    assert "asking about 7 held-out rows" in err
    assert ("entity F1" if task == "tag" else "accuracy") in (tmp_path / "run" / "report.html").read_text("utf-8")
    predictions = tmp_path / "predictions.jsonl"
    code, out, err = camelid("eval", tmp_path / "run", tmp_path / "rows.jsonl", "--predictions", predictions, "--json")
    assert code == 0, err
    scored = json.loads(out)
    lines = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert (scored["texts"], scored["task_form"], len(lines)) == (24, form, 24)
    if task == "tag":
        assert all(len(r["predicted"]) == len(r["words"]) for r in lines)
        assert {tag for r in lines for tag in r["tags"]} == {"O", "B-number"}
    else:
        assert scored["accuracy"] == pytest.approx(sum(r["label"] == r["predicted"] for r in lines) / 24)
        assert {r["label"] for r in lines} == {"even", "odd"}
    if method == "ptuning2":
        code, out, err = camelid("inspect", recipe)
        assert (code, "Which class does the text belong to" in out) == (0, True), err
        assert camelid("verify", recipe, "--rows", "8", "--json")[0] == 0
        code, out, err = camelid("chat", tmp_path / "run", "--prompt", "Sort 3", "--max-new-tokens", "3", "--json")
        assert code == 0, err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "tag", "task_form": "words"}, "task tag has no form words: set task_form=json"),
        ({"task_form": "words"}, "label_names and task_form are for the tasks"),
        ({"label_names": {"0": "a"}}, "label_names and task_form are for"),
        ({"task": "classify", "task_form": "words", "method": "freeze"}, "method freeze trains nothing"),
        ({"task": "classify", "kl_to_base": 0.1}, "learns classes, not tokens"),
        ({"task": "classify", "task_form": "words", "objective": "pretrain"}, "needs objective sft"),
    ],
    ids=str,
)
def test_forms_that_cannot_be(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    code, _, err = camelid("train", _recipe(tmp_path, **fields))
    assert (code, message in err) == (2, True), err


def test_labels_keep_their_names_with_a_head_too(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, task="classify", label_names={0: "even", 1: "odd", 7: "seven"})
    code, _, err = camelid("train", recipe)
    assert code == 0, err
    assert "classes: 2 (even, odd)" in err
    assert "label_names: no row has 7" in err
    code, out, err = camelid("eval", tmp_path / "run", tmp_path / "rows.jsonl", "--json")
    assert code == 0, err
    assert set(json.loads(out)["by_class"]) == {"even", "odd"}


def test_eval_says_what_is_wrong(tmp_path: Path) -> None:
    code, _, err = camelid("eval", tiny_base(), tmp_path / "rows.jsonl", "--column", "text=a")
    assert (code, "are for models of a task" in err) == (2, True)
    recipe = _recipe(tmp_path, task="classify")
    assert camelid("train", recipe)[0] == 0
    (tmp_path / "other.jsonl").write_text('{"text": "a", "label": "never seen"}\n{"text": "b", "label": 1}\n')
    code, out, err = camelid("eval", tmp_path / "run", tmp_path / "other.jsonl", "--json")
    assert code == 0, err
    assert json.loads(out)["texts"] == 1
    assert "2 read = 1 kept + 1 rejected" in err
    code, _, err = camelid("eval", tmp_path / "run", tmp_path / "other.jsonl", "--column", "texts=a")
    assert (code, "names no column" in err) == (2, True)


def test_an_adapter_on_an_adapter_is_refused(tmp_path: Path) -> None:
    """It would name a base that nobody has."""
    assert camelid("train", _recipe(tmp_path))[0] == 0
    other = _recipe(tmp_path, base=str(tmp_path / "run"), method="ptuning2", output_dir=str(tmp_path / "second"))
    code, _, err = camelid("train", other)
    assert code == 2
    assert "is an adapter already" in err
    assert "camelid export --format hf" in err
