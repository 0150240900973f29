"""Real conversations, as they are, through reading and rendering: everything is accounted for."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from cases.templates import zoo

from camelid.data.ledger import Ledger
from camelid.data.records import Conversation
from camelid.data.render import Renderer
from camelid.data.sources import read_records
from camelid.data.templates import named_template, template_for
from camelid.data.templates.jinja import JinjaTemplate

TINY = zoo.vocabulary_named("tiny", None)


def conversations(file: Path, ledger: Ledger) -> list[Conversation]:
    return [record for record in read_records(str(file), seed=0, ledger=ledger) if isinstance(record, Conversation)]


@pytest.mark.parametrize("template", ["chatml", "qwen2_tools"])
def test_tool_calls_in_chinese(template: str, shared_data: Path) -> None:
    if template == "chatml":
        used = named_template("chatml", TINY)
    else:
        used = JinjaTemplate(zoo.template_source(template), TINY)
    rows = conversations(shared_data / "dialogue" / "toolcall_zh_300.jsonl", Ledger())[:40]
    assert sum(any(m.tool_calls for m in row.messages) for row in rows) > 10
    rendered = Renderer(TINY, used, 100_000).render_batch(rows)
    for row, (whole,) in zip(rows, rendered, strict=True):
        answers = [i for i, m in enumerate(row.messages) if m.role == "assistant"]
        assert sorted(set(whole.turns[whole.trained].tolist())) == answers
        for turn in answers:
            text = TINY.decode(whole.ids[whole.trained & (whole.turns == turn)])
            message = row.messages[turn]
            assert text.endswith("<|im_end|>")
            assert message.content in text
            assert text.count("<tool_call>") == len(message.tool_calls)


def test_long_conversations_are_split_without_loss(shared_data: Path) -> None:
    file = shared_data / "dialogue" / "sharegpt_zh_1k.jsonl"
    with file.open(encoding="utf-8") as lines:
        head = list(islice(lines, 60))
    assert len(head) == 60
    rows = conversations(file, Ledger())[:60]
    render = Renderer(TINY, named_template("vicuna", TINY), 1500)
    for row, parts in zip(rows, render.render_batch(rows), strict=True):
        seen = [turn for part in parts for turn in sorted(set(part.turns.tolist()) - {-1})]
        dropped = [turn for part in parts for turn in part.dropped]
        system = [i for i in seen if row.messages[i].role == "system"]
        assert sorted(seen + dropped) == sorted([*range(len(row.messages)), *system[1:]])


@pytest.mark.slow
@pytest.mark.parametrize("template", ["auto", "chatml", "alpaca"])
def test_all_of_alpaca(template: str, shared_data: Path) -> None:
    vocabulary = zoo.smollm2()
    ledger = Ledger()
    rows = conversations(shared_data / "instruct" / "alpaca_data.json", ledger)
    render = Renderer(vocabulary, template_for(template, vocabulary), 1024, cut="drop", on_reject=ledger.reject)
    stop = render.stop_ids[0]
    ended = examples = 0
    for start in range(0, len(rows), 1000):
        for parts in render.render_batch(rows[start : start + 1000]):
            for part in parts:
                examples += 1
                ended += int(part.ids[part.trained][-1] == stop)
    assert ledger.read == 52_002 == ledger.kept + ledger.rejected
    assert examples == ended == ledger.kept
