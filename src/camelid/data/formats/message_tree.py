"""OASST message trees: {message_tree_id, prompt: {text, role, replies: [...]}}.

Replies that were deleted, are blank, or do not answer the other side are left out with all that follows them, and
counted. Built without recursion: trees come from outside.
"""

from __future__ import annotations

from typing import Any

from camelid.data.formats.fields import RowFault, kind, text
from camelid.data.formats.turns import ROLES
from camelid.data.records import Message, MessageTree, Origin, TreeMessage

NAME = "OASST tree"
PRUNED = "had replies that were deleted, blank or out of turn: left out with all that follows them"
MAX_DEPTH = 100  # messages from the root to a leaf


def recognises(keys: frozenset[str]) -> bool:
    return "message_tree_id" in keys and "prompt" in keys


def convert(row: dict[str, Any], origin: Origin, notes: list[str]) -> list[MessageTree]:
    root = row["prompt"]
    if not isinstance(root, dict):
        raise RowFault(f"prompt is {kind(root)}, not a message")
    message = _message(root)
    if message.role != "user" or not message.content.strip():
        raise RowFault("the tree does not begin with a user's message")
    # Messages in depth-first order, each with its parent's index: children always come behind their parents.
    nodes: list[tuple[dict[str, Any], Message, int]] = []
    pending: list[tuple[dict[str, Any], Message, int, int]] = [(root, message, -1, 1)]
    pruned = False
    while pending:
        node, message, parent, depth = pending.pop()
        nodes.append((node, message, parent))
        if depth > MAX_DEPTH:
            raise RowFault(f"the tree is deeper than {MAX_DEPTH} messages")
        for reply in reversed(_replies(node)):
            answer = _message(reply)
            if (
                reply.get("deleted")
                or not answer.content.strip()
                or {message.role, answer.role} != {"user", "assistant"}
            ):
                pruned = True
                continue
            pending.append((reply, answer, len(nodes) - 1, depth + 1))
    if len(nodes) == 1:
        raise RowFault("the tree has no answer")
    if pruned:
        notes.append(PRUNED)
    return [MessageTree(_build(nodes), origin)]


def _build(nodes: list[tuple[dict[str, Any], Message, int]]) -> TreeMessage:
    replies: list[list[TreeMessage]] = [[] for _ in nodes]
    built: TreeMessage | None = None
    for i in range(len(nodes) - 1, -1, -1):
        node, message, parent = nodes[i]
        rank = node.get("rank")
        rank = rank if isinstance(rank, int) and not isinstance(rank, bool) else None
        built = TreeMessage(message, tuple(reversed(replies[i])), rank)
        if parent >= 0:
            replies[parent].append(built)
    assert built is not None
    return built


def _replies(node: dict[str, Any]) -> list[dict[str, Any]]:
    replies = node.get("replies") or []
    if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
        raise RowFault("replies is not a list of messages")
    return replies


def _message(node: dict[str, Any]) -> Message:
    role = node.get("role")
    known = ROLES.get(role) if isinstance(role, str) else None
    if known not in ("user", "assistant"):
        raise RowFault(f"unknown role {str(role)[:20]!r} in the tree")
    return Message("user" if known == "user" else "assistant", text(node.get("text"), "the text of a message"))
