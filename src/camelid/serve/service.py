"""What every route needs of the one engine: its limits, its numbers, and the answers that are under way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar, final

import numpy as np

from camelid.data.records import Conversation
from camelid.errors import UserError
from camelid.generate.base import Generator, Piece, Prompt, Request, Sampling
from camelid.serve.admission import Admission, Places
from camelid.serve.answering import Answering
from camelid.serve.faults import ApiFault, refused
from camelid.serve.metrics import Metrics
from camelid.serve.settings import Settings
from camelid.serve.tools import ToolStyle, told_in_text, tool_style

_T = TypeVar("_T")
_RENDERERS = 2  # threads that render; a template that hangs holds one, and never more than these


@final
class Service:
    """The engine behind the routes. `close` ends its threads; the generator belongs to whoever handed it in."""

    def __init__(self, generator: Generator, settings: Settings) -> None:
        self.generator, self.settings = generator, settings
        queue = settings.max_queue if settings.max_queue is not None else max(4, generator.slots)
        self.admission = Admission(generator.slots, queue)
        self.metrics = Metrics(self.admission)
        self.running: set[Answering] = set()
        self.created = int(time.time())
        self._rendering = ThreadPoolExecutor(_RENDERERS, thread_name_prefix="render")
        self._embedding = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._saving = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._style: ToolStyle | None = None
        self._probe: asyncio.Task[bool] | None = None

    # -- preparing -----------------------------------------------------------------------------------------------

    def model(self, asked: str) -> str:
        """The model that a request names, the first where it names none. Raises ApiFault 404."""
        if asked and asked not in self.generator.models:
            raise ApiFault(404, f"there is no model {asked!r} here", param="model", code="model_not_found")
        return asked or self.generator.models[0]

    async def prepare(self, source: Conversation | str, param: str) -> Prompt:
        """Render off the loop, with a limit of time. Raises ApiFault 400 naming `param`, or 503."""
        try:
            return await self._in_time(lambda: self.generator.prepare(self._told(source)))
        except UserError as error:
            raise refused(error, param) from error

    def _told(self, source: Conversation | str) -> Conversation | str:
        """In a rendering thread: with tools in the texts, where this template has no place for them."""
        if isinstance(source, str):
            return source
        if not source.tools and not any(m.tool_calls or m.role == "tool" for m in source.messages):
            return source
        if self._style is None:
            self._style = tool_style(self.generator)
        return source if self._style == "template" else told_in_text(source, self._style)

    async def _in_time(self, function: Callable[[], _T]) -> _T:
        # not wait_for, which before Python 3.12 forgets a cancellation that comes as the work is done (bpo-37658)
        try:
            async with asyncio.timeout(self.settings.render):
                return await asyncio.get_running_loop().run_in_executor(self._rendering, function)
        except TimeoutError:
            what = f"rendering the prompt took longer than {self.settings.render:g} s"
            raise ApiFault(503, what, code="timeout", headers={"retry-after": "5"}) from None

    def room(self, prompt: Prompt, wanted: int | None, param: str, default: int) -> int:
        """How many tokens an answer may have. Raises ApiFault 400 with both counts where the context has no room."""
        context, used = self.generator.context, len(prompt)
        if not context or prompt.ids is None:
            return wanted or default
        if used + (wanted or 1) > context:
            asked = f" and {wanted} may be answered" if wanted else ", which leaves no room for an answer"
            what = f"the context is {context} tokens; the {param} has {used}{asked}"
            raise ApiFault(400, what, param=param, code="context_length_exceeded")
        return wanted or min(default, context - used)

    # -- answering -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def answering(self, requests: Sequence[Request], places: Places) -> AsyncIterator[Answering]:
        """The requests under way; what still runs at the end is cancelled. Raises ApiFault 400 and 503."""
        try:
            limit = self.settings.render
            async with Answering(self.generator, requests, places, self._rendering, limit) as answers:
                self.running.add(answers)
                try:
                    yield answers
                finally:
                    self.running.discard(answers)
        except UserError as error:
            raise refused(error) from error
        except TimeoutError:
            what = f"reading the JSON schema took longer than {limit:g} s"
            raise ApiFault(503, what, code="timeout", headers={"retry-after": "5"}) from None

    async def embed(self, prompts: Sequence[Prompt], model: str, places: Places) -> np.ndarray:
        """(n, D) float32, made off the loop. It cannot be broken off: the places stay taken until it is made, though
        nobody may wait for it any more. Raises ApiFault 400."""
        loop = asyncio.get_running_loop()
        made = self._embedding.submit(self.generator.embed, prompts, model)
        made.add_done_callback(lambda _: self._back_on(loop, places.release))
        try:
            return await asyncio.wrap_future(made)
        except UserError as error:
            raise refused(error) from error

    async def save(self, function: Callable[[], _T]) -> _T:
        """Write to the disk off the loop, one after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._saving, function)

    async def drain(self) -> bool:
        """Let nothing new in, and wait for what runs; False where `settings.drain` seconds were not enough."""
        self.admission.draining = True
        end = time.monotonic() + self.settings.drain
        while self.admission.taken and time.monotonic() < end:
            await asyncio.sleep(0.02)
        whole = not self.admission.taken
        for answers in list(self.running):
            answers.stop("the server is shutting down")
        return whole

    # -- readiness -----------------------------------------------------------------------------------------------

    async def ready(self) -> bool:
        """Whether the engine has just made a token. Probes that come together share one."""
        if self.admission.draining:
            return False
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._probed())
        return await asyncio.shield(self._probe)

    async def _probed(self) -> bool:
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        last: list[Piece] = []

        def sink(piece: Piece) -> None:
            last.append(piece)
            if piece.finish:
                self._back_on(loop, heard.set)

        ticket = None
        try:
            async with asyncio.timeout(self.settings.probe):
                prompt = await self._in_time(lambda: self.generator.prepare("a"))
                ticket = self.generator.submit(Request(prompt, Sampling(max_new_tokens=1)), sink)
                await heard.wait()
        except (TimeoutError, ApiFault):
            # No slot was free in time. An engine that keeps making tokens for others is ready none the less.
            return time.monotonic() - self.admission.heard_at < self.settings.probe
        except (UserError, RuntimeError):
            return False
        finally:
            if ticket is not None:
                ticket.cancel()
        return last[-1].finish in ("stop", "length")

    def close(self) -> None:
        """End the threads, without waiting for one that hangs."""
        for threads in (self._rendering, self._embedding, self._saving):
            threads.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _back_on(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(function)
