"""/v1/chat/completions: messages in, an assistant's message or its calls of tools out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from camelid.generate.base import Request, TokenScore
from camelid.serve.answering import Step
from camelid.serve.asks import ChatAsk
from camelid.serve.faults import ApiFault
from camelid.serve.messages import conversation_of
from camelid.serve.replies import FINGERPRINT, Reply, told
from camelid.serve.sampling import check_schema, response_schema, sampling_of
from camelid.serve.service import Service
from camelid.serve.tools import Call, CallReader, ToolPlan, plan_tools


@dataclass
class _Choice:
    """One of the answers."""

    reader: CallReader
    words: str = ""
    scores: list[TokenScore] = field(default_factory=list)
    finish: str = ""
    told_calls: int = 0


@final
class ChatReply(Reply):
    """Raises ApiFault where the request contradicts itself."""

    route = "/v1/chat/completions"

    def __init__(self, service: Service, ask: ChatAsk) -> None:
        super().__init__(service, ask, "chatcmpl")
        self._ask = ask
        self.answers = ask.n or 1
        if ask.top_logprobs is not None and not ask.logprobs:
            raise ApiFault(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
        if ask.max_tokens is not None and ask.max_completion_tokens is not None:
            raise ApiFault(400, "max_tokens is the older name of max_completion_tokens: give one", param="max_tokens")
        self._plan: ToolPlan = plan_tools(ask)
        for i, tool in enumerate(self._plan.shown):
            check_schema(tool.function.parameters or {}, f"tools.{i}.function.parameters")
        self._schema = self._plan.schema or response_schema(ask)
        self._choices = [_Choice(CallReader(self._plan)) for _ in range(self.answers)]

    async def requests(self) -> list[Request]:
        """The one prompt, answered `n` times."""
        ask = self._ask
        conversation = conversation_of(ask.messages, self._plan.shown)
        prompt = await self.service.prepare(conversation, "messages")
        wanted = ask.max_completion_tokens or ask.max_tokens
        room = self.service.room(prompt, wanted, "messages", self.service.settings.max_tokens)
        logprobs = (ask.top_logprobs or 0) if ask.logprobs else None
        sampling = sampling_of(ask, logprobs=logprobs, schema=self._schema, max_new_tokens=room)
        return [Request(prompt, sampling, self.model, answer) for answer in range(self.answers)]

    def opening(self) -> list[dict[str, Any]]:
        """The role of each choice."""
        return [self._chunk(i, {"role": "assistant", "content": ""}) for i in range(self.answers)]

    def chunks(self, step: Step) -> list[dict[str, Any]]:
        """New words, calls once they are whole, and at last how it ended."""
        choice = self._choices[step.choice]
        words, calls = self._read(choice, step)
        made = []
        delta: dict[str, Any] = {"content": words} if words else {}
        if calls:
            delta["tool_calls"] = [{"index": choice.told_calls + i, **call.wire} for i, call in enumerate(calls)]
            choice.told_calls += len(calls)
        logprobs = _logprobs(step.scores) if self._ask.logprobs and step.scores else None
        if delta or logprobs:
            made.append(self._chunk(step.choice, delta, logprobs))
        if step.finish:
            made.append(self._chunk(step.choice, {}, finish=choice.finish))
        return made

    def keep(self, step: Step) -> None:
        choice = self._choices[step.choice]
        words, _ = self._read(choice, step)
        choice.words += words
        choice.scores += step.scores

    def whole(self) -> dict[str, Any]:
        choices = []
        for i, choice in enumerate(self._choices):
            calls = choice.reader.calls
            message: dict[str, Any] = {"role": "assistant", "content": choice.words or (None if calls else "")}
            message["refusal"] = None
            if calls:
                message["tool_calls"] = [call.wire for call in calls]
            logprobs = _logprobs(choice.scores) if self._ask.logprobs else None
            choices.append({"index": i, "message": message, "logprobs": logprobs, "finish_reason": choice.finish})
        return self._object("chat.completion", choices) | {"usage": self.usage}

    def usage_chunk(self) -> dict[str, Any]:
        return self._object("chat.completion.chunk", []) | {"usage": self.usage}

    def _read(self, choice: _Choice, step: Step) -> tuple[str, list[Call]]:
        words, calls = choice.reader.add(step.text)
        if step.finish:
            more, last = choice.reader.rest()
            words, calls = words + more, calls + last
            choice.finish = "tool_calls" if choice.reader.calls and step.finish == "stop" else step.finish
        return words, calls

    def _chunk(
        self, choice: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None, finish: str | None = None
    ) -> dict[str, Any]:
        made = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunk = self._object("chat.completion.chunk", [made])
        return chunk | {"usage": None} if self.ask.with_usage else chunk

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self.head, "object": kind, "system_fingerprint": FINGERPRINT, "choices": choices}


def _logprobs(scores: list[TokenScore]) -> dict[str, Any]:
    content = []
    for score in scores:
        best = [_token(text, utf8, logprob) for text, utf8, logprob in score.best]
        content.append(_token(score.text, score.utf8, score.logprob) | {"top_logprobs": best})
    return {"content": content, "refusal": None}


def _token(text: str, utf8: bytes, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": told(logprob), "bytes": list(utf8)}
