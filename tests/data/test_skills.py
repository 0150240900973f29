"""The skill data: right answers, strict checks, and nothing held out in what is trained on."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.data.records import Conversation, Message, Origin
from camelid.data.skills import FAMILIES, Language, SkillRow, Split, check_answer, make_skill_rows
from camelid.data.skills.draw import LANGUAGES, phrasings, pool, split_of
from camelid.errors import UserError

TRAIN = make_skill_rows(0, 2400, name="Koala", maker="Gum Tree")
HELDOUT = make_skill_rows(1, 1200, split="heldout", name="Koala", maker="Gum Tree")
KINDS = ("name", "thing", "team", "topic", "word_pair")
IDS = [f"{family.name}-{language}" for family in FAMILIES for language in LANGUAGES]


def rows_of(identity: str, rows: list[SkillRow] = TRAIN + HELDOUT) -> list[SkillRow]:
    family, language = identity.rsplit("-", 1)
    return [row for row in rows if row.family == family and row.language == language]


def row(answer: str, check: str) -> SkillRow:
    return SkillRow(Conversation((Message("user", "?"),), Origin("test", 1)), answer, "any", "en", check)


# --- rows ---


@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 90),
    languages=st.sampled_from([("zh", "en"), ("en",), ("zh",)]),
    split=st.sampled_from(["train", "heldout"]),
)
def test_the_count_is_met_and_languages_get_equal_parts(seed, count, languages, split):
    rows = make_skill_rows(seed, count, languages, split, "A", "B")
    assert len(rows) == count
    by_language = Counter(r.language for r in rows)
    assert set(by_language) <= set(languages)
    assert max((by_language[x] for x in languages), default=0) - min(by_language[x] for x in languages) <= 1
    assert rows == make_skill_rows(seed, count, languages, split, "A", "B")


def test_another_seed_gives_other_rows():
    first, second = ({r.prompt for r in make_skill_rows(seed, 300)} for seed in (1, 2))
    assert len(first & second) < 100


def test_there_are_ten_families_and_more_in_each_language():
    cells = {(r.family, r.language) for r in make_skill_rows(0, 200, split="heldout")}
    assert all(sum(language == wanted for _, language in cells) >= 10 for wanted in LANGUAGES)
    assert len(cells) == len(IDS)


def test_heldout_rows_are_spread_evenly_and_nearly_all_different():
    rows = make_skill_rows(3, 400, split="heldout")
    counts = Counter((r.family, r.language) for r in rows)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({r.prompt for r in rows}) >= 390


def test_a_training_row_is_the_prompt_and_the_answer():
    for r in TRAIN[:50]:
        assert [m.role for m in r.training.messages] == ["user", "assistant"]
        assert r.training.messages[0].content == r.prompt
        assert r.training.messages[1].content == r.answer


def test_name_and_maker_are_in_identity_answers_and_nowhere_else():
    for r in TRAIN + HELDOUT:
        inside = "Koala" in r.answer or "Gum Tree" in r.answer
        assert inside == (r.family == "identity"), r
        assert "Koala" not in r.prompt
        assert "Gum Tree" not in r.prompt


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"count": -1}, "-1"),
        ({"count": 3, "languages": ("fr",)}, "fr"),
        ({"count": 3, "languages": ()}, "zh, en"),
        ({"count": 3, "languages": ("en", "en")}, "once"),
        ({"count": 3, "split": "test"}, "heldout"),
        ({"count": 3, "name": " "}, "name"),
        ({"count": 3, "maker": ""}, "maker"),
    ],
)
def test_impossible_arguments_are_the_users_fault(arguments, wanted):
    with pytest.raises(UserError) as caught:
        make_skill_rows(0, **arguments)
    assert wanted in str(caught.value)


# --- nothing held out occurs in training ---


def occurs(entity: str, text: str) -> bool:
    """Latin words and numbers as whole words, Chinese anywhere."""
    before = r"(?<!\d)" if entity[0].isdigit() else r"(?<![A-Za-z])" if entity.isascii() else ""
    after = r"(?!\d)" if entity[-1].isdigit() else r"(?![A-Za-z])" if entity.isascii() else ""
    return re.search(before + re.escape(entity) + after, text, re.IGNORECASE) is not None


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_listed_heldout_entity_occurs_in_a_training_row(language):
    text = "\n".join(f"{r.prompt}\n{r.answer}" for r in TRAIN)
    for entity in listed_entities(language, "heldout"):
        assert not occurs(entity, text), entity


@pytest.mark.parametrize("identity", IDS)
def test_no_number_or_date_of_a_heldout_row_occurs_in_training_rows_of_its_family(identity):
    train = rows_of(identity, TRAIN)
    trained = {entity for r in train for entity in r.entities}
    heldout = {entity for r in rows_of(identity, HELDOUT) for entity in r.entities}
    assert not trained & heldout
    text = "\n".join(f"{r.prompt}\n{r.answer}" for r in train)
    for entity in heldout:
        assert not occurs(entity, text), entity


def template_pattern(template: str) -> re.Pattern[str]:
    """What the template can become. A field of one word or number stays within a sentence."""
    pattern = re.escape(template.strip())
    pattern = re.sub(r"\\\{(text|table|rules|items|question)\\\}", ".+", pattern)
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^.。]+", pattern), re.IGNORECASE)


def test_a_phrasing_is_recognised_in_its_own_rows():
    for r in HELDOUT[:300]:
        for phrasing in r.phrasings:
            assert template_pattern(phrasing.split(": ", 1)[1]).search(r.prompt), (phrasing, r.prompt)


@pytest.mark.parametrize("identity", IDS)
def test_no_heldout_phrasing_occurs_in_a_training_row(identity):
    train, heldout = rows_of(identity, TRAIN), rows_of(identity, HELDOUT)
    used = {phrasing for r in heldout for phrasing in r.phrasings}
    assert used
    assert not used & {phrasing for r in train for phrasing in r.phrasings}
    patterns = [template_pattern(phrasing.split(": ", 1)[1]) for phrasing in used]
    for r in train:
        for pattern in patterns:
            assert not pattern.search(r.prompt), (pattern.pattern, r.prompt)
    assert not {r.prompt for r in train} & {r.prompt for r in heldout}


def test_every_row_says_what_it_was_drawn_from():
    for r in TRAIN + HELDOUT:
        assert r.phrasings
        split = split_of_row(r)
        for phrasing in r.phrasings:
            kind, template = phrasing.split(": ", 1)
            assert template in phrasings(kind, r.language, split)
        for entity in r.entities:
            assert entity in listed_entities(r.language, split) or split_of(entity) == split, (entity, r)


def split_of_row(r: SkillRow) -> Split:
    return "train" if r.conversation.origin.file.startswith("skills:train/") else "heldout"


@cache
def listed_entities(language: Language, split: Split) -> set[str]:
    listed = [entity for kind in KINDS for entity in pool(kind, language, split)]
    return {word for entity in listed for word in ([entity] if isinstance(entity, str) else entity)}


# --- the answers are right: worked out again from the prompt alone ---


def integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def again(r: SkillRow) -> str | None:
    """The answer by another road, for families whose prompt holds all that is needed."""
    numbers = integers(r.prompt)
    if r.family == "sort":
        return ("，" if r.language == "zh" else ", ").join(map(str, sorted(numbers)))
    if r.family == "phone":
        return r.answer if r.answer.replace("-", "") in r.prompt and re.fullmatch(r"\d{4}-\d{4}", r.answer) else "wrong"
    if r.family == "date":
        if r.language == "zh":
            return "/".join(map(str, numbers[:3]))
        found = re.search(r"[A-Z][a-z]+ \d+, \d{4}", r.prompt)
        assert found
        return datetime.datetime.strptime(found.group(), "%B %d, %Y").strftime("%Y/%-m/%-d")
    return None


@pytest.mark.parametrize("family", ["sort", "phone", "date"])
def test_answers_agree_with_the_prompt(family):
    if family not in {f.name for f in FAMILIES}:
        pytest.skip("not among the families")
    rows = [r for r in TRAIN + HELDOUT if r.family == family]
    assert rows
    for r in rows:
        assert again(r) == r.answer, r.prompt


# --- checks ---


@pytest.mark.parametrize("identity", IDS)
def test_the_right_answer_passes_and_a_near_one_fails(identity):
    rows = rows_of(identity)
    assert rows
    for r in rows:
        assert check_answer(r, r.answer)
        assert check_answer(r, f"\n {r.answer}  ")
        for wrong in ("", r.answer + "x", r.answer + "\nMore.", "The answer is " + r.answer, r.answer[:-1]):
            assert not check_answer(r, wrong), wrong


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('{"name": "Li", "age": 3}', True),
        ('{"age":3,"name":"Li"}\n', True),
        ('{"name": "\\u004ci", "age": 3}', True),
        ('{"name": "Li", "age": 3.0}', False),
        ('{"name": "Li", "age": "3"}', False),
        ('{"name": "Li", "age": 3, "city": "x"}', False),
        ('{"name": "Li", "name": "Li", "age": 3}', False),
        ('[{"name": "Li", "age": 3}]', False),
        ('```json\n{"name": "Li", "age": 3}\n```', False),
        ('{"name": "Li", "age": 3', False),
        ("NaN", False),
        ("[" * 100_000, False),
    ],
)
def test_json_is_compared_as_parsed(text, right):
    assert check_answer(row('{"name": "Li", "age": 3}', "json"), text) == right


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.booleans(), st.text(max_size=5)), max_size=4))
def test_any_spelling_of_the_same_json_passes(record):
    spelled = json.dumps(dict(reversed(record.items())), ensure_ascii=True, indent=3)
    assert check_answer(row(json.dumps(record), "json"), spelled)


def test_true_is_not_one():
    assert not check_answer(row('{"a": 1}', "json"), '{"a": true}')


def test_an_unknown_check_is_a_fault_of_ours():
    with pytest.raises(ValueError, match="fuzzy"):
        check_answer(row("a", "fuzzy"), "a")
