"""Copying out of a text what is asked for: fields to JSON, a word from a sentence, an entry of a table."""

from __future__ import annotations

import json

from camelid.data.skills.draw import Draw
from camelid.data.skills.row import Family, Task

WEEKDAYS = {
    "zh": ("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}


def _json(draw: Draw) -> Task:
    """Name and age, or item and price, as a JSON object."""
    if draw.choose("person", "order") == "person":
        record = {"name": draw.pick("name"), "age": draw.number(18, 79)}
        text = draw.phrase("json.person.sentence", **record)
        prompt = draw.phrase("json.person", text=text)
    else:
        record = {"item": draw.pick("thing"), "price": draw.number(3, 99)}
        text = draw.phrase("json.order.sentence", **record)
        prompt = draw.phrase("json.order", text=text)
    return Task(prompt, json.dumps(record, ensure_ascii=False))


def _reading(draw: Draw) -> Task:
    """How many, or when, from one sentence."""
    number, day = draw.number(10, 99), draw.choose(*WEEKDAYS[draw.language])
    text = draw.phrase("reading.sentence", name=draw.pick("name"), number=number, day=day)
    asked = draw.choose("number", "when")
    prompt = draw.phrase("reading", text=text, question=draw.phrase(f"reading.{asked}"))
    return Task(prompt, str(number) if asked == "number" else day)


def _lookup(draw: Draw) -> Task:
    """One entry of a price list of three."""
    things = draw.several("thing", 3)
    prices = draw.numbers(2, 99, 3)
    entries = [draw.words(f"{t}：{p}元", f"{t}: ${p}") for t, p in zip(things, prices, strict=True)]
    asked = draw.chance.randrange(3)
    return Task(draw.phrase("lookup", table=draw.listing(entries), key=things[asked]), entries[asked])


def _route(draw: Draw) -> Task:
    """Classification by a table in the prompt: the topic that a message names decides which rule fits."""
    topics, teams = draw.several("topic", 2), draw.several("team", 2)
    rules = [draw.words(f"{topic}→{team}", f"{topic} -> {team}") for topic, team in zip(topics, teams, strict=True)]
    asked = draw.chance.randrange(2)
    text = draw.phrase("route.sentence", key=topics[asked])
    return Task(draw.phrase("route", rules=draw.words("；", "; ").join(rules), text=text), rules[asked])


def _glossary(draw: Draw) -> Task:
    """One word translated by a glossary of three in the prompt."""
    pairs = draw.several("word_pair", 3)
    table = draw.listing([f"{word}={translation}" for word, translation in pairs])
    word, translation = draw.chance.choice(pairs)
    return Task(draw.phrase("glossary", table=table, key=word), translation)


FAMILIES = (
    Family("json", _json, check="json", share=1.4),
    Family("reading", _reading, share=1.1),
    Family("lookup", _lookup),
    Family("route", _route, share=1.1),
    Family("glossary", _glossary),
)
