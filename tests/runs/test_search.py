"""What a search came to: the best, the order, the words, the page."""

from __future__ import annotations

import json

from camelid.runs.search import Search, Tried, as_object, shown, verdict
from camelid.runs.search_page import render_search
from camelid.runs.space import Choices, Range

SPACE = [Range("learning_rate", 1e-5, 1e-2, True, False), Choices("lora.r", (4, 8))]


def _tried(number: int, badness: float | None, rate: float = 1e-3, **fields: object) -> Tried:
    return Tried(number, {"learning_rate": rate, "lora.r": 8}, badness, **fields)  # type: ignore[arg-type]


TRIED = [
    _tried(0, 2.0, 1e-7),
    _tried(1, None, losses=[(0.2, 3.0)]),
    _tried(2, 1.5, 4e-4, losses=[(0.2, 1.9)]),
    _tried(3, None, failed="the loss of step 2 is <nan>"),
    _tried(4, None, losses=[(0.2, 1.9), (0.4, 1.8)]),
]


def test_the_best_comes_first_and_what_failed_last() -> None:
    search = Search("mine", "held-out loss", SPACE, TRIED, minutes={0: 1.5, 2: 2.0})
    assert [t.number for t in search.ordered] == [2, 0, 4, 1, 3]
    assert [t.run for t in search.ordered][:2] == ["trial-002", "trial-000"]
    heads, body = shown(search)
    assert heads == ["trial", "held-out loss", "learning_rate", "lora.r", "minutes"]
    assert body[0] == ["2", "1.5000", "0.0004", "8", "2.0"]
    assert body[1] == ["0 (as given)", "2.0000", "1e-07", "8", "1.5"]
    assert [row[1] for row in body[2:]] == ["stopped at 40%", "stopped at 20%", "failed"]


def test_a_share_is_better_the_higher() -> None:
    search = Search("mine", "accuracy", SPACE, [_tried(0, 0.4), _tried(1, 0.1)])
    assert search.best is not None
    assert search.quality(search.best) == 0.9
    assert verdict(search) == "best: trial 1, accuracy 0.9000 (the recipe as given: 0.6000)"


def test_the_verdict_says_when_nothing_better_was_found() -> None:
    for tried, words in [
        ([_tried(0, 1.0), _tried(1, 1.0)], "the recipe as given; nothing better was found"),
        ([_tried(0, None, failed="x"), _tried(1, 1.0)], "(the recipe as given did not end well)"),
        ([_tried(0, None, failed="x")], "no trial has ended well"),
    ]:
        assert verdict(Search("mine", "held-out loss", SPACE, tried)).endswith(words)


def test_the_object_is_json_with_every_trial() -> None:
    made = json.loads(json.dumps(as_object(Search("mine", "held-out loss", SPACE, TRIED))))
    assert made["best"] == {"trial": 2, "quality": 1.5, "learning_rate": 4e-4, "lora.r": 8}
    assert (made["given"], made["space"]["learning_rate"]) == (2.0, "log 1e-05 0.01")
    assert [t["state"] for t in made["trials"]] == ["done", "pruned", "done", "failed", "pruned"]


def test_the_page_draws_every_trial_that_has_a_figure_and_escapes_what_is_not_ours() -> None:
    page = render_search(Search("<script>", "held-out loss", SPACE, TRIED, importance={"lora.r": 0.25}))
    assert "<script>" not in page
    assert "<nan>" not in page
    assert page.count("<circle") == 4 * 4, "four of five in the order, wide and narrow, and against each of two fields"
    assert "3: the loss of step 2 is &lt;nan&gt;" in page
    assert 'width="25.0"' in page
    assert page.count('href="trial-') == 2
    shares = render_search(Search("x", "accuracy", SPACE, [_tried(0, 0.4), *TRIED[3:]]))
    assert shares.count("<circle") == 4, "a loss is not drawn among accuracies"
    assert "<circle" not in render_search(Search("x", "accuracy", SPACE, TRIED[3:]))
    huge = [*TRIED, _tried(5, 1e6)]
    assert "100,000" not in render_search(Search("x", "held-out loss", SPACE, huge)), "one that diverged is at the edge"
