"""Rows are rendered ahead of use: at leisure while nobody waits, at once when somebody does."""

from __future__ import annotations

import time

import pytest
from tiny import tiny_base

from camelid.data import examples as module
from camelid.data.examples import Examples
from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Renderer
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary

ROWS = 12


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch):
    """Twelve rows, one at a time, with a rest after each that no test would live to see the end of."""
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(module, "REST", 1e9)
    vocabulary = Vocabulary.from_directory(tiny_base())
    renderer = Renderer(vocabulary, template_for("auto", vocabulary), 128)
    records = [
        Conversation((Message("user", f"Say {i}."), Message("assistant", str(i))), Origin("test", i))
        for i in range(ROWS)
    ]
    made = Examples(records, renderer, list(range(ROWS))[::-1], reject=lambda rejection: None)
    yield made
    made.close()


def test_a_row_that_is_waited_for_ends_the_rests_before_it(examples: Examples) -> None:
    for row in (ROWS - 1, ROWS - 2, 3):  # 3 comes after eight others
        (example,) = examples.get(row)
        assert example.source == row
    assert not examples.finished  # rows 2, 1 and 0: nobody has asked


def test_finish_renders_everything(examples: Examples) -> None:
    examples.finish()
    assert examples.finished
    assert [examples.get(row)[0].source for row in range(ROWS)] == list(range(ROWS))


def test_close_ends_a_rest(examples: Examples) -> None:
    examples.get(ROWS - 1)
    began = time.monotonic()
    examples.close()
    assert time.monotonic() - began < 60
    assert not examples.finished
