"""What a server is told when it starts: addresses, key, limits. Each limit is in the unit that its comment names."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from camelid.errors import UserError

MOST_CHOICES = 16  # answers that one request may want


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is said of a model that can be asked for."""

    kind: Literal["base", "adapter"] = "base"
    template: str = "auto"


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one server. `key` is never empty; `hosts` are names beside the loopback's and `host` that a request may name.

    Raises UserError for what is unsafe or cannot be.
    """

    key: str
    host: str = "127.0.0.1"
    port: int = 8000
    hosts: tuple[str, ...] = ()
    models: Mapping[str, ModelCard] = field(default_factory=dict)  # by id; a model without a card is a base
    engine: str = "local"
    max_queue: int | None = None  # answers that may wait for a slot; None: as many as there are slots, at least 4
    timeout: float = 600.0  # seconds from a request's first byte to its answer's last
    stall: float = 30.0  # seconds in which a client must take what is sent to it, and send what it has announced
    render: float = 10.0  # seconds for rendering one prompt
    probe: float = 5.0  # seconds for the token that /readyz asks for
    drain: float = 30.0  # seconds that running answers have once the server is told to end
    max_body: int = 2 << 20  # bytes
    max_depth: int = 64  # levels of a body's JSON
    max_tokens: int = 1024  # of an answer whose request names no number
    votes: Path = Path("votes.jsonl")

    def __post_init__(self) -> None:
        if not self.key.isascii() or not self.key.isprintable() or " " in self.key or len(self.key) < 8:
            raise UserError(
                "an API key is at least 8 printable ASCII characters without spaces",
                where="--api-key",
                mend="leave the option out, and a key is made",
            )
        if not 0 <= self.port < 65536:
            raise UserError(f"{self.port} is no port", where="--port", mend="take one from 0 to 65535")
        if self.max_queue is not None and self.max_queue < 0:
            raise UserError("a queue cannot be shorter than 0", where="--max-queue")

    def card(self, model: str) -> ModelCard:
        """What is known of a model."""
        return self.models.get(model, ModelCard())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost is taken for one that all reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
