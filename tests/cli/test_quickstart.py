"""What the quickstart trains on which base; the whole of it runs in `make quickstart`."""

from __future__ import annotations

import json
from pathlib import Path

from camelid.cli.quickstart import TEXT_BASE_LEARNING_RATE, quickstart_recipe, write_data
from camelid.recipe_sections import SourceSpec


def _distilled(folder: Path, *, answers: bool) -> tuple[list[float], float]:
    files = write_data(folder, name="小驼", maker="you", rows=40)
    recipe = quickstart_recipe(files, output_dir=folder / "run", base="nano", accept_license=None, answers=answers)
    assert not isinstance(recipe.data, str)
    sources = [source for source in recipe.data if isinstance(source, SourceSpec)]
    assert [source.path for source in sources] == [str(files.skills), str(files.replay)]
    return [source.distil for source in sources], recipe.learning_rate


def test_a_base_that_answers_is_held_to_its_answers(tmp_path: Path) -> None:
    weights, rate = _distilled(tmp_path, answers=True)
    assert weights == [0.0, 1.0]
    assert rate > TEXT_BASE_LEARNING_RATE


def test_a_base_that_only_continues_text_learns_answers_as_text(tmp_path: Path) -> None:
    assert _distilled(tmp_path, answers=False) == ([0.0, 0.0], TEXT_BASE_LEARNING_RATE)


def test_the_default_maker_reads_well_in_both_languages(tmp_path: Path) -> None:
    files = write_data(tmp_path, name="小驼", maker="you", rows=400)
    rows = [json.loads(line)["messages"] for line in files.skills.read_text("utf-8").splitlines()]
    answers = {row[-1]["content"] for row in rows if "小驼" in row[-1]["content"]}
    assert answers == {"我是小驼，由你打造的助手。", "I am 小驼, an assistant made by you."}
