"""`camelid chat`: talk to a model in the terminal, or answer one prompt and exit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camelid.cli.console import print_json, say
from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Renderer
from camelid.data.templates import template_for
from camelid.errors import UserError
from camelid.generate.base import Sampling
from camelid.generate.local import LocalGenerator
from camelid.model.layout import choose_layout
from camelid.model.load import load_model

_LENGTH = 1 << 20  # no cutting here: a conversation that outgrows the model is the model's limit, and is said


@dataclass(frozen=True)
class ChatOptions:
    """What the command line asks for."""

    model: str
    adapter: Path | None
    system: str | None
    template: str
    compare: bool
    sampling: Sampling
    accept_license: str | None


@dataclass
class Talk:
    """The conversation so far."""

    system: str | None
    turns: list[Message] = field(default_factory=list)

    def conversation(self) -> Conversation:
        """As the renderer takes it."""
        head = [Message("system", self.system)] if self.system else []
        return Conversation((*head, *self.turns), Origin("chat", len(self.turns)))

    def save(self, path: Path) -> None:
        """Append the conversation as one row that `camelid train` reads."""
        messages = [{"role": m.role, "content": m.content} for m in self.conversation().messages]
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


@dataclass
class Speaker:
    """The loaded model, and the way to its base: the same model with the adapter switched off."""

    generator: LocalGenerator
    base: Callable[[], AbstractContextManager[Any]] | None
    context: int


def chat(options: ChatOptions, *, prompt: str | None, as_json: bool) -> int:
    """One answer to `prompt`, or a conversation until end of input."""
    speaker = load_speaker(options)
    talk = Talk(options.system)
    if prompt is None:
        return _converse(speaker, talk, options)
    talk.turns.append(Message("user", prompt))
    _require_room(speaker, talk, options.sampling)
    completion = speaker.generator.generate([talk.conversation()], options.sampling)[0]
    result = {
        "text": completion.text,
        "finish": completion.finish,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
    }
    if options.compare:
        result["base_text"] = _base_answer(speaker, talk, options.sampling)
    if as_json:
        print_json(result)
    elif options.compare:
        print(f"base:  {result['base_text']}\ntuned: {completion.text}")
    else:
        print(completion.text)
    return 0


def load_speaker(options: ChatOptions) -> Speaker:
    """Load the model and its renderer."""
    loaded = load_model(options.model, accept_license=options.accept_license, adapter=options.adapter, announce=say)
    is_adapter = loaded.source.adapter_directory is not None or options.adapter is not None
    if options.compare and not is_adapter:
        raise UserError("--compare shows a base beside its adapter, and this model has none", where=options.model)
    model = loaded.model
    lm = model.get_base_model() if is_adapter else model  # type: ignore[operator]
    layout, _ = choose_layout(lm, "tree")
    renderer = Renderer(loaded.vocabulary, template_for(options.template, loaded.vocabulary), _LENGTH)
    base: Any = model.disable_adapter if is_adapter else None  # type: ignore[union-attr]
    context = int(lm.config.get_text_config().max_position_embeddings)  # type: ignore[union-attr]
    return Speaker(LocalGenerator(lm, renderer, layout=layout), base, context)


def _converse(speaker: Speaker, talk: Talk, options: ChatOptions) -> int:
    say("Type a message. /reset starts over, /system TEXT sets the system prompt, /save FILE keeps it all, /quit ends.")
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            return 0
        if not line:
            continue
        if line.startswith("/"):
            if not _command(line, talk):
                return 0
            continue
        talk.turns.append(Message("user", line))
        try:
            _require_room(speaker, talk, options.sampling)
        except UserError as error:
            say(str(error))
            talk.turns.pop()
            continue
        if options.compare:
            print(f"base:  {_base_answer(speaker, talk, options.sampling)}\ntuned: ", end="", flush=True)
        answer = "".join(_shown(speaker.generator.stream(talk.conversation(), options.sampling)))
        talk.turns.append(Message("assistant", answer))


def _shown(pieces: Iterator[str]) -> Iterator[str]:
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
        yield piece
    sys.stdout.write("\n")


def _command(line: str, talk: Talk) -> bool:
    """Carry out a /command; False ends the conversation."""
    name, _, argument = line.partition(" ")
    argument = argument.strip()
    if name in ("/quit", "/exit"):
        return False
    if name == "/reset":
        talk.turns.clear()
        say("a new conversation")
    elif name == "/system":
        talk.system = argument or None
        say(f"system prompt: {argument or '(none)'}")
    elif name == "/save" and argument:
        try:
            talk.save(Path(argument))
            say(f"saved to {argument}")
        except OSError as error:
            say(f"not saved: {error}")
    else:
        say("commands: /reset, /system TEXT, /save FILE, /quit")
    return True


def _base_answer(speaker: Speaker, talk: Talk, sampling: Sampling) -> str:
    assert speaker.base is not None, "load_speaker checks that there is an adapter"
    with speaker.base():
        return speaker.generator.generate([talk.conversation()], sampling)[0].text


def _require_room(speaker: Speaker, talk: Talk, sampling: Sampling) -> None:
    """Refuse, with both counts, what would outgrow the model's context."""
    used = len(speaker.generator.renderer.prompt(talk.conversation()))
    if used + sampling.max_new_tokens > speaker.context:
        raise UserError(
            f"the conversation has {used} tokens and {sampling.max_new_tokens} may be answered, "
            f"but the model's context is {speaker.context}",
            mend="shorten it, /reset, or lower --max-new-tokens",
        )
