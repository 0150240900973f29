"""Every recipe that comes along: valid as it is, named in the docs, and run from end to end on few real rows."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import yaml
from documents import LANGUAGES, REPOSITORY, pages
from program import camelid

from camelid.config import load_recipe

RECIPES = {path.stem: path for path in sorted((REPOSITORY / "recipes").glob("*.yaml"))}
OURS = "../shared/data/"  # where the recipes look for rows
ROWS = 16
# What a recipe takes that is not in the repository: made first, by another recipe or from other real rows.
GOES_ON_FROM = {"chinese-vicuna-medical": "chinese-vicuna"}
OTHER_ROWS = {
    "pretrain-nano": ["pretrain/wiki_en.jsonl", "pretrain/poems_zh.jsonl"],
    "identity": ["instruct/belle_dev1k.jsonl"],
}


def _few(sources: object, shared: Path, count: int) -> object:
    """The same sources, a sample of each."""
    if isinstance(sources, list):
        return [_few(source, shared, count) for source in sources]
    if isinstance(sources, dict):
        return {**sources, "path": _few(sources["path"], shared, count)}
    (path,) = _paths(sources)
    return f"{shared / path.removeprefix(OURS)}#{count}"


def _paths(sources: object) -> list[str]:
    """The file of each source."""
    if isinstance(sources, list):
        return [path for source in sources for path in _paths(source)]
    if isinstance(sources, dict):
        return _paths(sources["path"])
    assert isinstance(sources, str)
    return [sources.partition("#")[0]]


def _train(name: str, folder: Path, shared: Path) -> tuple[dict, str]:
    recipe = yaml.safe_load(RECIPES[name].read_text("utf-8"))
    if name in OTHER_ROWS:
        data: object = [f"{shared / file}#{ROWS}" for file in OTHER_ROWS[name]]
        held: object = None if "eval_data" not in recipe else data
    else:
        data, held = _few(recipe["data"], shared, ROWS), recipe.get("eval_data")
        held = None if held is None else _few(held, shared, ROWS // 2)
    replay = recipe.get("replay")
    if replay is not None:
        replay["data"] = data if name in OTHER_ROWS else _few(replay["data"], shared, ROWS)
    changes = {
        "base": "nano",
        "data": data,
        **({"eval_data": held} if held else {"eval_fraction": 0.2}),
        **({"replay": replay} if replay else {}),
        "eval_steps": 1,
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "max_eval_examples": 6,
        "max_length": min(recipe["max_length"], 256),
        "max_rejected": 0.5,
        "dtype": "float32",
        "retention": False,
        "output_dir": str(folder / name),
    }
    if name in GOES_ON_FROM:
        _train(GOES_ON_FROM[name], folder, shared)
        assert recipe["base"] == f"runs/{GOES_ON_FROM[name]}"
        changes["base"] = str(folder / GOES_ON_FROM[name])
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    code, out, err = camelid("train", RECIPES[name], "--json", *overrides)
    assert code == 0, err
    return json.loads(out), err


OFTEN = {"alpaca-lora", "chinese-vicuna-medical", "chatglm-ptuning", "p-tuning-v2-wnut17"}  # a kind each; CI runs all


@pytest.mark.parametrize("name", [n if n in OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in RECIPES])
def test_it_runs_from_end_to_end(name: str, tmp_path: Path, shared_data: Path) -> None:
    summary, said = _train(name, tmp_path, shared_data)
    assert summary["steps"] == 2
    assert math.isfinite(summary["loss"])
    assert [step for step, _ in summary["eval_losses"]] == [0, 1, 2]
    assert "read back and equal" in summary["check"]
    assert (Path(summary["run"]) / "report.html").is_file()
    assert ("score" in summary) == (load_recipe(RECIPES[name]).task != "chat")
    if name in GOES_ON_FROM:
        assert re.search(r"base|adapter", said)
    assert ("learnt is its own distribution" in said) == (load_recipe(RECIPES[name]).replay.data is not None)


@pytest.mark.parametrize("name", RECIPES)
def test_it_says_where_it_comes_from_and_is_in_the_docs(name: str) -> None:
    text = RECIPES[name].read_text("utf-8")
    head = text[: text.index("\nbase:")]
    assert all(line.startswith("#") for line in head.splitlines() if line), "it begins with its story"
    assert f"recipes/{name}.yaml" in head or name == "alpaca-lora"
    for language in LANGUAGES:
        assert f"../../recipes/{name}.yaml" in pages(language)["recipes"].links


@pytest.mark.parametrize("name", RECIPES)
def test_its_real_data_is_there(name: str, shared_data: Path) -> None:
    """Named from where the program is called: the repository's root."""
    if name in OTHER_ROWS:
        pytest.skip("its rows are to be brought by the user")
    recipe = yaml.safe_load(RECIPES[name].read_text("utf-8"))
    sources = [recipe["data"], recipe.get("eval_data", []), recipe.get("replay", {}).get("data", [])]
    paths = _paths(sources)
    assert paths
    for path in paths:
        assert path.startswith(OURS), f"{path}: a recipe's own rows lie under {OURS}"
        assert (shared_data / path.removeprefix(OURS)).exists()
