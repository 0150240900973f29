"""No conversation on both sides of a held-out share, no row lost, and the share near what was asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.data.conversation_names import conversation_of
from camelid.data.groups import MOST_PARTS, group_rows, hold_out, told
from camelid.data.ledger import Ledger
from camelid.data.records import Conversation, Message, MessageTree, Origin, Preference, Text, TreeMessage
from camelid.data.sources import read_records
from camelid.data.tasks.records import Classified, Tagged

SEED = st.integers(0, 2**31)


def _chat(text: str, conversation: str = "", origin: Origin | None = None) -> Conversation:
    where = origin or Origin("rows", 1, conversation)
    return Conversation((Message("user", text), Message("assistant", "yes")), where)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=120), st.floats(0, 0.9), SEED)
def test_every_group_is_on_one_side_and_no_row_is_lost(drawn: list[int], fraction: float, seed: int) -> None:
    groups = np.unique(np.array(drawn), return_inverse=True)[1]
    kept, held = hold_out(groups, fraction, seed)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(groups)))
    assert not set(groups[kept]) & set(groups[held])
    several = len(set(drawn)) > 1
    assert (len(held) > 0) == (fraction > 0 and several)
    assert len(kept) > 0
    if fraction and several:
        wanted = max(1, round(len(groups) * fraction))
        assert abs(len(held) - wanted) <= max(np.bincount(groups)), "off by less than the largest group"
    again = hold_out(groups, fraction, seed)
    assert again[1].tolist() == held.tolist()


@given(st.integers(2, 200), st.floats(0.01, 0.9), SEED)
def test_rows_on_their_own_are_held_out_to_the_row(count: int, fraction: float, seed: int) -> None:
    _, held = hold_out(np.arange(count), fraction, seed)
    assert len(held) == min(count - 1, max(1, round(count * fraction)))


def test_a_group_is_held_out_though_it_is_far_larger_than_asked() -> None:
    kept, held = hold_out(np.repeat([0, 1], [10, 12]), 0.05, 0)
    assert (len(kept), len(held)) == (12, 10)


def test_the_seed_decides() -> None:
    chosen = [hold_out(np.arange(100), 0.1, seed)[1].tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("pqrstuvwxyz")), min_size=2, max_size=40))
def test_groups_are_the_connected_rows(rows: list[tuple[str, str]]) -> None:
    """By name or by what is asked, over any number of rows between: the oracle walks from row to row."""
    groups = group_rows([_chat(text, f"conversation-{name}") for name, text in rows])
    for start in range(len(rows)):
        reached, more = {start}, True
        while more:
            near = {i for i, row in enumerate(rows) for j in reached if row[0] == rows[j][0] or row[1] == rows[j][1]}
            more = not near <= reached
            reached |= near
        assert set(np.flatnonzero(groups == groups[start]).tolist()) == reached


SAME = {
    "width and spaces": [_chat("Hello， World!"), _chat("hello,  world！\n"), _chat("other")],
    "parts of a conversation": [_chat("a", "Xy3_0"), _chat("b", "Xy3_12"), _chat("c", "Xy3b_0")],
    "a whole and its part": [_chat("a", "Xy3"), _chat("b", "Xy3_4"), _chat("c", "Xz3_4")],
    "one raw row": [_chat("a", origin=(one := Origin("rows", 7))), _chat("b", origin=one), _chat("c")],
    "a tree and a path of it": [
        MessageTree(TreeMessage(Message("user", "q")), Origin("rows", 1)), _chat("q"), _chat("r"),
    ],
    "a preference": [Preference((Message("user", "q"),), (), (), Origin("rows", 1)), _chat("q"), _chat("r")],
    "running text": [
        Text("ab c", Origin("rows", 1)), Text("ＡＢＣ", Origin("rows", 2)), Text("abd", Origin("rows", 3)),
    ],
    "classes": [
        Classified(("fine",), "1", Origin("rows", 1)), Classified(("Fine ",), "0", Origin("rows", 2)),
        Classified(("bad",), "0", Origin("rows", 3)),
    ],
    "pairs in either order": [
        Classified(("a", "b"), "1", Origin("rows", 1)), Classified(("b", "a"), "0", Origin("rows", 2)),
        Classified(("a", "c"), "0", Origin("rows", 3)),
    ],
    "words": [
        Tagged(("a", "b"), ("O", "O"), True, Origin("rows", 1)), Tagged(("a", "b"), ("O", "B-X"), True, Origin("r", 2)),
        Tagged(("a", "c"), ("O", "O"), True, Origin("rows", 3)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_what_belongs_together(name: str) -> None:
    """The first two rows do, the third is on its own."""
    assert group_rows(SAME[name]).tolist() == [0, 0, 1]


def test_a_series_of_numbers_is_no_conversation() -> None:
    assert len(set(group_rows([_chat(f"q{i}", f"identity_{i}") for i in range(20)]))) == 20
    many = [_chat(f"q{i}", f"identity_{i}") for i in range(MOST_PARTS + 1)]
    assert len(set(group_rows([*many, _chat("other", "abc_0")]))) == MOST_PARTS + 2
    assert len(set(group_rows([*many[:MOST_PARTS], _chat("other", "abc_0")]))) == 2


ROWS = [
    ({"id": "abc_0", "conversations": []}, "abc_0"),
    ({"id": 7, "messages": []}, "f:7"),
    ({"id": "7", "messages": []}, "f:7"),
    ({"id": "seed_task_0", "instruction": "x"}, ""),  # numbers tasks
    ({"conversation_id": "c", "instruction": "x"}, "c"),
    ({"message_tree_id": "t", "prompt": {}}, "t"),
    ({"id": True, "messages": []}, ""),
    ({"id": None, "messages": []}, ""),
    (["no object"], ""),
]


@pytest.mark.parametrize(("row", "name"), ROWS, ids=str)
def test_names_of_conversations(row: object, name: str) -> None:
    assert conversation_of(row, "f") == name


def test_rows_of_a_file_keep_their_conversation(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "q{}"}, {"from": "gpt", "value": "a"}]
    rows = [
        {"id": f"talk{i // 3}_{i % 3}", "conversations": [{**turns[0], "value": f"q{i}"}, turns[1]]} for i in range(30)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))  # all in one line
    records = list(read_records(str(tmp_path / "rows.json"), seed=0, ledger=Ledger()))
    groups = group_rows(records)
    assert groups.tolist() == [i // 3 for i in range(30)]
    kept, held = hold_out(groups, 0.2, 0)
    assert len(held) == 6
    assert not {records[i].origin.conversation[:6] for i in kept} & {records[i].origin.conversation[:6] for i in held}
    assert told(groups, held) == "held out: 6 of 30 rows (20.0%); 30 rows belong to 10 groups that stay on one side"


def test_real_conversations(shared_data: Path) -> None:
    """ShareGPT as it is: some of its rows are parts of one talk; the numbered identity rows are not."""
    files = ["dialogue/sharegpt_en_1k_raw.jsonl", "dialogue/fastchat_dummy_with_system.json"]
    sizes = []
    for file in files:
        records = list(read_records(str(shared_data / file), seed=0, ledger=Ledger()))
        sizes.append((len(records), len(set(group_rows(records).tolist()))))
    print(sizes)
    assert sizes[0][1] < sizes[0][0]
    assert sizes[1][1] > 10
