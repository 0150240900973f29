"""`camelid serve`: an OpenAI-compatible server with a page, over a model and its adapters."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from camelid.cli.console import say
from camelid.errors import UserError
from camelid.generate.base import Generator
from camelid.generate.echo import EchoGenerator
from camelid.model.load import tokenizer_directory
from camelid.model.resolve import adapter_name, base_name, resolve
from camelid.serve.app import create_app
from camelid.serve.server import Server, listening_socket
from camelid.serve.settings import ModelCard, Settings, is_loopback
from camelid.serve.vllm import Fleet, run_vllm

Engine = Literal["auto", "local", "llamacpp", "vllm"]
ECHO = "echo"  # the name under which the shipped fake is served, for trying out clients
_ECHO_DELAY = 0.02  # seconds between two characters: a stream that can be watched


@dataclass(frozen=True)
class ServeOptions:
    """What the command line asks for."""

    model: str
    adapters: tuple[str, ...] = ()
    adapter_scale: float = 1.0
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    hosts: tuple[str, ...] = ()
    engine: Engine = "auto"
    slots: int | None = None
    max_queue: int | None = None
    timeout: float = 600.0
    drain_seconds: float = 30.0
    votes: Path = Path("votes.jsonl")
    template: str = "auto"
    accept_license: str | None = None


def serve(options: ServeOptions) -> int:
    """Serve until told to end. 0 where every running answer was given to its end."""
    settings = settings_of(options)
    adapters = named_adapters(options.adapters)
    if options.adapter_scale != 1 and (options.engine == "vllm" or options.model == ECHO):
        raise UserError("the engine here takes adapters as they are", where="--adapter-scale")
    if options.engine == "vllm":
        run_vllm(_fleet(options, adapters), settings, say)
    generator, settings = _opened(options, adapters, settings)
    try:
        return run_server(generator, settings)
    finally:
        generator.close()


def settings_of(options: ServeOptions) -> Settings:
    """Raises UserError for an address that others reach, without a key that someone chose."""
    if options.api_key is None and not is_loopback(options.host):
        raise UserError(
            f"{options.host} can be reached from other machines, and no key is given",
            where="--host",
            mend="give --api-key KEY, or serve at 127.0.0.1",
        )
    return Settings(
        key=options.api_key if options.api_key is not None else secrets.token_urlsafe(24),
        host=options.host,
        port=options.port,
        hosts=options.hosts,
        max_queue=options.max_queue,
        timeout=options.timeout,
        drain=options.drain_seconds,
        votes=options.votes,
    )


def named_adapters(given: tuple[str, ...]) -> dict[str, Path]:
    """NAME=PATH, each name once. Raises UserError."""
    adapters: dict[str, Path] = {}
    for pair in given:
        name, equals, path = pair.partition("=")
        if not equals or not name or not path:
            raise UserError(f"{pair!r} is not NAME=PATH", where="--adapter", mend="for example style=runs/style")
        if name in adapters:
            raise UserError(f"two adapters are called {name!r}", where="--adapter")
        adapters[name] = Path(path)
    return adapters


def run_server(generator: Generator, settings: Settings) -> int:
    """Serve this generator; says where, and with which key, once the door is open."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    listener = listening_socket(settings)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host

    def opened() -> None:
        say(f"serving {', '.join(generator.models)} at http://{shown}:{port}/v1")
        say(f"key: {settings.key}")
        say(f"page: http://{'127.0.0.1' if host == '0.0.0.0' else shown}:{port}/#key={settings.key}")

    try:
        server = Server(create_app(generator, settings), settings, opened)
        server.run([listener])
    finally:
        listener.close()
    if server.cut:
        say(f"camelid: some answers were not finished within {settings.drain:g} s, and were cut")
    return server.exit_code


def _opened(options: ServeOptions, adapters: Mapping[str, Path], settings: Settings) -> tuple[Generator, Settings]:
    """The engine for MODEL, and what is said of it. Raises UserError."""
    if options.model == ECHO:
        cards = {ECHO: ModelCard("base", ECHO)}
        return EchoGenerator(delay=_ECHO_DELAY, slots=options.slots or 4), replace(settings, models=cards, engine=ECHO)
    from camelid.generate.opening import Wanted, open_generator

    assert options.engine != "vllm", "it has a server of its own"
    wanted = Wanted(
        options.model,
        adapters,
        engine=options.engine,
        template=options.template,
        slots=options.slots,
        accept_license=options.accept_license,
        adapter_scale=options.adapter_scale,
    )
    opened = open_generator(wanted, say)
    cards = {name: ModelCard(kind, opened.template) for name, kind in opened.kinds.items()}
    return opened.generator, replace(settings, models=cards, engine=opened.engine)


def _fleet(options: ServeOptions, adapters: Mapping[str, Path]) -> Fleet:
    """MODEL as directories that vLLM takes: presets and GGUF files are converted, adapters found. Raises UserError."""
    source = resolve(options.model, accept_license=options.accept_license, announce=say)
    found = {} if source.adapter_directory is None else {adapter_name(options.model): source.adapter_directory}
    for name, path in adapters.items():
        adapter = resolve(path, accept_license=options.accept_license, announce=say).adapter_directory
        if adapter is None:
            raise UserError("this is no adapter (it has no adapter_config.json)", where=str(path))
        found[name] = adapter
    return Fleet(base_name(options.model, source), source.directory, tokenizer_directory(source), found)
