"""From chosen tokens to shown text: whole characters only, and nothing of a stop string.

Oracle: whatever the pieces in which it comes, the streamed text is the whole text (tests/generate/test_text.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from tokenizers.decoders import DecodeStream

from camelid.data.vocabulary import Vocabulary


@final
class StopStrings:
    """Lets text through up to the first stop string: the one whose end comes first, so that pieces do not matter.

    What may be the beginning of a stop string is held back until it is one or is not.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """The text that is now certain to be of the answer."""
        if self.stopped:
            return ""
        if not self._stops:
            return text
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)[1]], ""
            return shown
        keep = max(self._overlap(stop) for stop in self._stops)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def rest(self) -> str:
        """What was held back, once the answer is over."""
        rest, self._held = self._held, ""
        return rest

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text with which `stop` begins."""
        for length in range(min(len(stop) - 1, len(self._held)), 0, -1):
            if stop.startswith(self._held[-length:]):
                return length
        return 0


@final
class AnswerText:
    """The text of an answer while its tokens come: unfinished characters wait for the rest of their bytes."""

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[str] = ()) -> None:
        self._vocabulary, self._filter = vocabulary, StopStrings(stops)
        self._stream = DecodeStream(skip_special_tokens=False)
        self._ids: list[int] = []
        self._decoded = 0  # characters that the stream has given

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return self._filter.stopped

    def add(self, token: int) -> str:
        """New text that may be shown."""
        self._ids.append(token)
        new = self._stream.step(self._vocabulary.backend, token)
        if not new:
            return ""
        self._decoded += len(new)
        return self._filter.add(new)

    def rest(self) -> str:
        """What is left when the answer is over; bytes that make no character become U+FFFD."""
        if self.stopped:
            return ""
        tail = self._vocabulary.decode(self._ids)[self._decoded :]
        return self._filter.add(tail) + self._filter.rest()
