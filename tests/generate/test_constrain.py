"""An answer under a schema is whole JSON that obeys it, however short its budget is, if there is room at all."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_base

from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.generate.constrain import Constraint, Grammars

TINY = Vocabulary.from_directory(tiny_base())
STOP = TINY.id_of("<|im_end|>")
ROWS = 520  # a model may have more rows of logits than its tokenizer has tokens
GRAMMARS = Grammars(TINY, ROWS, (STOP,))
SCHEMAS = [
    {"type": "string"},
    {"type": "integer", "minimum": 3, "maximum": 40},
    {"enum": ["客服", "staff", 3, None]},
    {"type": "array", "items": {"type": "number", "minimum": -99, "maximum": 99}, "minItems": 2},
    {"type": "object", "additionalProperties": True},
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "数": {"type": "integer"},
            "tags": {"type": "array", "items": {"enum": ["a", "bc"]}, "minItems": 1},
            "who": {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"]},
        },
        "required": ["name", "数", "tags"],
        "additionalProperties": False,
    },
    {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "string"}}]},
]


def _answer(schema: object, seed: int, budget: int) -> tuple[list[int], bool]:
    """Tokens of a random model under a schema; whether it came to an end of its own."""
    constraint = GRAMMARS.schema(json.dumps(schema))
    made = torch.Generator().manual_seed(seed)
    ids: list[int] = []
    while len(ids) < budget:
        logits = torch.randn(ROWS, generator=made) * 4
        constraint.restrict(logits)
        token = int(logits.argmax())
        if token == STOP:
            return ids, True
        token = constraint.settle(token, budget - len(ids))
        constraint.accept(token)
        ids.append(token)
    return ids, constraint.done


@given(st.sampled_from(SCHEMAS), st.integers(0, 10**6), st.sampled_from([48, 64, 120, 400]))
def test_a_random_models_answer_parses_and_validates(schema: dict, seed: int, budget: int) -> None:
    ids, _ = _answer(schema, seed, budget)
    assert len(ids) <= budget
    jsonschema_rs.validate(schema, json.loads(TINY.decode(ids)))


def test_without_the_way_out_a_random_model_would_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Constraint, "settle", lambda self, token, remaining: token)
    broken = 0
    for seed in range(20):
        _, ended = _answer({"type": "string"}, seed, 10)
        broken += not ended
    assert broken > 5


def test_control_tokens_are_ruled_out_inside_and_the_end_before_it_may_come() -> None:
    constraint = GRAMMARS.schema('{"type": "object"}')
    logits = torch.zeros(ROWS)
    constraint.restrict(logits)
    assert logits[STOP] == -torch.inf
    assert logits[TINY.id_of("<|im_start|>")] == -torch.inf
    assert (logits[TINY.size :] == -torch.inf).all()
    assert torch.isfinite(logits[TINY.id_of("{")])
    with pytest.raises(RuntimeError, match="broke the schema"):
        constraint.accept(TINY.id_of("}"))


def test_bytes_of_tokens_join_to_the_text() -> None:
    text = "你好 👩‍👩‍👧 abc"
    ids = TINY.backend.encode(text, add_special_tokens=False).ids
    assert b"".join(GRAMMARS.utf8(token) for token in ids).decode() == text


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("{", "not a JSON schema"),
        ("[1]", "a schema is an object"),
        ('{"type": "nonsense"}', "cannot be kept to"),
        ('{"$ref": "http://example.org/schema"}', "cannot be kept to"),
        ('{"type": "string", "pattern": "(?=a)b"}', "cannot be kept to"),
        ("[" * 100_000, "not a JSON schema"),
    ],
    ids=["cut", "list", "type", "url", "pattern", "deep"],
)
def test_what_is_no_schema_is_refused_and_nothing_is_fetched(schema: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        GRAMMARS.schema(schema)
