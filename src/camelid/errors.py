"""The one exception that means "the user's input is at fault" (exit code 2).

Everything else that escapes is a fault of ours (exit code 1). Keeping the two apart in the type system lets the
command line promise: a `UserError` is always shown as one line that says what, where, and how to mend it.
"""

from __future__ import annotations


class UserError(Exception):
    """One line for the user: what is wrong, where, and how to mend it."""

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, where, mend
        super().__init__(what)

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        if self.mend:
            line = f"{line.rstrip('.')} — {self.mend}"
        # Values of the user's (file names, keys, excerpts) may hold line breaks; the promise is one line.
        return " ".join(line.split())
