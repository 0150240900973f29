"""Writing a short list in another form."""

from __future__ import annotations

from camelid.data.skills.draw import Draw
from camelid.data.skills.row import Family, Task


def _numbered(draw: Draw) -> Task:
    """One item a line, numbered."""
    items = draw.several("thing", draw.chance.randint(2, 3))
    answer = "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))
    return Task(draw.phrase("numbered", items=draw.listing(items)), answer)


def _sort(draw: Draw) -> Task:
    """Three numbers from 1 to 9, ascending."""
    ordered = draw.make(lambda: sorted(draw.chance.sample(range(1, 10), 3)), draw.listing)
    shuffled = list(ordered)
    while shuffled == ordered:
        draw.chance.shuffle(shuffled)
    return Task(draw.phrase("sort", items=draw.listing(shuffled)), draw.listing(ordered))


FAMILIES = (Family("numbered", _numbered, share=1.1), Family("sort", _sort, share=1.8))
