"""Conversations as they stand in a file, before any reader has cut them: every turn is seen, and every one counted.

`camelid train` reads the sound part of a conversation and says so in a note; to clean is to see what was not sound.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from camelid.data.factory.rows import Row
from camelid.data.formats import convert_row, recognise
from camelid.data.formats.context import system_turn
from camelid.data.formats.conversations import KEYS, MESSAGES, SHAREGPT
from camelid.data.formats.fields import RowFault, listed
from camelid.data.formats.pairs import keys_of
from camelid.data.formats.tools import read_tools
from camelid.data.formats.turns import ROLES, read_turns
from camelid.data.records import Conversation, Message, Origin

RESPELLED = "roles that were spelled in another way"
GUESSED = "roles that were missing, told by the turns around them"
UNKNOWN_ROLE = "a role is not known"
UNREADABLE_TURN = "a turn cannot be read"
FROM_FIELD = "system prompts that were a field"
_ROLE_KEYS = ("from", "role")
_TEXT_KEYS = ("value", "content", "text", "message")
_ORNAMENT = re.compile(r"[\W_]+")
_USERS = re.compile(
    r"(?:the)?(?:user|human|customer|client|question|questioner|asker|you|用户|客户|顾客|人类|提问|提问者|问|问题)\d*(?:said)?"
)
_ASSISTANTS = re.compile(
    r".*(?:gpt|claude|bard|gemini|copilot|vicuna|llama|assistant|chatbot|助手|助理|机器人|模型|客服).*"
    r"|(?:answer|agent|ai|bot|llm|回答|答|答案)\d*(?:said)?"
)


@dataclass(slots=True)
class Chat:
    """A conversation, its turns as they came. in_file: how many turns the file holds; added: turns that are no turns
    there, by reason; fault, why: the reason that it cannot be used, and the details"""

    value: Any
    origin: Origin
    turns: list[Message] = field(default_factory=list)
    tools: tuple[dict[str, Any], ...] = ()
    in_file: int = 0
    added: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    fault: str = ""
    why: str = ""

    @property
    def name(self) -> str:
        """What the row calls itself; else the hash of what it holds, the same wherever it stands."""
        given = self.value.get("id") if isinstance(self.value, dict) else None
        if isinstance(given, str | int) and not isinstance(given, bool) and given != "":
            return str(given)
        text = json.dumps(self.value, sort_keys=True, ensure_ascii=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def read_row(value: Any, origin: Origin, notes: list[str]) -> tuple[str, Sequence[Chat | Row]]:
    """A row's format, and what it holds: a conversation of several exchanges, or a row of another kind.

    Raises RowFault for what no reader can use.
    """
    row = _plain(value)
    form = recognise(row) if isinstance(row, dict) else None
    if form is not None and form.name in (SHAREGPT, MESSAGES):
        return form.name, [_read_chat(value, row, origin)]
    if form is not None and (turns := _alternating(row)):
        return form.name, [Chat(value, origin, turns, read_tools(row.get("tools")), len(turns))]
    name, records = convert_row(value, origin, notes)
    record = records[0]
    if isinstance(record, Conversation) and sum(message.role == "user" for message in record.messages) > 1:
        return name, [Chat(value, origin, list(record.messages), record.tools, len(record.messages))]
    return name, [Row(value, origin, tuple(records))]


def turns_in(value: Any) -> int:
    """How many turns a row lists, whether or not they can be read."""
    row = _plain(value)
    if not isinstance(row, dict):
        return 0
    return next((len(row[key]) for key in KEYS if isinstance(row.get(key), list)), 0)


def _plain(value: Any) -> Any:
    """A row as the readers take it: a bare list is its messages, and null is no value."""
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return {"messages": value}
    if not isinstance(value, dict) or None not in value.values():
        return value
    filled = {key: one for key, one in value.items() if one is not None}
    return filled if recognise(filled) else value


def _read_chat(value: Any, row: dict[str, Any], origin: Origin) -> Chat:
    key = next(key for key in KEYS if row.get(key) is not None or key in row)
    raw = listed(row[key], key)
    chat = Chat(value, origin, tools=read_tools(row.get("tools", row.get("functions"))), in_file=len(raw))
    try:
        chat.turns = _turns(raw, chat)
    except RowFault as fault:
        chat.fault, chat.why = UNREADABLE_TURN, str(fault)
    system = system_turn(row)
    if system and not (chat.turns and chat.turns[0] == system[0]):
        chat.turns[:0] = system
        chat.added[FROM_FIELD] += 1
    return chat


def _turns(raw: list[Any], chat: Chat) -> list[Message]:
    """Raises RowFault."""
    if not all(isinstance(turn, dict) for turn in raw):
        return read_turns(raw, [])
    roles = [_role(turn, chat) for turn in raw]
    if not any(roles) and not chat.fault:
        return read_turns(raw, [])  # two people who take turns, nobody named
    for i, role in enumerate(roles):
        if role is None:
            roles[i] = _guessed(roles, i)
            chat.changes[GUESSED] += 1
            if roles[i] is None and not chat.fault:
                chat.fault, chat.why = UNKNOWN_ROLE, f"turn {i + 1} has no role"
    if chat.fault:
        return []
    return read_turns([_named(turn, role or "") for turn, role in zip(raw, roles, strict=True)], [])


def _role(turn: dict[str, Any], chat: Chat) -> str | None:
    """A role that the reader knows, or None where there is none; one that nobody knows is the chat's fault."""
    spelled = next((turn[key] for key in _ROLE_KEYS if turn.get(key) not in (None, "")), None)
    if spelled is None:
        return None
    if not isinstance(spelled, str):
        spelled = str(spelled)[:20]
    if spelled in ROLES or spelled.strip().lower() in ROLES:
        return spelled if spelled in ROLES else spelled.strip().lower()
    bare = _ORNAMENT.sub("", spelled.lower())
    for role, pattern in (("user", _USERS), ("assistant", _ASSISTANTS), ("system", re.compile("system.*|系统.*"))):
        if bare in ROLES or pattern.fullmatch(bare):
            chat.changes[RESPELLED] += 1
            return bare if bare in ROLES else role
    if not chat.fault:
        chat.fault, chat.why = UNKNOWN_ROLE, f"{spelled[:20]!r}"
    return "user"


def _guessed(roles: Sequence[str | None], i: int) -> str | None:
    """The other side of the turns around it, where these agree."""
    around = [ROLES.get(roles[j] or "") for j in (i - 1, i + 1) if 0 <= j < len(roles)]
    sides = {role for role in around if role in ("user", "assistant")}
    if len(sides) != 1 or None in around:
        return None
    return "assistant" if sides == {"user"} else "user"


def _named(turn: dict[str, Any], role: str) -> dict[str, Any]:
    """The turn as the reader takes it, with text where there was none."""
    named = {**turn, "from": role}
    if all(turn.get(key) is None for key in _TEXT_KEYS) and not (turn.get("tool_calls") or turn.get("function_call")):
        named["value"] = ""
    return named


def _alternating(row: dict[str, Any]) -> list[Message]:
    """The turns of Chinese-Vicuna's chats, two lists of one length; of those that hold nothing too."""
    names = keys_of(row)
    if names is None:
        return []
    questions, answers = row[names[0]], row[names[1]]
    if not (isinstance(questions, list) and isinstance(answers, list) and len(questions) == len(answers) > 0):
        return []
    if not all(isinstance(words, str) for words in questions + answers):
        return []
    turns = system_turn(row)
    for asked, answered in zip(questions, answers, strict=True):
        turns += [Message("user", asked), Message("assistant", answered)]
    return turns
