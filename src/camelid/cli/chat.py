"""`camelid chat`: talk to a model in the terminal, or answer one prompt and exit."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from camelid.cli.console import print_json, say
from camelid.data.records import Conversation, Message, Origin
from camelid.errors import UserError
from camelid.generate.base import Generator, Request, Sampling
from camelid.generate.opening import Engine, Wanted, adapter_name, open_generator


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
    engine: Engine = "auto"
    adapter_scale: float = 1.0


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


@dataclass(frozen=True)
class Speaker:
    """The generator, and the names under which the model and its base answer; `base` None: there is no adapter."""

    generator: Generator
    base: str | None


def chat(options: ChatOptions, *, prompt: str | None, as_json: bool) -> int:
    """One answer to `prompt`, or a conversation until end of input."""
    speaker = load_speaker(options)
    try:
        talk = Talk(options.system)
        return _converse(speaker, talk, options) if prompt is None else _answer(speaker, talk, options, prompt, as_json)
    finally:
        speaker.generator.close()


def _answer(speaker: Speaker, talk: Talk, options: ChatOptions, prompt: str, as_json: bool) -> int:
    talk.turns.append(Message("user", prompt))
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
    """Open the model; the adapter's name first, so that it answers, and its base beside it."""
    adapters = {} if options.adapter is None else {adapter_name(options.adapter): options.adapter}
    wanted = Wanted(
        options.model,
        adapters,
        engine=options.engine,
        template=options.template,
        slots=2,
        accept_license=options.accept_license,
        adapter_scale=options.adapter_scale,
    )
    opened = open_generator(wanted, say)
    base = next(name for name, kind in opened.kinds.items() if kind == "base")
    if options.compare and len(opened.kinds) == 1:
        opened.generator.close()
        raise UserError("--compare shows a base beside its adapter, and this model has none", where=options.model)
    return Speaker(opened.generator, base if len(opened.kinds) > 1 else None)


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
            speaker.generator.check(Request(speaker.generator.prepare(talk.conversation()), options.sampling))
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
    prompt = speaker.generator.prepare(talk.conversation())
    return speaker.generator.generate_each([Request(prompt, sampling, speaker.base)])[0].text
