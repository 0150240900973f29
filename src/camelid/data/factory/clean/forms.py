"""Rows of other forms (one instruction, a preference, ranked answers, a message tree, running text): their texts are
cleaned where they stand, everything else of the row stays as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from camelid.data.factory.clean.conversation import LANGUAGE, Cleaned, Turns, in_one_of
from camelid.data.factory.clean.text import SYSTEM_VENDOR, VENDOR, Rules, cleaned_text
from camelid.data.factory.clean.turns import EMPTY
from camelid.data.factory.clean.vendor import speaks_as_another, tells_of_another
from camelid.data.factory.rows import Row, text_of
from camelid.data.formats import convert_row
from camelid.data.formats.fields import RowFault
from camelid.data.formats.turns import ROLES
from camelid.data.records import (
    Conversation,
    Labelled,
    Message,
    MessageTree,
    Preference,
    Ranked,
    Record,
    Role,
    Text,
    TreeMessage,
)

_ANSWERS = (
    *("output", "response", "answer", "completion", "summary", "chosen", "rejected", "response_chosen"),
    *("chosen_response", "response_rejected", "rejected_response", "rejected_messages"),
)
# Whose words a field of a row holds.
_FIELDS: dict[str, Role] = {
    **dict.fromkeys(("instruction", "input", "context", "prompt", "question", "query", "content"), "user"),
    **dict.fromkeys(_ANSWERS, "assistant"),
    **dict.fromkeys(("system", "system_prompt"), "system"),
    "text": "assistant",
}
_LISTS = ("conversations", "conversation", "messages", "history", "instances", "replies")
_TURN_TEXTS = ("value", "content", "text", "message")


def clean_form(row: Row, rules: Rules) -> tuple[Any, Cleaned]:
    """(the row, what became of its turns); the row is of no use where it was dropped."""
    if all(isinstance(record, Text) for record in row.records):
        rules = replace(rules, vendor="keep")  # nobody speaks in it
    came = sum(1 for record in row.records for _ in _messages(record))
    cleaned = Cleaned(turns=Turns(came))
    walk = _Walk(rules, cleaned.changes)
    value = walk.row(row.value)
    gone = VENDOR if walk.pruned else EMPTY
    try:
        records = tuple(convert_row(value, row.origin, [])[1])
    except RowFault as fault:
        return value, _dropped(came, gone, str(fault))
    messages = [message for record in records for message in _messages(record)]
    if rules.vendor != "keep":
        if any(message.role == "assistant" and speaks_as_another(message.content) for message in messages):
            return value, _dropped(came, VENDOR)
        if any(message.role == "system" and tells_of_another(message.content) for message in messages):
            return value, _dropped(came, SYSTEM_VENDOR)
    if rules.languages and not in_one_of(text_of(Row(value, row.origin, records), "all"), rules.languages):
        return value, _dropped(came, LANGUAGE)
    cleaned.turns.went = len(messages)
    cleaned.turns.removed += Counter({gone: came - len(messages)})
    cleaned.turns.check()
    return value, cleaned


def _dropped(came: int, reason: str, why: str = "") -> Cleaned:
    return Cleaned(turns=Turns(came, removed=Counter({reason: came})), reason=reason, why=why)


def _messages(record: Record) -> Iterator[Message]:
    """Every message of a record; a running text is one of nobody's."""
    match record:
        case Conversation() | Labelled():
            yield from record.messages
        case Preference():
            yield from (*record.prompt, *record.chosen, *record.rejected)
        case Ranked():
            yield from record.prompt
            yield from (Message("assistant", answer) for answer in record.answers)
        case MessageTree():
            pending: list[TreeMessage] = [record.root]
            while pending:
                node = pending.pop()
                yield node.message
                pending += node.replies
        case _:
            yield Message("user", record.text)


class _Walk:
    """The texts of a raw row, by the names of its fields. Rows that were read are no deeper than trees may be."""

    def __init__(self, rules: Rules, changes: Counter[str]) -> None:
        self._rules, self._changes = rules, changes
        self._asked = ""
        self.pruned = False  # whether a reply of a tree was left out, with all that follows it

    def row(self, value: Any) -> Any:
        if isinstance(value, list):
            return self._list(value)
        if not isinstance(value, dict):
            return value
        return {key: self._field(key, one) for key, one in value.items()}

    def _field(self, key: str, value: Any) -> Any:
        if key in _LISTS and isinstance(value, list):
            return self._list(value)
        role = _FIELDS.get(key)
        if role is None:
            return value
        if isinstance(value, str):
            return self._text(value, role)
        if isinstance(value, dict):
            return self._turn(value, role)
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return [self._text(one, role) for one in value]
        return self._list(value) if isinstance(value, list) else value

    def _list(self, value: list[Any]) -> list[Any]:
        """Turns, pairs of question and answer, or objects with fields of their own."""
        found = []
        for one in value:
            if isinstance(one, dict):
                found.append(self._turn(one, None) if _role_of(one) else self.row(one))
            elif isinstance(one, list) and len(one) == 2 and all(isinstance(words, str) for words in one):
                found.append([self._text(one[0], "user"), self._text(one[1], "assistant")])
            else:
                found.append(one)
        return found

    def _turn(self, turn: dict[str, Any], role: Role | None) -> dict[str, Any]:
        role = _role_of(turn) or role
        if role is None or role == "tool":
            return turn
        key = next((key for key in _TURN_TEXTS if turn.get(key) is not None), None)
        changed = dict(turn)
        if key is not None and isinstance(turn[key], str):
            changed[key] = self._text(turn[key], role)
        elif key is not None and isinstance(turn[key], list) and all(isinstance(one, str) for one in turn[key]):
            changed[key] = self._text("\n".join(turn[key]), role)
        if isinstance(turn.get("replies"), list):
            replies = self._list(turn["replies"])
            changed["replies"] = [one for one in replies if not self._is_anothers(one)]
            self.pruned = self.pruned or len(changed["replies"]) < len(replies)
        return changed

    def _is_anothers(self, reply: Any) -> bool:
        if self._rules.vendor == "keep" or not isinstance(reply, dict) or _role_of(reply) != "assistant":
            return False
        return bool(speaks_as_another(str(reply.get("text", ""))))

    def _text(self, text: str, role: Role) -> str:
        cleaned = cleaned_text(text, role, self._rules, self._changes, asked=self._asked if role == "assistant" else "")
        if role == "user":
            self._asked = cleaned
        return cleaned


def _role_of(turn: dict[str, Any]) -> Role | None:
    spelled = turn.get("from") or turn.get("role")
    role = ROLES.get(spelled.strip().lower()) if isinstance(spelled, str) else None
    match role:
        case "user" | "assistant" | "system" | "tool":
            return role
        case _:
            return None
