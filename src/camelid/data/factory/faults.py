"""Why something that a teacher said is not kept."""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.factory.teacher import Answer


@dataclass(frozen=True, slots=True)
class Fault:
    """rule: a few words, the same for all; found: what of the text broke it"""

    rule: str
    found: str = ""


NOT_ASKED = Fault("not answered before the end")
CUT_OFF = Fault("cut off")


def answer_fault(answer: Answer | None) -> Fault | None:
    """What is wrong with an answer before it is read: that there is none, or not the whole of it."""
    if answer is None:
        return NOT_ASKED
    if answer.ended == "refused":
        return Fault("the teacher refused", answer.why)
    return CUT_OFF if answer.ended == "length" else None
