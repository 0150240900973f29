"""A chat template in Jinja, as tokenizers bring it (and as our named formats are written: `named.py`).

A foreign template is rendered twice: as a skeleton, once for each shape of conversation (`skeleton.py`), and for real,
for each row, in a child process (`child.py`). The row is kept only if the filled skeleton is the real rendering.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jinja2
import jinja2.nodes

from camelid.data.records import Conversation, Message, Origin
from camelid.data.templates import sandbox
from camelid.data.templates.base import Piece, RowFault, TrainOn, trains
from camelid.data.templates.child import RenderProcess, shared_process
from camelid.data.templates.layout import Layout, Sight, Span, answer_spans, build, unprompted_header
from camelid.data.templates.skeleton import SLOT_PATTERN, filled, find_trims, slot_character, split
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

_KEPT_SHAPES = 4096  # skeletons and layouts remembered; alternating roles make one shape a length
_SLOTS_A_MESSAGE = 3  # text, name, reasoning
_SPELLING_SLOTS = 60_000  # from here on: control tokens spelled inside tools and tool calls
_THINK_END = "</think>"


@dataclass(frozen=True)
class _Shape:
    """A conversation with its texts taken out."""

    messages: tuple[dict[str, Any], ...]  # as the template sees them, slots for texts
    keys: tuple[str, ...]  # of each message, a hashable stand-in
    tools: list[Any] | None
    tools_key: str
    texts: dict[str, str]  # slot character -> text
    reasoning: bool  # assistant texts were split at </think>

    def cache_key(self, num_messages: int) -> tuple[str, ...]:
        return (self.tools_key, *self.keys[:num_messages])


@dataclass(eq=False)
class JinjaTemplate:
    """A template over one vocabulary. `trusted` templates are ours: rendered here, and not compared row by row."""

    source: str
    vocabulary: Vocabulary
    name: str = "chat_template"
    tool_source: str | None = None  # used instead of `source` where the conversation has tools
    trusted: bool = False
    now: str | None = None  # ISO time told to the template; None = the moment of construction
    process: RenderProcess | None = None
    _skeletons: OrderedDict[tuple, str | None] = field(default_factory=OrderedDict, repr=False)
    _layouts: OrderedDict[tuple, Layout | RowFault] = field(default_factory=OrderedDict, repr=False)

    def __post_init__(self) -> None:
        """Raises UserError where the template does not compile, overruns its limits, or never ends an answer."""
        self.now = self.now or datetime.now().isoformat(timespec="seconds")
        specials = sorted(self.vocabulary.control, key=len, reverse=True)
        self._control = re.compile("|".join(re.escape(t) for t in specials) or "(?!)")
        try:
            tree = jinja2.Environment(extensions=[sandbox._Generation, "jinja2.ext.loopcontrols"]).parse(self.source)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"the chat template is not valid Jinja: {error}", where=self.name) from error
        constants = [n.value for n in tree.find_all(jinja2.nodes.Const) if isinstance(n.value, str)]
        self.literals = "\0".join([n.data for n in tree.find_all(jinja2.nodes.TemplateData)] + constants)
        self._has_blocks = bool(re.search(r"\{%-?\s*generation\s*-?%\}", self.source))
        self._learn_end()

    def _learn_end(self) -> None:
        probe = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
        faults: list[str] = []
        self.end_tokens: tuple[str, ...] = ()
        self.header = ""  # of an answer, where the template has no generation prompt
        for length in (3, 2):
            shape = self._shape(Conversation(tuple(probe[:length]), Origin(self.name, 0)))
            try:
                layout = self._layout(shape, False)
            except RowFault as fault:
                faults.append(str(fault))
                continue
            self.end_tokens = layout.end_tokens
            self._learn_header(shape)
            break
        else:
            raise UserError(f"the chat template cannot render a plain conversation: {faults[-1]}", where=self.name)
        if not self.end_tokens and self.vocabulary.eos is None:
            mend = "name the tokenizer's eos_token in tokenizer_config.json"
            raise UserError(
                "no token ends an answer, neither in the template nor in the tokenizer", where=self.name, mend=mend
            )

    def _learn_header(self, shape: _Shape) -> None:
        prompt, bare = self._skeleton(shape, 1, True), self._skeleton(shape, 1, False)
        whole = self._skeleton(shape, 2, False)
        if prompt is not None and prompt == bare and whole is not None and whole.startswith(prompt):
            literals = split(whole[len(prompt) :])[0]
            self.header = unprompted_header(literals[0])

    # -- the interface -------------------------------------------------------------------------------------------

    def pieces(
        self, conversation: Conversation, *, add_generation_prompt: bool = False, train_on: TrainOn = "all"
    ) -> list[Piece]:
        """Raises RowFault."""
        result = self.pieces_batch([conversation], add_generation_prompt=add_generation_prompt, train_on=train_on)[0]
        if isinstance(result, RowFault):
            raise result
        return result

    def pieces_batch(
        self, conversations: Sequence[Conversation], *, add_generation_prompt: bool = False, train_on: TrainOn = "all"
    ) -> list[list[Piece] | RowFault]:
        found = [self._explained(c, add_generation_prompt) for c in conversations]
        if not self.trusted:
            self._compare(conversations, found, add_generation_prompt)
        results: list[list[Piece] | RowFault] = []
        for conversation, result in zip(conversations, found, strict=True):
            if isinstance(result, RowFault):
                results.append(result)
            else:
                results.append(_pieces(conversation, *result, train_on=train_on))
        return results

    def _explained(self, conversation: Conversation, prompt: bool, reasoning: bool = False):
        """(layout, texts), or why there is none."""
        try:
            shape = self._shape(conversation, reasoning)
            return self._layout(shape, prompt), shape.texts
        except RowFault as fault:
            return fault

    def _compare(self, conversations: Sequence[Conversation], found: list[Any], prompt: bool) -> None:
        """Replace in `found` what the real rendering contradicts: by a second explanation, or by the fault."""
        rows = [i for i, result in enumerate(found) if not isinstance(result, RowFault)]
        variables = [self._variables(*_plain(conversations[i]), prompt) for i in rows]
        sources = [self._source(bool(conversations[i].tools)) for i in rows]
        real: list[str | RowFault] = [RowFault()] * len(rows)
        for source in dict.fromkeys(sources):
            mine = [j for j, s in enumerate(sources) if s == source]
            for j, text in zip(mine, self._run(source, [variables[j] for j in mine]), strict=True):
                real[j] = text
        for i, text in zip(rows, real, strict=True):
            found[i] = self._matching(conversations[i], found[i], text, prompt)

    def _matching(self, conversation: Conversation, first: Any, real: str | RowFault, prompt: bool) -> Any:
        if isinstance(real, RowFault):
            return real
        candidates = [first]
        if any(m.role == "assistant" and _THINK_END in m.content for m in conversation.messages):
            candidates.append(self._explained(conversation, prompt, reasoning=True))
        for candidate in candidates:
            if isinstance(candidate, RowFault):
                continue
            layout, texts = candidate
            if filled(list(layout.literals), list(layout.slots), texts) == real:
                return candidate
        return RowFault("the chat template rewrites the texts of this conversation in a way that cannot be followed")

    # -- rendering -----------------------------------------------------------------------------------------------

    def _source(self, tools: bool) -> str:
        return self.tool_source if tools and self.tool_source is not None else self.source

    def _variables(self, messages: list[dict], tools: list | None, prompt: bool) -> dict[str, Any]:
        return {
            **self.vocabulary.special,
            "messages": messages,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": prompt,
        }

    def _run(self, source: str, rows: Sequence[Mapping[str, Any]], mark: bool = False) -> list[str | RowFault]:
        if self.trusted:
            return [self._run_here(source, row, mark) for row in rows]
        process = self.process or shared_process()
        replies = process.render(source, rows, mark=mark, now=self.now)
        return [_text_or_fault(reply) for reply in replies]

    def _run_here(self, source: str, row: Mapping[str, Any], mark: bool) -> str | RowFault:
        try:
            return sandbox.compiled(source, mark, self.now).render(row)
        except jinja2.TemplateError as error:
            return RowFault(str(error))

    def _shape(self, conversation: Conversation, reasoning: bool = False) -> _Shape:
        if len(conversation.messages) * _SLOTS_A_MESSAGE >= _SPELLING_SLOTS:
            raise RowFault(f"{len(conversation.messages):,} messages are more than a conversation may have")
        spelled = _Spelled(self._control)
        texts: dict[str, str] = {}
        messages, keys = [], []
        for i, message in enumerate(conversation.messages):
            entry, key = _message_shape(message, i * _SLOTS_A_MESSAGE, reasoning, texts, spelled)
            messages.append(entry)
            keys.append(key)
        tools = [spelled.replaced(t) for t in conversation.tools] or None
        tools_key = json.dumps(tools, ensure_ascii=False) if tools else ""
        texts.update(spelled.texts)
        return _Shape(tuple(messages), tuple(keys), tools, tools_key, texts, reasoning)

    def _skeleton(self, shape: _Shape, num_messages: int, prompt: bool) -> str | None:
        key = (shape.cache_key(num_messages), prompt)
        if key not in self._skeletons:
            text = self._skeleton_now(shape, num_messages, prompt)
            _remember(self._skeletons, key, None if isinstance(text, RowFault) else text)
        self._skeletons.move_to_end(key)
        return self._skeletons[key]

    def _skeleton_now(
        self, shape: _Shape, num_messages: int, prompt: bool, pad: tuple[str, str] | None = None, mark: bool = False
    ) -> str | RowFault:
        messages = list(shape.messages[:num_messages])
        if pad is not None:
            messages = [_padded(m, pad) for m in messages]
        variables = self._variables(messages, shape.tools, prompt)
        return self._run(self._source(shape.tools is not None), [variables], mark)[0]

    def _layout(self, shape: _Shape, prompt: bool) -> Layout:
        key = (shape.cache_key(len(shape.keys)), prompt)
        if key not in self._layouts:
            try:
                layout: Layout | RowFault = self._layout_now(shape, prompt)
            except RowFault as fault:
                layout = fault
            _remember(self._layouts, key, layout)
        self._layouts.move_to_end(key)
        result = self._layouts[key]
        if isinstance(result, RowFault):
            raise result
        return result

    def _layout_now(self, shape: _Shape, prompt: bool) -> Layout:
        num = len(shape.messages)
        skeleton = self._skeleton_now(shape, num, prompt)
        if isinstance(skeleton, RowFault):
            raise skeleton
        untrained = _check_complete(shape, skeleton)
        self._check_tools(shape, skeleton, prompt)
        slots = find_trims(
            skeleton, lambda left, right: _or_none(self._skeleton_now(shape, num, prompt, (left, right)))
        )
        literals, _ = split(skeleton)
        if prompt and self.header_missing:
            skeleton += self.header
        sight = Sight(
            skeleton,
            lambda n, p: self._skeleton(shape, n, p) if n else None,
            self._control,
            self._blocks(shape, prompt),
        )
        answers = [i for i, m in enumerate(shape.messages) if m["role"] == "assistant"]
        keys = [_own_slots(i) for i in range(num)]
        calls = frozenset(i for i, m in enumerate(shape.messages) if "tool_calls" in m)
        spans = answer_spans(sight, answers, keys, calls)
        owner = {c: i for i, own in enumerate(keys) for c in own}
        segments = build(sight, slots, spans, owner, self._eos_for(spans))
        ends = tuple(dict.fromkeys(s.end_token for s in spans if s.end_token))
        return Layout(segments, ends, tuple(literals), tuple(slots), untrained)

    header = ""

    @property
    def header_missing(self) -> bool:
        return bool(self.header)

    def _eos_for(self, spans: Sequence[Span]) -> str | None:
        if self.vocabulary.eos is None and spans and spans[-1].end_token is None:
            raise RowFault("no token ends the last answer, neither in the template nor in the tokenizer")
        return self.vocabulary.eos

    def _blocks(self, shape: _Shape, prompt: bool) -> list[tuple[int, int]] | None:
        if not self._has_blocks:
            return None
        marked = self._skeleton_now(shape, len(shape.messages), prompt, mark=True)
        if isinstance(marked, RowFault):
            raise marked
        blocks, starts, position = [], [], 0
        for character in marked:
            if character == sandbox.MARK_START:
                starts.append(position)
            elif character == sandbox.MARK_END:
                blocks.append((starts.pop(), position))
            else:
                position += 1
        return blocks

    def _check_tools(self, shape: _Shape, skeleton: str, prompt: bool) -> None:
        """A template that passes over tools or tool calls would teach an answer whose cause is not there."""
        num = len(shape.messages)
        if shape.tools is not None:
            without = self._run(self.source, [self._variables(list(shape.messages), None, prompt)])[0]
            if without == skeleton:
                raise RowFault("the chat template has no place for the descriptions of tools")
        if any("tool_calls" in m for m in shape.messages):
            bare = [{k: v for k, v in m.items() if k != "tool_calls"} for m in shape.messages[:num]]
            without = self._run(self._source(shape.tools is not None), [self._variables(bare, shape.tools, prompt)])[0]
            if without == skeleton:
                raise RowFault("the chat template has no place for tool calls")


class _Spelled:
    """Puts a slot for every control token that is spelled inside tools and tool calls."""

    def __init__(self, control: re.Pattern[str]) -> None:
        self._control = control
        self._slots: dict[str, str] = {}

    @property
    def texts(self) -> dict[str, str]:
        return {slot: text for text, slot in self._slots.items()}

    def replaced(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._control.sub(self._slot, SLOT_PATTERN.sub("\ufffd", value))
        if isinstance(value, Mapping):
            return {self.replaced(k): self.replaced(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.replaced(v) for v in value]
        return value

    def _slot(self, match: re.Match[str]) -> str:
        number = _SPELLING_SLOTS + len(self._slots)
        return self._slots.setdefault(match.group(), slot_character(number))


def _own_slots(turn: int) -> str:
    return "".join(slot_character(turn * _SLOTS_A_MESSAGE + i) for i in range(_SLOTS_A_MESSAGE))


def _message_shape(
    message: Message, first_slot: int, reasoning: bool, texts: dict[str, str], spelled: _Spelled
) -> tuple[dict[str, Any], str]:
    """(the message with slots, its stand-in in cache keys); the texts go into `texts`."""
    content, thought = message.content, None
    if reasoning and message.role == "assistant" and _THINK_END in content:
        before, _, content = content.rpartition(_THINK_END)
        thought = before.rpartition("<think>")[2]
    entry: dict[str, Any] = {"role": message.role, "content": content}
    key = [message.role]
    for field_name, text, offset in (
        ("content", content, 0),
        ("name", message.name, 1),
        ("reasoning_content", thought, 2),
    ):
        if text is None:
            continue
        if text.strip():
            entry[field_name] = slot_character(first_slot + offset)
            texts[entry[field_name]] = text
            key.append(field_name)
        else:
            entry[field_name] = text  # blanks decide what templates write: they belong to the shape
            key.append(f"{field_name}={text}")
    if message.tool_calls:
        entry["tool_calls"] = [spelled.replaced(call) for call in message.tool_calls]
        key.append(json.dumps(entry["tool_calls"], ensure_ascii=False))
    return entry, "\0".join(key)


def _plain(conversation: Conversation) -> tuple[list[dict[str, Any]], list[Any] | None]:
    messages = []
    for message in conversation.messages:
        entry: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.name is not None:
            entry["name"] = message.name
        if message.tool_calls:
            entry["tool_calls"] = list(message.tool_calls)
        messages.append(entry)
    return messages, list(conversation.tools) or None


def _padded(message: dict[str, Any], pad: tuple[str, str]) -> dict[str, Any]:
    left, right = pad
    slotted = {k: v for k, v in message.items() if isinstance(v, str) and SLOT_PATTERN.fullmatch(v)}
    return {**message, **{k: left + v + right for k, v in slotted.items()}}


def _check_complete(shape: _Shape, skeleton: str) -> frozenset[int]:
    """Every text must stand in the rendering; a past turn's reasoning may be left out, and that turn is not trained."""
    untrained = set()
    for i, message in enumerate(shape.messages):
        for field_name in ("content", "reasoning_content"):
            text = message.get(field_name)
            if text in shape.texts and text not in skeleton:
                if field_name == "content":
                    raise RowFault(f"the chat template leaves out message {i + 1} ({message['role']})")
                untrained.add(i)
    return frozenset(untrained)


def _pieces(conversation: Conversation, layout: Layout, texts: Mapping[str, str], *, train_on: TrainOn) -> list[Piece]:
    messages = conversation.messages
    last = max((i for i, m in enumerate(messages) if m.role == "assistant"), default=-1)
    flags = [trains(i, m.role, m.trained, last, train_on) and i not in layout.untrained for i, m in enumerate(messages)]
    everything = train_on == "everything"
    pieces = []
    for segment in layout.segments:
        turn, slot = segment.turn, segment.slot
        if turn < 0:
            trained = everything
        else:
            targets = everything or segment.answer or (slot is not None and messages[turn].role != "assistant")
            trained = flags[turn] and targets
        if slot is None:
            pieces.append(Piece(segment.text, "template", trained, turn, segment.answer))
        else:
            pieces.append(Piece(slot.fill(texts[slot.key]), "content", trained, turn, segment.answer))
    return pieces


def _remember(cache: OrderedDict, key: tuple, value: Any) -> None:
    cache[key] = value
    if len(cache) > _KEPT_SHAPES:
        cache.popitem(last=False)


def _or_none(text: str | RowFault) -> str | None:
    return None if isinstance(text, RowFault) else text


def _text_or_fault(reply: Mapping[str, str]) -> str | RowFault:
    return (
        reply["text"]
        if "text" in reply
        else RowFault(reply.get("limit") or f"the chat template says: {reply['error']}")
    )
