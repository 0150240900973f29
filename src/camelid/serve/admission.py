"""Who is let in: a bounded number of answers at a time, decided before anything is rendered, and none once draining."""

from __future__ import annotations

import math
import time
from typing import final

from camelid.serve.faults import ApiFault

_PATIENCE = 60  # most seconds that Retry-After names


@final
class Admission:
    """Counts the answers that run or wait. For the event loop's thread alone.

    slots: answers that the engine computes at a time; queue: answers that may wait for one
    """

    def __init__(self, slots: int, queue: int) -> None:
        self.slots, self.places = slots, slots + queue
        self.taken = 0
        self.draining = False
        self.heard_at = -math.inf  # when the engine last made a token, on the monotonic clock
        self._seconds = 1.0  # that an answer takes, a running mean

    def check(self) -> None:
        """Refuse what cannot be taken in now. Raises ApiFault 503 or 429, each with Retry-After."""
        if self.draining:
            headers = {"retry-after": "5", "connection": "close"}
            raise ApiFault(503, "the server is shutting down", code="shutting_down", headers=headers)
        if self.taken >= self.places:
            raise self._full(f"all {self.places} places are taken")

    def take(self, answers: int) -> Places:
        """Places for this many answers, as far as there are so many in all. Raises ApiFault 503 or 429."""
        self.check()
        wanted = min(answers, self.places)
        free = self.places - self.taken
        if wanted > free:
            raise self._full(f"{free} of {self.places} places are free, and this request wants {wanted}")
        return Places(self, answers, wanted)

    def _full(self, what: str) -> ApiFault:
        wait = math.ceil(self._seconds * self.taken / self.slots)
        headers = {"retry-after": str(min(_PATIENCE, max(1, wait)))}
        return ApiFault(429, f"{what}; try again in a moment", code="rate_limit_exceeded", headers=headers)

    def learn(self, seconds: float) -> None:
        """An answer took so long."""
        self._seconds += 0.1 * (seconds - self._seconds)


@final
class Places:
    """The places of one request. Each is given back when its answer has ended; giving back twice changes nothing."""

    def __init__(self, admission: Admission, answers: int, held: int) -> None:
        self._admission, self._left, self._held = admission, answers, held
        self._began = time.monotonic()
        admission.taken += held

    def heard(self) -> None:
        """A token has come."""
        self._admission.heard_at = time.monotonic()

    def ended(self) -> None:
        """One of the answers is over."""
        self._admission.learn(time.monotonic() - self._began)
        self.unwanted(1)

    def unwanted(self, answers: int) -> None:
        """So many of the answers will not come."""
        self._left -= answers
        self._hold(min(self._held, self._left))

    def release(self) -> None:
        """Nothing of the request runs any more."""
        self._hold(0)

    def _hold(self, count: int) -> None:
        count = max(0, count)
        self._admission.taken -= self._held - count
        self._held = count
