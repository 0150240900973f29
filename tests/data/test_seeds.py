"""The shipped seed tasks: complete, unlike one another, and right where that can be checked."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections import Counter
from importlib import resources

import pytest

from camelid.data.factory.seeds import CAPABILITIES, SeedTask, load_seeds
from camelid.data.factory.similar import SimilarityPool
from camelid.data.formats import convert_row
from camelid.data.records import Origin
from camelid.data.skills.draw import LANGUAGES, Language

VENDORS = re.compile(
    r"openai|chatgpt|\bgpt\b|anthropic|claude|gemini|deepmind|bard|llama|qwen|deepseek|百度|文心|阿里|通义|腾讯|讯飞|智谱"
    r"|as an ai|作为一个人工智能|作为人工智能|作为ai",
    re.IGNORECASE,
)
OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip


def _value(node: ast.AST) -> float:
    match node:
        case ast.Expression(body=body):
            return _value(body)
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
    raise AssertionError(ast.dump(node))


def _rows(language: Language) -> list[dict]:
    file = resources.files("camelid") / "assets" / "seeds" / f"seed_tasks_{language}.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def _of(language: Language, capability: str) -> list[SeedTask]:
    return [task for task in load_seeds(language) if task.capability == capability]


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_are_twelve_of_each_capability_and_a_share_with_input(language: Language) -> None:
    tasks = load_seeds(language)
    assert Counter(task.capability for task in tasks) == dict.fromkeys(CAPABILITIES, 12)
    for values in ([task.id for task in tasks], [row["name"] for row in _rows(language)]):
        assert len(set(values)) == len(tasks) == 180
    assert all(task.id.startswith(f"{language}-{task.capability.replace('_', '-')}-") for task in tasks)
    assert 60 <= sum(bool(task.input) for task in tasks) <= 120
    assert all(task.instruction.strip() and task.output.strip() for task in tasks)
    assert [task for task in tasks if task.is_classification] == _of(language, "classification")
    assert len({task.output for task in _of(language, "classification")}) >= 9


@pytest.mark.parametrize("language", LANGUAGES)
def test_instructions_are_unlike_one_another(language: Language) -> None:
    pool = SimilarityPool(0.6)
    alike = [near for near in pool.admit([task.instruction for task in load_seeds(language)]) if near]
    assert alike == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_can_be_checked_is_right(language: Language) -> None:
    for row in _rows(language):
        (instance,) = row["instances"]
        words = f"{row['instruction']} {instance['input']} {instance['output']}"
        assert not VENDORS.search(words), row["id"]
        if row["capability"] == "maths":
            check = instance["check"]
            last = instance["output"].splitlines()[-1]
            assert last.startswith({"en": "Answer: ", "zh": "答案："}[language]), row["id"]
            said = float(re.split("[:：]", last)[1])
            assert said == check["equals"] == pytest.approx(_value(ast.parse(check["expression"], mode="eval")))
        if row["capability"] == "extraction":
            assert isinstance(json.loads(instance["output"]), dict | list), row["id"]
        for block in re.findall(r"```python\n(.*?)```", instance["output"], re.DOTALL):
            ast.parse(block)
        _, records = convert_row(row, Origin("seeds", 1), [])
        assert len(records) == 1, "camelid train reads them"
    assert len(re.findall("```python\n", "".join(task.output for task in _of(language, "code")))) >= 6
