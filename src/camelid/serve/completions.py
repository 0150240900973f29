"""/v1/completions: running text in, its continuation out, without any template."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from camelid.generate.base import Request, TokenScore
from camelid.serve.answering import Step
from camelid.serve.asks import CompletionAsk
from camelid.serve.faults import ApiFault
from camelid.serve.replies import FINGERPRINT, Reply, told
from camelid.serve.sampling import sampling_of
from camelid.serve.service import Service
from camelid.serve.settings import MOST_CHOICES

_USUAL_TOKENS = 16  # OpenAI's default here


@dataclass
class _Choice:
    """One of the continuations."""

    text: str = ""
    scores: list[TokenScore] = field(default_factory=list)
    finish: str | None = None
    length: int = 0  # characters of the scored tokens that were told


@final
class CompletionReply(Reply):
    """The choices are in OpenAI's order: all continuations of the first prompt, then those of the second."""

    route = "/v1/completions"

    def __init__(self, service: Service, ask: CompletionAsk) -> None:
        super().__init__(service, ask, "cmpl")
        self._ask = ask
        self._each = ask.n or 1
        if ask.best_of not in (None, self._each):
            raise ApiFault(400, "best_of is not served: it must equal n", param="best_of")
        self._prompts_asked = [ask.prompt] if isinstance(ask.prompt, str) else ask.prompt
        self.answers = self._each * len(self._prompts_asked)
        if self.answers > MOST_CHOICES:
            what = f"{len(self._prompts_asked)} prompts with n {self._each} want {self.answers} answers"
            raise ApiFault(400, f"{what}; at most {MOST_CHOICES} are given", param="n")
        self._choices = [_Choice() for _ in range(self.answers)]

    async def requests(self) -> list[Request]:
        """Each prompt, answered `n` times."""
        made = []
        for text in self._prompts_asked:
            prompt = await self.service.prepare(text, "prompt")
            room = self.service.room(prompt, self._ask.max_tokens, "prompt", _USUAL_TOKENS)
            sampling = sampling_of(self._ask, logprobs=self._ask.logprobs, schema=None, max_new_tokens=room)
            made += [Request(prompt, sampling, self.model, answer) for answer in range(self._each)]
        return made

    def prompt_of(self, choice: int) -> int:
        return choice // self._each

    def opening(self) -> list[dict[str, Any]]:
        return []

    def chunks(self, step: Step) -> list[dict[str, Any]]:
        """New text; the last one says how it ended."""
        if not (step.text or step.scores or step.finish):
            return []
        told_text = self._told(step.choice, step.text, step.scores, step.finish or None)
        chunk = self._object([told_text])
        return [chunk | {"usage": None} if self.ask.with_usage else chunk]

    def keep(self, step: Step) -> None:
        choice = self._choices[step.choice]
        choice.text += step.text
        choice.scores += step.scores
        choice.finish = step.finish or None

    def whole(self) -> dict[str, Any]:
        made = [self._told(i, choice.text, choice.scores, choice.finish) for i, choice in enumerate(self._choices)]
        return self._object(made) | {"usage": self.usage}

    def usage_chunk(self) -> dict[str, Any]:
        return self._object([]) | {"usage": self.usage}

    def _told(self, index: int, text: str, scores: list[TokenScore], finish: str | None) -> dict[str, Any]:
        logprobs = self._logprobs(self._choices[index], scores) if self._ask.logprobs is not None else None
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}

    def _logprobs(self, choice: _Choice, scores: list[TokenScore]) -> dict[str, Any]:
        offsets = []
        for score in scores:
            offsets.append(choice.length)
            choice.length += len(score.text)
        return {
            "tokens": [score.text for score in scores],
            "token_logprobs": [told(score.logprob) for score in scores],
            "top_logprobs": [{text: told(logprob) for text, _, logprob in score.best} for score in scores],
            "text_offset": offsets,
        }

    def _object(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self.head, "object": "text_completion", "system_fingerprint": FINGERPRINT, "choices": choices}
