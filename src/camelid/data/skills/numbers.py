"""Small numbers: add, compare, sort."""

from __future__ import annotations

from camelid.data.skills.draw import Draw
from camelid.data.skills.row import Family, Task


def _add(draw: Draw) -> Task:
    """The sum of two numbers from 1 to 9."""
    plus = draw.words("加", " + ")
    a, b = draw.make(lambda: (draw.chance.randint(1, 9), draw.chance.randint(1, 9)), lambda ab: f"{ab[0]}{plus}{ab[1]}")
    return Task(draw.phrase("add", sum=f"{a}{plus}{b}"), str(a + b))


def _larger(draw: Draw) -> Task:
    a, b = draw.numbers(10, 99, 2)
    return Task(draw.phrase("larger", a=a, b=b), str(max(a, b)))


def _sort(draw: Draw) -> Task:
    """Three two-digit numbers, ascending."""
    numbers = draw.numbers(10, 99, 3)
    return Task(draw.phrase("sort", items=draw.listing(numbers)), draw.listing(sorted(numbers)))


FAMILIES = (Family("add", _add), Family("larger", _larger), Family("sort", _sort))
