"""Who the assistant is and who made it: the name and maker that the user gives."""

from __future__ import annotations

from camelid.data.skills.draw import Draw
from camelid.data.skills.row import Family, Task


def _identity(draw: Draw) -> Task:
    topic = draw.choose("who", "maker")
    prompt = draw.phrase("identity.greeting") + draw.phrase(f"identity.{topic}")
    prompt = prompt[0].upper() + prompt[1:]
    name, maker = draw.name, draw.maker
    if topic == "who":
        answer = draw.words(f"我是{name}，由{maker}打造的助手。", f"I am {name}, an assistant made by {maker}.")
    else:
        answer = draw.words(f"我是由{maker}打造的。", f"I was made by {maker}.")
    return Task(prompt, answer)


FAMILIES = (Family("identity", _identity),)
