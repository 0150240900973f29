"""/v1/embeddings: the mean of the last hidden states of each input's tokens. A chat model was not trained for it."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, final

import numpy as np
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from camelid.generate.base import Prompt
from camelid.serve.admission import Places
from camelid.serve.asks import EmbeddingAsk
from camelid.serve.faults import ApiFault, JsonReply
from camelid.serve.service import Service
from camelid.serve.stream import while_connected


@final
class EmbeddingResponse(Response):
    """Does the work when it is sent; one place, however many inputs. Raises ApiFault."""

    def __init__(self, service: Service, ask: EmbeddingAsk) -> None:
        super().__init__()
        self._service, self._ask = service, ask
        self._model = service.model(ask.model)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_connected(receive, self._answer(scope, receive, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        places = self._service.admission.take(1)
        try:
            prompts = await self._prompts()
        except BaseException:
            places.release()
            raise
        vectors_ND = await self._made(prompts, places)
        data = [{"object": "embedding", "index": i, "embedding": self._coded(v)} for i, v in enumerate(vectors_ND)]
        tokens = sum(len(prompt) for prompt in prompts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        body = {"object": "list", "data": data, "model": self._model, "usage": usage}
        await JsonReply(body)(scope, receive, send)

    async def _prompts(self) -> list[Prompt]:
        inputs = [self._ask.input] if isinstance(self._ask.input, str) else self._ask.input
        context, prompts = self._service.generator.context, []
        for text in inputs:
            prompt = await self._service.prepare(text, "input")
            if context and len(prompt) > context:
                what = f"the context is {context} tokens; the input has {len(prompt)}"
                raise ApiFault(400, what, param="input", code="context_length_exceeded")
            if prompt.ids is not None and not len(prompt):
                raise ApiFault(400, "an input has no tokens", param="input")
            prompts.append(prompt)
        return prompts

    async def _made(self, prompts: list[Prompt], places: Places) -> np.ndarray:
        try:
            async with asyncio.timeout(self._service.settings.timeout):
                return await self._service.embed(prompts, self._model, places)
        except TimeoutError:
            raise ApiFault(503, "the embeddings took too long", code="timeout", headers={"retry-after": "10"}) from None

    def _coded(self, vector_D: np.ndarray) -> Any:
        if not np.isfinite(vector_D).all():
            raise ApiFault(500, "the engine gave no numbers", code="engine_error")
        if self._ask.encoding_format == "base64":
            return base64.b64encode(vector_D.astype("<f4").tobytes()).decode()
        return [float(number) for number in vector_D]
