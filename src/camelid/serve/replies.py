"""What a request wants and how its answer is told: the port between a route's format and `AnswerResponse`."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from typing import Any

import camelid
from camelid.generate.base import Request
from camelid.serve.answering import Step
from camelid.serve.asks import SamplingAsk
from camelid.serve.service import Service

_LEAST_LOGPROB = -9999.0  # JSON has no -inf; OpenAI writes this


class Reply(ABC):
    """One request's answers as JSON: a chunk for each step of a stream, or the whole at the end."""

    answers: int  # that are wanted in all
    route: str

    def __init__(self, service: Service, ask: SamplingAsk, prefix: str) -> None:
        self.service, self.ask = service, ask
        self.model = service.model(ask.model)
        self.head = {"id": f"{prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": self.model}
        self._tokens: dict[int, int] = {}
        self._prompts: dict[int, int] = {}

    @abstractmethod
    async def requests(self) -> list[Request]:
        """Rendered, in the order of the choices. Raises ApiFault."""

    @abstractmethod
    def opening(self) -> list[dict[str, Any]]:
        """Chunks before the first step."""

    @abstractmethod
    def chunks(self, step: Step) -> list[dict[str, Any]]:
        """Chunks for a step of a stream."""

    @abstractmethod
    def whole(self) -> dict[str, Any]:
        """The answer of a request without stream, after its steps went through `keep`."""

    @abstractmethod
    def keep(self, step: Step) -> None:
        """A step of an answer that is told as a whole."""

    @abstractmethod
    def usage_chunk(self) -> dict[str, Any]:
        """The last chunk of a stream with `include_usage`."""

    def count(self, step: Step) -> None:
        """Note the tokens of a step."""
        self._tokens[step.choice] = step.tokens
        self._prompts[self.prompt_of(step.choice)] = step.prompt_tokens

    def prompt_of(self, choice: int) -> int:
        """The prompt that a choice answers; a prompt counts once, however many answers it gets."""
        return 0

    @property
    def prompt_tokens(self) -> int:
        return sum(self._prompts.values())

    @property
    def completion_tokens(self) -> int:
        return sum(self._tokens.values())

    @property
    def usage(self) -> dict[str, int]:
        """Exact, as the engine counted."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


FINGERPRINT = f"camelid-{camelid.__version__}"


def told(logprob: float) -> float:
    """A log-probability as JSON can say it."""
    return max(_LEAST_LOGPROB, logprob) if logprob == logprob else _LEAST_LOGPROB
