"""Who the assistant is and who made it: the name and maker that the user gives."""

from __future__ import annotations

from camelid.data.skills.draw import Draw
from camelid.data.skills.row import Family, Task


def _identity(draw: Draw) -> Task:
    """One answer to all such questions: it says both."""
    prompt = draw.phrase("identity.greeting") + draw.phrase("identity")
    maker_zh = "你" if draw.maker == "you" else draw.maker  # the default, in the language of the answer
    answer = draw.words(
        f"我是{draw.name}，由{maker_zh}打造的助手。", f"I am {draw.name}, an assistant made by {draw.maker}."
    )
    return Task(prompt[0].upper() + prompt[1:], answer)


FAMILIES = (Family("identity", _identity, share=0.7),)
