"""Working on a short list: number it, count it, search it, turn it around."""

from __future__ import annotations

from camelid.data.skills.draw import Draw
from camelid.data.skills.row import Family, Task


def _numbered(draw: Draw) -> Task:
    items = draw.several("thing", draw.chance.randint(2, 4))
    answer = "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))
    return Task(draw.phrase("numbered", items=draw.listing(items)), answer)


def _join(draw: Draw) -> Task:
    items = draw.several("thing", draw.chance.randint(3, 4))
    return Task(draw.phrase("join", items=draw.listing(items)), "-".join(items))


def _count(draw: Draw) -> Task:
    items = draw.several("thing", draw.chance.randint(2, 6))
    return Task(draw.phrase("count", items=draw.listing(items)), str(len(items)))


def _member(draw: Draw) -> Task:
    *items, stranger = draw.several("thing", draw.chance.randint(3, 4))
    inside = draw.chance.random() < 0.5
    key = draw.chance.choice(items) if inside else stranger
    answer = draw.words("是", "Yes") if inside else draw.words("否", "No")
    return Task(draw.phrase("member", key=key, items=draw.listing(items)), answer)


def _last(draw: Draw) -> Task:
    items = draw.several("thing", draw.chance.randint(3, 4))
    which = draw.choose("first", "last")
    word = draw.words({"first": "第一", "last": "最后"}[which], which)
    return Task(draw.phrase("last", which=word, items=draw.listing(items)), items[0 if which == "first" else -1])


def _reverse(draw: Draw) -> Task:
    items = draw.several("thing", 3)
    return Task(draw.phrase("reverse", items=draw.listing(items)), draw.listing(items[::-1]))


def _remove(draw: Draw) -> Task:
    items = draw.several("thing", 3)
    key = draw.chance.choice(items)
    return Task(draw.phrase("remove", key=key, items=draw.listing(items)), draw.listing([i for i in items if i != key]))


FAMILIES = (
    Family("numbered", _numbered),
    Family("join", _join),
    Family("count", _count),
    Family("member", _member),
    Family("last", _last),
    Family("reverse", _reverse),
    Family("remove", _remove),
)
