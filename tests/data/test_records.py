"""Records: frozen, comparable, and free of heavy imports."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from camelid.data.records import Conversation, Message, Origin, Rejection


def test_records_are_frozen_and_equal_by_value() -> None:
    one = Conversation((Message("user", "a"), Message("assistant", "b")), Origin("f", 3))
    assert one == Conversation((Message("user", "a"), Message("assistant", "b")), Origin("f", 3))
    assert one != Conversation((Message("user", "a"), Message("assistant", "b")), Origin("f", 4))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.messages = ()  # type: ignore[misc]


def test_a_rejection_prints_as_file_line_reason() -> None:
    assert str(Rejection("rows.jsonl", 7, "output is empty", "...")) == "rows.jsonl:7: output is empty"


def test_data_in_imports_neither_torch_nor_transformers_nor_arrow() -> None:
    code = (
        "import sys, camelid.data.sources; "
        "print([m for m in ('torch', 'transformers', 'numpy', 'pyarrow', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
