"""One message made plain: no HTML, no noise, and no other maker's words where the rules say so."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from camelid.data.factory.clean.markup import without_html
from camelid.data.factory.clean.noise import without_counter, without_noise
from camelid.data.factory.clean.split import Lengths, characters
from camelid.data.factory.clean.vendor import Identity, Treatment, rewritten, rewritten_system, speaks_as_another
from camelid.data.records import Role

VENDOR = "the answer speaks as another assistant"
SYSTEM_VENDOR = "the system prompt names another assistant"
_ROUNDS = 5


@dataclass(frozen=True)
class Rules:
    """languages: none for all; limit: of a conversation's length, as `lengths` measures it, None for no limit"""

    languages: tuple[str, ...] = ()
    vendor: Treatment = "drop"
    identity: Identity = field(default_factory=Identity)
    limit: int | None = None
    lengths: Lengths = characters


def cleaned_text(text: str, role: Role, rules: Rules, changes: Counter[str], *, asked: str = "") -> str:
    """asked: the question that an answer follows. Counts in `changes` each rule that changed it.

    What one rule takes away may be what another went by; so the rules are gone through until none finds anything.
    """
    made: dict[str, None] = {}
    for _ in range(_ROUNDS):
        cleaned, names = _once(text, role, rules, asked)
        if cleaned == text:
            break
        made |= dict.fromkeys(names)
        text = cleaned
    changes.update(list(made))
    return text


def _once(text: str, role: Role, rules: Rules, asked: str) -> tuple[str, list[str]]:
    answer = role == "assistant"
    text, names = without_counter(text, answer=answer)
    text, converted = without_html(text, answer=answer, asked=asked)
    text, quieted = without_noise(text, answer=answer)
    told: list[str] = []
    if rules.vendor == "rewrite":
        if answer and speaks_as_another(text):
            text, told = rewritten(text, rules.identity)
        elif role == "system":
            text, told = rewritten_system(text, rules.identity)
    return text, [*names, *converted, *quieted, *told]
