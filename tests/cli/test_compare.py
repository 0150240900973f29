"""`camelid compare`: every cell a run of its own, resumable, one table with what failed in it."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from tiny import tiny_base
from typer.testing import CliRunner

from camelid.cli import compare as module
from camelid.cli.main import app
from camelid.errors import UserError
from camelid.runs.comparison import Cell, Comparison, Measured, Rise, as_csv, as_markdown, rows
from camelid.runs.comparison_page import render_comparison


def _run(seed: int, quality: float, **fields: object) -> Measured:
    values: dict = {
        "seed": seed, "quality": quality, "interval": (quality - 0.1, quality + 0.1), "trained": 10, "parameters": 1000,
        "memory_bytes": 1 << 30, "seconds": 60.0 * (seed + 1), "tokens_per_second": 100.0, "bytes": 2048,
        "retention": {}, "run": f"run-{seed}", **fields,
    }  # fmt: skip
    return Measured(**values)


def test_a_cell_is_the_mean_of_its_seeds_with_students_interval() -> None:
    """Three values 0.8, 0.9, 0.7: mean 0.8, s = 0.1, half width 4.303 * 0.1 / sqrt(3)."""
    cell = Cell("lora", [_run(0, 0.8), _run(1, 0.9), _run(2, 0.7)])
    assert cell.quality == pytest.approx(0.8)
    assert cell.interval == pytest.approx((0.8 - 0.24843, 0.8 + 0.24843), abs=1e-4)
    assert Cell("one", [_run(0, 0.5)]).interval == pytest.approx((0.4, 0.6))


def test_forgetting_over_several_seeds_is_a_mean_with_students_interval() -> None:
    runs = [_run(i, 0.5, retention={"en": Rise(v, 0, 0)}, kept=(3 + i, 4)) for i, v in enumerate((0.1, 0.3))]
    row = rows(Comparison("mine", "accuracy", False, [Cell("a", runs)]))[0]
    half = 12.706 * math.sqrt(0.02) / math.sqrt(2)
    assert row["retention_en"] == pytest.approx(0.2)
    assert (row["retention_en_low"], row["retention_en_high"]) == pytest.approx((0.2 - half, 0.2 + half), abs=1e-4)
    assert (row["kept"], row["known"], row["retention_zh"]) == (7 / 8, 8, None)


def test_what_is_kept_is_compared_on_the_same_questions() -> None:
    """Nine that the first lost are kept and one is lost besides: Agresti & Min's interval, by hand."""
    first = [_run(0, 0.5, kept=(90, 106), lost=frozenset(f"q{i}" for i in range(16)))]
    second = [_run(0, 0.4, kept=(98, 106), lost=frozenset([*(f"q{i}" for i in range(7)), "other"]))]
    other_base = [_run(0, 0.3, kept=(9, 10), lost=frozenset(["x"]))]
    cells = [Cell("a", first), Cell("b", second), Cell("c", other_base)]
    comparison = Comparison("mine", "accuracy", False, cells)
    a, b, c = rows(comparison)
    half = 1.959964 * math.sqrt(11 - 64 / 108) / 108
    assert (b["gain"], b["gain_low"], b["gain_high"]) == pytest.approx((8 / 106, 8 / 108 - half, 8 / 108 + half))
    assert a["gain"] is c["gain"] is None
    assert "kept beside a |" in as_markdown(comparison)
    assert f"| {8 / 106:+.1%} [{8 / 108 - half:+.1%}, {8 / 108 + half:+.1%}] |" in as_markdown(comparison)
    page = render_comparison(comparison)
    assert page.count("<circle") == 2 * (3 + 3 + 1), "wide and narrow"
    assert page.count('class="axis"') == 2, "zero, in the picture of the difference"
    assert "保留率与 a 之差" in page
    assert "kept beside" not in as_markdown(Comparison("mine", "accuracy", False, cells[1:2]))


def test_general_text_is_compared_on_the_same_passages() -> None:
    """Every passage a tenth of a nat a token better: exp(-0.1) - 1, and no doubt about it."""
    first = [_run(i, 0.5, passages={"en": [(10.0, 5), (20.0, 10)], "zh": [(3.0, 1), (1.0, 1)]}) for i in (0, 1)]
    second = [_run(0, 0.4, passages={"en": [(9.5, 5), (19.0, 10)], "zh": [(2.0, 1), (1.0, 1)]})]
    other_base = [_run(0, 0.3, passages={"en": [(9.0, 4), (19.0, 11)]})]
    cells = [Cell("a", first), Cell("b", second), Cell("c", other_base)]
    comparison = Comparison("mine", "accuracy", False, cells)
    a, b, c = rows(comparison)
    better = math.exp(-0.1) - 1
    assert (b["beside_en"], b["beside_en_low"], b["beside_en_high"]) == pytest.approx((better,) * 3)
    assert b["beside_zh"] == pytest.approx(math.exp(-0.5) - 1)
    assert b["beside_zh_low"] < b["beside_zh"] < 0 < b["beside_zh_high"], "one passage of two says little"
    assert a["beside_en"] is c["beside_en"] is None
    text = as_markdown(comparison)
    assert "general en beside a | general zh beside a |" in text
    assert "| -9.5% [-9.5%, -9.5%] |" in text
    assert "英文通用文本，与 a 相比" in render_comparison(comparison)


def test_general_text_of_several_seeds_is_compared_passage_by_passage() -> None:
    """Per token -0.2 and -0.05: together -3 / 30; left out one by one -0.05 and -0.2, so the error is 0.075."""
    first = [_run(i, 0.5, passages={"en": [(10.0, 5), (20.0, 10)]}) for i in (0, 1)]
    new = [[(9.5, 5), (19.0, 10)], [(8.5, 5), (20.0, 10)]]
    second = [_run(i, 0.4, passages={"en": passages}) for i, passages in enumerate(new)]
    row = rows(Comparison("mine", "accuracy", False, [Cell("a", first), Cell("b", second)]))[1]
    assert row["method"] == "b"
    wanted = [math.expm1(-0.1 + side * 12.706 * 0.075) for side in (0, -1, 1)]
    assert [row[f"beside_en{end}"] for end in ("", "_low", "_high")] == pytest.approx(wanted)


def test_the_table_has_the_best_first_and_what_failed_last() -> None:
    cells = [
        Cell("a", [_run(0, 0.5, retention={"en": Rise(0.02, 0.01, 0.03), "zh": Rise(-0.01, -0.02, 0.0)}, kept=(3, 4))]),
        Cell("b|c", [], [(0, "no such method")]),
        Cell("d", [_run(0, 0.9)]),
    ]
    comparison = Comparison("mine", "accuracy", False, cells)
    assert [row["method"] for row in rows(comparison)] == ["d", "a", "b|c"]
    assert [c.name for c in Comparison("x", "held-out loss", True, cells).ordered] == ["a", "d", "b|c"]
    wide = rows(Comparison("x", "accuracy", False, [Cell("w", [_run(0, 0.5), _run(1, 0.99)])]))[0]
    assert (wide["low"], wide["high"]) == (0.0, 1.0), "a share stays one"
    text = as_markdown(comparison)
    assert "| d | 0.900 [0.800, 1.000] | 10 | 1.000% | 1.00 GiB | 1.0 | 100 | 2.0 KiB |  |  |  |" in text
    assert "| +2.0% [+1.0%, +3.0%] | -1.0% [-2.0%, +0.0%] | 75% of 4 [30%, 95%] |" in text
    assert "b\\|c | failed: no such method" in text
    table = list(csv.DictReader(as_csv(comparison).splitlines()))
    assert (table[0]["method"], table[0]["quality"], table[2]["quality"]) == ("d", "0.9", "")
    page = render_comparison(comparison)
    assert page.count("<circle") == 2 * (2 + 3), "quality of both, and what one of them forgot; wide and narrow"
    assert "failed: no such method" in page
    assert 'href="run-0/report.html"' in page
    evil = Comparison("<script>", "accuracy", False, [Cell("<b>", [_run(0, 0.5)])])
    assert "<script>" not in render_comparison(evil)
    assert "<b>" not in render_comparison(evil)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seeds=0"], "how many seeds"),
        (["seeds=many"], "how many seeds"),
        (["methods=[]"], "methods is a list"),
        (["methods=[lora, lora]"], "named twice"),
        (["methods=[unclosed"], "not readable as YAML"),
        (["methods=[lora, loora]"], "method='loora'"),
        (["methods=[lora lora.rank=3]"], "unknown key 'lora.rank'"),
        (["eval_fraction=0"], "no run is trained on"),
    ],
)
def test_faults_are_found_before_the_first_run(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        module.compare(_recipe(tmp_path), arguments, as_json=False)
    assert message in str(caught.value)
    assert not list(tmp_path.glob("*-compare"))


def _recipe(folder: Path) -> Path:
    rows = [{"text": f"Sort {i}", "label": ("odd", "even")[i % 2]} for i in range(24)]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    path = folder / "mine.yaml"
    path.write_text(
        f"base: {tiny_base()}\ndata: {folder / 'rows.jsonl'}\ntask: classify\neval_fraction: 0.3\ndtype: float32\n"
        f"max_steps: 2\nmax_length: 64\nretention: false\noutput_dir: {folder / 'mine'}\n"
    )
    return path


def test_runs_are_made_once_and_a_failed_one_does_not_stop_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    path = _recipe(tmp_path)
    methods = "[head, ptuning2 prefix.num_virtual_tokens=3, 'freeze freeze.trainable=[nothing]']"
    arguments = ["compare", str(path), f"methods={methods}"]
    first = CliRunner().invoke(app, [*arguments, "--json"])
    assert first.exit_code == 2, first.output
    assert first.stdout, first.output
    made = json.loads(first.stdout)
    by_name = {row["method"]: row for row in made["methods"]}
    assert by_name["head"]["trained"] == 48 * 2
    assert by_name["ptuning2 prefix.num_virtual_tokens=3"]["trained"] == 48 * 2 + 3 * 3 * 2 * 2 * 12
    assert by_name["head"]["seeds"] == 1
    assert by_name["freeze freeze.trainable=[nothing]"]["quality"] is None
    folder = tmp_path / "mine-compare"
    assert "'nothing' matches no parameter" in (folder / "compare.md").read_text()
    assert {"compare.csv", "compare.html", "compare.json", "compare.md"} <= {p.name for p in folder.iterdir()}
    results = {p: p.stat().st_mtime_ns for p in folder.glob("*/result.json")}
    assert len(results) == 2
    again = CliRunner().invoke(app, [*arguments[:2], "methods=[head]"])
    assert again.exit_code == 0, again.output
    assert "head" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in folder.glob("*/result.json")} == results, "nothing was run again"
    changed = CliRunner().invoke(app, [*arguments[:2], "methods=[head]", "max_steps=1"])
    assert changed.exit_code == 0, changed.output
    assert json.loads((folder / "head-seed42" / "result.json").read_text())["result"]["steps"] == 1
