"""What a user names -> a generator that answers: the engine chosen, the model loaded, its adapters put on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from camelid.data.render import Renderer
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.generate.base import Generator
from camelid.generate.decoder import Decoder
from camelid.generate.gguf_files import adapter_file, gguf_of
from camelid.generate.llamacpp import LlamaCppDecoder
from camelid.generate.local import SLOTS, LocalGenerator, decoder_of
from camelid.generate.remote import RemoteGenerator
from camelid.model.adapter_parts import adapter_parts
from camelid.model.layout import choose_layout
from camelid.model.llama_runtime import llama_cpp_installed
from camelid.model.load import load_model, refuse_classifier, source_vocabulary
from camelid.model.packed import Routing
from camelid.model.packed_layers import pack_for_good
from camelid.model.resolve import Source, adapter_kind, adapter_name, base_name, resolve

Engine = Literal["auto", "local", "llamacpp"]
Announce = Callable[[str], None]

LLAMACPP_SLOTS = 16
_LENGTH = 1 << 20  # no cutting here: a conversation that outgrows the model is the model's limit, and is said


@dataclass(frozen=True)
class Opened:
    """A generator, and what is said of each of its models: 'base' or 'adapter'; `engine` is the one that was taken."""

    generator: Generator
    kinds: dict[str, Literal["base", "adapter"]]
    engine: Literal["local", "llamacpp", "remote"]
    template: str


@dataclass(frozen=True)
class Wanted:
    """A model with its adapters.

    adapters: further ones by name; adapter_scale: how much of each; dtype: as `load_model` takes it
    """

    model: str
    adapters: Mapping[str, Path] = field(default_factory=dict)
    engine: Engine = "auto"
    template: str = "auto"
    slots: int | None = None  # answers at a time; None: as many as suit the engine
    dtype: str = "auto"
    accept_license: str | None = None
    adapter_scale: float = 1.0


def open_generator(wanted: Wanted, announce: Announce) -> Opened:
    """Load what is wanted; every step that takes time is announced. Raises UserError.

    A model that begins with http:// or https:// is an endpoint's, `URL#NAME`; its key is OPENAI_API_KEY.
    """
    if wanted.model.startswith(("http://", "https://")):
        return _remote(wanted)
    source = resolve(wanted.model, accept_license=wanted.accept_license, announce=announce)
    refuse_classifier(source)
    adapters = _adapters(wanted, source, announce)
    vocabulary = _vocabulary(source, adapters, announce)
    template = template_for(wanted.template, vocabulary)
    renderer = Renderer(vocabulary, template, _LENGTH)
    if wanted.adapter_scale != 1 and not adapters:
        raise UserError("there is no adapter to scale", where=wanted.model, mend="leave --adapter-scale out")
    base = base_name(wanted.model, source)
    names = {name: name for name in adapters}
    if base in names:
        raise UserError(f"an adapter is called {base!r}, as its base is", mend="give it another name")
    # what was tuned answers first; the base stays there beside it, to be compared with
    served = {**names, base: ""} if adapters else {base: ""}
    kinds: dict[str, Literal["base", "adapter"]] = {name: "adapter" if name in names else "base" for name in served}
    file = _file_for_llamacpp(wanted, source, adapters, announce)
    if file is not None:
        generator = _llamacpp(wanted, source, file, adapters, served, renderer, announce)
        return Opened(generator, kinds, "llamacpp", template.name)
    generator = _local(wanted, source, adapters, served, renderer, announce)
    return Opened(generator, kinds, "local", template.name)


def _remote(wanted: Wanted) -> Opened:
    url, _, name = wanted.model.partition("#")
    if not name:
        raise UserError("which of the endpoint's models?", where=wanted.model, mend=f"write {url}#NAME")
    if wanted.adapters or wanted.engine != "auto" or wanted.adapter_scale != 1:
        raise UserError("an endpoint brings its own engine and adapters", where=wanted.model)
    generator = RemoteGenerator(url, name, os.environ.get("OPENAI_API_KEY"), slots=wanted.slots or 8)
    return Opened(generator, {name: "base"}, "remote", "the endpoint's own")


def _file_for_llamacpp(wanted: Wanted, source: Source, adapters: Mapping[str, Path], announce: Announce) -> Path | None:
    """The file, if llama.cpp is to answer: where it is asked for, and of itself on a CPU. Raises UserError."""
    if wanted.engine == "local":
        return None
    file = gguf_of(wanted.model, source)
    kinds = {name: adapter_kind(directory) for name, directory in adapters.items()}
    other = next((f"{name} ({kind})" for name, kind in kinds.items() if kind != "LORA"), None)
    if wanted.engine == "llamacpp":
        if other is not None:
            raise UserError(
                f"llama.cpp knows LoRA adapters only, and not {other}", where=wanted.model, mend="use --engine local"
            )
        if file is None:
            raise UserError(
                "llama.cpp runs GGUF files, and this model is none",
                where=wanted.model,
                mend="camelid export --format gguf writes one",
            )
        return file
    import torch

    if file is None or torch.cuda.is_available():
        return None
    if other is not None:
        announce(f"answering in PyTorch: llama.cpp knows LoRA adapters only, and not {other}")
        return None
    if not llama_cpp_installed():
        announce("answering in PyTorch; llama.cpp would be several times as fast here: pip install 'camelid[gguf]'")
        return None
    announce(f"answering with llama.cpp and {file.name} as it is stored; --engine local computes in full precision")
    return file


def _llamacpp(
    wanted: Wanted,
    source: Source,
    file: Path,
    adapters: Mapping[str, Path],
    served: Mapping[str, str],
    renderer: Renderer,
    announce: Announce,
) -> Generator:
    files = {name: adapter_file(source, directory, announce) for name, directory in adapters.items()}
    slots = wanted.slots or LLAMACPP_SLOTS
    return LocalGenerator(
        lambda: LlamaCppDecoder(file, files, slots=slots, scale=wanted.adapter_scale), renderer, served
    )


def _local(
    wanted: Wanted,
    source: Source,
    adapters: Mapping[str, Path],
    served: Mapping[str, str],
    renderer: Renderer,
    announce: Announce,
) -> Generator:
    def make() -> Decoder:
        alone = replace(source, adapter_directory=None)
        model = load_model(alone, dtype=wanted.dtype, announce=announce).model
        layout, reason = choose_layout(model, "tree")
        if layout != "tree":
            announce(f"answers are computed one by one, not together: {reason}")
        scale = wanted.adapter_scale
        parts = {name: adapter_parts(model, directory, layout, scale) for name, directory in adapters.items()}
        routing = Routing()
        packed = pack_for_good(model, routing, layout=layout)
        for name, part in parts.items():
            part.put_on(packed, name)
        return decoder_of(model, routing, layout, wanted.slots or SLOTS, parts)

    return LocalGenerator(make, renderer, served)


def _adapters(wanted: Wanted, source: Source, announce: Announce) -> dict[str, Path]:
    """The adapters by name, MODEL's own first. Raises UserError for what is none or belongs to another base."""
    found = {} if source.adapter_directory is None else {adapter_name(wanted.model): source.adapter_directory}
    for name, path in wanted.adapters.items():
        other = resolve(path, accept_license=wanted.accept_license, announce=announce)
        if other.adapter_directory is None:
            raise UserError("this is no adapter (it has no adapter_config.json)", where=str(path))
        refuse_classifier(other)
        if name in found:
            raise UserError(f"two adapters are called {name!r}", where=str(path))
        found[name] = other.adapter_directory
    return found


def _vocabulary(source: Source, adapters: Mapping[str, Path], announce: Announce) -> Vocabulary:
    """MODEL's own, or the first adapter's where that brings the chat template which its base lacks."""
    vocabulary = source_vocabulary(source)
    for name, directory in adapters.items():
        own = source_vocabulary(replace(source, adapter_directory=directory))
        if vocabulary.chat_template is None and own.chat_template is not None:
            vocabulary = own
        elif own.chat_template is not None and own.chat_template != vocabulary.chat_template:
            announce(f"the adapter {name} was trained with another chat template than the one that is used here")
    return vocabulary
