"""Who the teacher of a verb is, as the command line says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TeacherOptions:
    """What the command line says of a teacher.

    teacher: URL#MODEL, or what `camelid chat` takes; price: IN,OUT in dollars a million tokens; max_cost: dollars;
    slots: questions at a time; per_minute: questions; minutes: None for no end; timeout: seconds
    """

    teacher: str
    key_file: Path | None = None
    slots: int | None = None
    per_minute: float | None = None
    max_cost: float | None = None
    price: str | None = None
    prices: Path | None = None
    minutes: float | None = None
    timeout: float = 120.0
    accept_license: str | None = None

    @property
    def remote(self) -> bool:
        return self.teacher.startswith(("http://", "https://"))
