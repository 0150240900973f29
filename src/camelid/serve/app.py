"""The application: routes over one generator. `create_app(generator, settings)` is all that a host needs to know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response

import camelid
from camelid.generate.base import Generator
from camelid.runs.durable import NotSaved
from camelid.serve.asks import ChatAsk, CompletionAsk, EmbeddingAsk, Vote
from camelid.serve.body import BodyGate
from camelid.serve.chat import ChatReply
from camelid.serve.completions import CompletionReply
from camelid.serve.embeddings import EmbeddingResponse
from camelid.serve.faults import ApiFault, JsonReply, invalid
from camelid.serve.guard import EarlyRefusal, Guard, Watch
from camelid.serve.pages import Pages
from camelid.serve.service import Service
from camelid.serve.settings import Settings
from camelid.serve.stream import AnswerResponse
from camelid.serve.votes import VotesFile


def create_app(generator: Generator, settings: Settings) -> FastAPI:
    """The server's ASGI application; `app.state.service` is what it runs on.

    The generator stays the caller's: it is not closed here.
    """
    service = Service(generator, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            service.close()

    app = FastAPI(
        title="Camelid",
        version=camelid.__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat what a Host header says
        lifespan=lifespan,
        middleware=[
            Middleware(Watch, metrics=service.metrics),
            Middleware(Guard, settings=settings),
            Middleware(EarlyRefusal, admission=service.admission),
            Middleware(BodyGate, settings=settings),
        ],
        exception_handlers={
            ApiFault: _tell_fault,
            HTTPException: _tell_http,
            RequestValidationError: _tell_invalid,
        },
    )
    app.state.service = service
    _add_openai(app, service)
    _add_camelid(app, service)
    _add_page(app, Pages())
    return app


def _add_openai(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", response_class=JsonReply)
    async def models() -> Response:
        """The models that can be asked for, the default one first."""
        return JsonReply({"object": "list", "data": [_model(service, name) for name in service.generator.models]})

    @app.get("/v1/models/{name:path}", response_class=JsonReply)
    async def model(name: str) -> Response:
        """One model."""
        if not name:
            raise ApiFault(404, "there is no such route", code="not_found")
        return JsonReply(_model(service, service.model(name)))

    @app.post("/v1/chat/completions", response_class=JsonReply)
    async def chat(ask: ChatAsk) -> Response:
        """Answer a conversation."""
        return AnswerResponse(service, ChatReply(service, ask))

    @app.post("/v1/completions", response_class=JsonReply)
    async def completions(ask: CompletionAsk) -> Response:
        """Go on from running text."""
        return AnswerResponse(service, CompletionReply(service, ask))

    @app.post("/v1/embeddings", response_class=JsonReply)
    async def embeddings(ask: EmbeddingAsk) -> Response:
        """The mean of the last hidden states of each input's tokens."""
        return EmbeddingResponse(service, ask)


def _add_camelid(app: FastAPI, service: Service) -> None:
    votes = VotesFile(service.settings.votes)

    @app.get("/healthz", response_class=JsonReply)
    async def health() -> Response:
        """The process lives."""
        return JsonReply({"status": "ok"})

    @app.get("/readyz", response_class=JsonReply)
    async def ready() -> Response:
        """The engine has just made a token."""
        if await service.ready():
            return JsonReply({"status": "ready"})
        raise ApiFault(503, "the engine gave no token", code="not_ready", headers={"retry-after": "5"})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/camelid/info", response_class=JsonReply)
    async def info() -> Response:
        """What is served, and how."""
        return JsonReply(_info(service))

    @app.post("/v1/camelid/votes", response_class=JsonReply)
    async def vote(ask: Vote) -> Response:
        """Keep a vote between two answers."""
        try:
            path = await service.save(lambda: votes.keep(ask))
        except NotSaved as error:
            raise ApiFault(503, f"the vote was not saved: {error.what}", code="not_saved") from error
        return JsonReply({"saved": True, "file": path.name})


def _add_page(app: FastAPI, pages: Pages) -> None:
    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return pages.response()

    @app.get("/page/{name}", include_in_schema=False)
    async def page(name: str) -> Response:
        return pages.response(name)


def _model(service: Service, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": service.created, "owned_by": "camelid"}


def _info(service: Service) -> dict[str, Any]:
    generator, settings = service.generator, service.settings
    cards = {name: settings.card(name) for name in generator.models}
    return {
        "models": [{"id": name, "kind": card.kind, "template": card.template} for name, card in cards.items()],
        "context": generator.context,
        "slots": generator.slots,
        "engine": settings.engine,
        "votes_file": str(settings.votes),
        "version": camelid.__version__,
    }


async def _tell_fault(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, ApiFault)
    return fault.response


async def _tell_http(request: Request, fault: Exception) -> Response:
    """Starlette's own: no route, or not this method."""
    assert isinstance(fault, HTTPException)
    if fault.status_code == 404:
        return ApiFault(404, "there is no such route", code="not_found").response
    if fault.status_code == 405:
        return ApiFault(405, "this route has no such method", code="method_not_allowed", headers=fault.headers).response
    return ApiFault(fault.status_code, str(fault.detail), headers=fault.headers).response


async def _tell_invalid(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, RequestValidationError)
    return invalid(fault.errors()).response
