"""The report: it says what it was given, in both languages, and nothing in it can act."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from camelid.config import make_recipe
from camelid.runs.directory import RunDirectory
from camelid.runs.interval import Share
from camelid.runs.manifest import make_manifest
from camelid.runs.report import write_report
from camelid.runs.report_data import Cost, Perplexity, Price, Retention, Sample, Sharing, Skill, TaskScore
from camelid.runs.report_words import WORDS, percent, size, spoken_count, spoken_duration


class Page(HTMLParser):
    """The skeleton of a page (tags with their attribute names) and its text, style sheet apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.style = ""
        self._stack: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "input", "path", "line", "circle", "rect"):
            self._stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("path", "line", "rect", "circle"):
            return
        if not self._stack or self._stack.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self._stack and self._stack[-1] == "style":
            self.style += data
        else:
            self.text += data

    def squeezed(self) -> str:
        return " ".join(self.text.split())


def report(folder: Path, word: str = "word", *, language: Any = "en", bare: bool = False, losses: Any = ()) -> str:
    """A report in which every text of the user's is `word`."""
    recipe = make_recipe({"data": word, "base": word}).model_dump(mode="json")
    with RunDirectory.create(folder, recipe=recipe) as run:
        with run.metrics(from_step=0) as metrics:
            for step, loss in enumerate(losses, start=1):
                metrics.write(step, loss=loss, learning_rate=1e-3 / step, eval_loss=loss + 0.1, **{word: 3.0})
        if bare:
            return write_report(run, language=language).read_text()
        run.record(
            make_manifest(
                data=[{"file": word, "sha256": word, "bytes": 2048, "rows": 5201}],
                eval_data=[{"file": word, "sha256": word, "bytes": 10}],
                template={"name": word, "sha256": word},
                base={"label": word, "sha256": word},
                seed=42,
                dtype={"chosen": word, "float32_gflops": 181.26},
                accelerators=[word],
            )
        )
        with run.rejected() as rejected:
            rejected.write({"file": word, "line": 1, "reason": word, "excerpt": word})
        return write_report(
            run,
            language=language,
            samples=[Sample(word, word, word, word), Sample(word, "", " ", "zh")],
            retention=Retention(
                skills=[Skill(word, Share(5, 240), Share(235, 240), word), Skill("en", Share(0, 100), Share(99, 100))],
                general=[Skill(word, Share(3, 20), Share(2, 20), word)],
                kept=Share(44, 46),
                perplexity=[Perplexity(word, 10.7, 11.31, word), Perplexity("zh", 80.0, 96.0)],
            ),
            cost=Cost(214.2, 46_210, 27_310, 2_900_000_000, [Price(word, 0.4, word, word)]),
            sharing=Sharing(46_210, 27_310, 11_400, 61_800),
            score=TaskScore(
                "accuracy",
                0.917,
                (0.88, 0.944),
                300,
                {word: {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 1200, "predicted": 3}},
            ),
        ).read_text()


LOSSES = [3.0, 2.5, 2.0, 1.5]


def test_it_says_what_it_was_given(tmp_path: Path) -> None:
    page = Page(report(tmp_path / "my run", losses=LOSSES))
    text = page.squeezed()
    for part in (
        "my run",
        "98.2%",  # 334 of 340
        "91.7%accuracy on held-out rows",
        "95% interval 88% to 94.4%",
        "word50%25%33.3%1,200",
        "was 1.5%",
        "2.1% → 97.9%",
        "44 of 46 still right",
        "Short tasks, each with one right answer",
        "15% → 10%",
        "95% interval 85.5% to 98.8%",
        "+5.7%",
        "+20%",
        "zh: 80.0 → 96.0",  # the worse of two texts, by name
        "3 min 34 s",
        "word0.024",  # $0.40 an hour for 214 s
        "216 useful tokens/s, 127 computed",
        "40.9% of the tokens did not have to be computed again.",
        "5,201 rows, 2.0 KiB",
        "float32_gflops: 181.3",
        "1, each with file, line and reason in rejected.jsonl",
        "(empty answer)",
        "camelid chat '",
    ):
        assert part in text, part
    assert not page.unbalanced
    assert (tmp_path / "my run" / "report.html").stat().st_size < 200_000


def test_both_languages_are_there_and_one_is_shown(tmp_path: Path) -> None:
    for language, shown in (("en", "show-en"), ("zh", "show-zh")):
        html = report(tmp_path / language, language=language, losses=LOSSES)
        checked = re.findall(r'id="(show-..)"[^>]* checked', html)
        assert checked == [shown]
        assert "训练前后对比" in html
        assert "Before and after" in html
        english = len(re.findall(r'class="en"', html))
        assert english == len(re.findall(r'class="zh"', html)) > 60
    assert '<html lang="zh-CN">' in html


def test_every_word_has_both_languages_and_the_same_places() -> None:
    for key, words in WORDS.items():
        assert words.en.strip(), key
        assert words.zh.strip(), key
        assert sorted(re.findall(r"\{\w+\}", words.en)) == sorted(re.findall(r"\{\w+\}", words.zh)), key
        if key not in ("tile_from_to", "useful", "computed"):
            assert re.search(r"[\u4e00-\u9fff]", words.zh) or key == "machine_line", key


def test_what_is_missing_is_said_and_not_left_out(tmp_path: Path) -> None:
    page = Page(report(tmp_path / "bare", bare=True))
    assert page.squeezed().count("Not measured in this run.") == 5
    assert "No step has been recorded yet." in page.squeezed()
    assert not page.unbalanced


PAYLOADS = [
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus='alert(1)",
    '" style="background:url(https://example.org)',
    "<!--<script>",
    "]]><b>",
    "javascript:alert(1)",
    "&lt;script&gt;&#60;b&#62;",
    "{{ 7 * 7 }}{% raw %}",
    "{w} {0} {count} %s",
    "</textarea></pre></td></table></svg><h1>",
    "a\x00b\x1b[31m\u202eevil",
    "\ud800lone",
    "%22%3E%3Cb%3E",
    "<iframe srcdoc='<script>parent'>",
    "<meta http-equiv=refresh content=0>",
    "<base href=//example.org>",
    "line\n<b>two</b>\r\n: three",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_text_of_the_users_becomes_markup(tmp_path: Path, payload: str) -> None:
    plain, hostile = (
        Page(report(tmp_path / "plain", losses=LOSSES)),
        Page(report(tmp_path / "x", payload, losses=LOSSES)),
    )
    lines = payload.count("\n")  # YAML breaks the recipe's values over more marked lines
    skeleton = [tag for tag in hostile.tags if tag != ("span", ("class",))]
    assert skeleton == [tag for tag in plain.tags if tag != ("span", ("class",))]
    assert lines or len(hostile.tags) - len(plain.tags) in (-1, 0, 1, 2)
    assert not hostile.unbalanced
    assert hostile.style == plain.style
    shown = payload.replace("\ud800", "?").replace("\x00", "").replace("\r\n", "\n").split("\n")[0]
    assert hostile.text.replace("\x00", "").replace("\ufffd", "").count(shown) >= 6


def test_nothing_acts_and_nothing_is_loaded(tmp_path: Path) -> None:
    html = report(tmp_path / "run", losses=LOSSES)
    page = Page(html)
    assert not {"script", "img", "link", "iframe", "object", "form", "base", "a"} & {tag for tag, _ in page.tags}
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in ("style", "src", "href")]
    assert not re.search(r"https?://|url\(|@import", html)
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and "default-src" in value)
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_broken_numbers_leave_gaps_and_are_counted(tmp_path: Path) -> None:
    html = report(tmp_path / "run", losses=[3.0, 2.5, math.nan, 2.0, math.inf, 1.5, 1.4])
    page = Page(html)
    assert "4 values are not finite" in page.squeezed()
    raw = re.findall(r'<path class="line raw" d="([^"]*)"', html)[0]
    assert raw.count("M") == 3
    assert "nan" not in raw
    assert "inf" not in raw


def test_damaged_metrics_are_told(tmp_path: Path) -> None:
    recipe = make_recipe({"data": "x"}).model_dump(mode="json")
    with RunDirectory.create(tmp_path / "run", recipe=recipe) as run:
        run.metrics_file.write_text('{"step": 1, "loss": 2.0}\ngarbage\n{"step": 2, "loss": 1.0}\n')
        assert "1 damaged lines" in Page(write_report(run).read_text()).squeezed()


INTERVALS = [
    (0, 10, 0.0, 0.278),
    (10, 10, 0.722, 1.0),
    (44, 46, 0.855, 0.988),
    (50, 100, 0.404, 0.596),
    (0, 0, 0.0, 1.0),
]


@pytest.mark.parametrize(("right", "total", "low", "high"), INTERVALS)
def test_intervals_are_wilsons(right: int, total: int, low: float, high: float) -> None:
    assert Share(right, total).interval == pytest.approx((low, high), abs=6e-4)


def test_numbers_are_written_as_each_language_does() -> None:
    assert [spoken_duration(s).en for s in (59, 214, 7500)] == ["59 s", "3 min 34 s", "2 h 5 min"]
    assert [spoken_duration(s).zh for s in (59, 214, 7500)] == ["59 秒", "3 分 34 秒", "2 小时 5 分"]
    assert [spoken_count(n).en for n in (999, 46_210, 1_234_567, 5e9)] == [
        "999",
        "46,210",
        "1.23 million",
        "5.00 billion",
    ]
    assert [spoken_count(n).zh for n in (46_210, 1_234_567, 5e9)] == ["46,210", "123.5 万", "50.00 亿"]
    assert [percent(v) for v in (0.5, 0.979, 1.0)] == ["50%", "97.9%", "100%"]
    assert [percent(v, signed=True) for v in (0.0575, -0.1)] == ["+5.8%", "-10%"]
    assert [size(n) for n in (5, 2048, 5 << 20, 3 << 30)] == ["5 B", "2.0 KiB", "5.0 MiB", "3.00 GiB"]
