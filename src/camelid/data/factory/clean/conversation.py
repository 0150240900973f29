"""One conversation cleaned: its texts, the order of its turns, whose words they are, its language, its length.

    cleaned = clean_chat(chat, rules)

Every turn that came in goes out in one of the parts or is counted under a reason: `Turns.check` says that it adds up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from camelid.data.factory.clean.language import is_in
from camelid.data.factory.clean.reading import Chat
from camelid.data.factory.clean.split import exchanges_of, split
from camelid.data.factory.clean.text import SYSTEM_VENDOR, VENDOR, Rules, cleaned_text
from camelid.data.factory.clean.turns import in_order
from camelid.data.factory.clean.vendor import speaks_as_another, tells_of_another
from camelid.data.formats.fields import RowFault
from camelid.data.formats.turns import sound
from camelid.data.records import Message

LANGUAGE = "is in another language"
NO_TURNS = "there is no turn in it"
OUT_OF_ORDER = "out of order around calls of tools"
CALLS_JOINED = "calls of tools that stood in turns of their own"
CALLS_PARTED = "results of tools that stood in one turn with the call"
REPEATED_SYSTEM = "system prompts, said again to each part"


@dataclass
class Turns:
    """What became of turns: came + added == went + removed."""

    came: int = 0
    went: int = 0
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)

    def count(self, other: Turns) -> None:
        self.came += other.came
        self.went += other.went
        self.added += other.added
        self.removed += other.removed

    def check(self) -> None:
        assert self.came + self.added.total() == self.went + self.removed.total(), self

    def described(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "in": self.came,
            "added": dict(self.added.most_common()),
            "out": self.went,
            "removed": dict(self.removed.most_common()),
        }


@dataclass
class Cleaned:
    """parts: conversations, none where it was dropped for `reason`; over_limit: parts longer than the limit"""

    parts: list[list[Message]] = field(default_factory=list)
    turns: Turns = field(default_factory=Turns)
    changes: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    why: str = ""
    over_limit: int = 0


class Unfit(Exception):
    """The whole conversation goes. Never leaves this module."""

    def __init__(self, reason: str, why: str = "") -> None:
        self.reason, self.why = reason, why
        super().__init__(reason)


def clean_chat(chat: Chat, rules: Rules) -> Cleaned:
    """A conversation by all rules."""
    cleaned = Cleaned(turns=Turns(chat.in_file, added=chat.added.copy()), changes=chat.changes.copy())
    turns = cleaned.turns
    try:
        messages = _messages(chat, rules, cleaned)
    except Unfit as unfit:
        # all turns of a conversation that is dropped count under its reason
        removed = Counter({unfit.reason: turns.came + turns.added.total()})
        return Cleaned(turns=replace(turns, removed=removed), reason=unfit.reason, why=unfit.why)
    if rules.limit is None:
        cleaned.parts = [messages]
    else:
        parts = split(messages, rules.limit, rules.lengths)
        cleaned.parts = [part for part, _ in parts]
        cleaned.over_limit = sum(length > rules.limit for _, length in parts)
    heads = next(i for i, message in enumerate(messages) if message.role != "system")
    turns.added += Counter({REPEATED_SYSTEM: heads * (len(cleaned.parts) - 1)})
    turns.went = sum(len(part) for part in cleaned.parts)
    turns.check()
    return cleaned


def _messages(chat: Chat, rules: Rules, cleaned: Cleaned) -> list[Message]:
    """Counts in `cleaned` what is removed and changed. Raises Unfit."""
    if chat.fault:
        raise Unfit(chat.fault, chat.why)
    parted = len(chat.turns) - chat.added.total() - chat.in_file
    cleaned.turns.added += Counter({CALLS_PARTED: parted})
    cleaned.turns.removed += Counter({CALLS_JOINED: -parted})
    turns = _texts(chat.turns, rules, cleaned.changes)
    with_calls = any(turn.tool_calls or turn.role == "tool" for turn in turns)
    messages = (_with_calls if with_calls else _without_calls)(turns, rules, cleaned.turns.removed)
    if not messages:
        removed = cleaned.turns.removed.most_common(1)
        raise Unfit(removed[0][0] if removed else NO_TURNS)
    if rules.vendor != "keep" and messages[0].role == "system" and tells_of_another(messages[0].content):
        cleaned.turns.removed[SYSTEM_VENDOR] += 1
        del messages[0]
    if rules.languages and not in_one_of(_said(messages), rules.languages):
        raise Unfit(LANGUAGE)
    return messages


def in_one_of(text: str, languages: Iterable[str]) -> bool:
    return any(is_in(text, language) for language in languages)


def _texts(turns: Iterable[Message], rules: Rules, changes: Counter[str]) -> list[Message]:
    """What tools gave back is theirs; all else is cleaned, an answer in view of its question."""
    found: list[Message] = []
    asked = ""
    for turn in turns:
        if turn.role != "tool":
            text = cleaned_text(turn.content, turn.role, rules, changes, asked=asked)
            turn = replace(turn, content=text, input_start=None)
        if turn.role == "user":
            asked = turn.content
        found.append(turn)
    return found


def _without_calls(turns: Sequence[Message], rules: Rules, removed: Counter[str]) -> list[Message]:
    """System prompt and exchanges; none where no exchange is left. Raises Unfit."""
    ordered = in_order(turns)
    if ordered.fault:
        raise Unfit(ordered.fault)
    if rules.vendor != "keep":
        ordered.drop_exchanges(VENDOR, [bool(speaks_as_another(answer.content)) for _, answer in ordered.exchanges])
        ordered.drop_repeated()  # what stood between two may be gone
    removed += ordered.removed
    return ordered.messages if ordered.exchanges else []


def _with_calls(turns: Sequence[Message], rules: Rules, removed: Counter[str]) -> list[Message]:
    """Calls of tools, their results and what is said of them depend on each other: the sound beginning, or nothing.

    Raises Unfit.
    """
    try:
        messages = list(sound(list(turns), []))
    except RowFault as fault:
        raise Unfit(OUT_OF_ORDER, str(fault)) from None
    removed += Counter({OUT_OF_ORDER: len(turns) - len(messages)})
    kept = [message for message in messages if message.role == "system"]
    for start, stop in exchanges_of(messages):
        answers = (turn.content for turn in messages[start:stop] if turn.role == "assistant")
        if rules.vendor != "keep" and any(map(speaks_as_another, answers)):
            removed[VENDOR] += stop - start
        else:
            kept += messages[start:stop]
    return kept if kept and kept[-1].role != "system" else []


def _said(messages: Iterable[Message]) -> str:
    return "\n".join(message.content for message in messages if message.role in ("user", "assistant"))
