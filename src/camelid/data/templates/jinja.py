"""A chat template in Jinja, as tokenizers bring it (and as our named formats are written: `formats.py`).

A foreign template is rendered twice: as a skeleton, once for each shape of conversation (`skeleton.py`), and for real,
for each row, in a child process (`child.py`). The row is kept only if the filled skeleton is the real rendering.
"""

from __future__ import annotations

import itertools
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jinja2

from camelid.data.records import Conversation, Message, Origin
from camelid.data.templates import sandbox
from camelid.data.templates.base import Piece, RowFault, TrainOn, trains
from camelid.data.templates.child import RenderProcess, shared_process
from camelid.data.templates.layout import Layout, Sight, answer_spans, build, unprompted_header
from camelid.data.templates.shape import (
    THINK_END,
    Reasoning,
    Shape,
    check_complete,
    own_slots,
    padded,
    plain_messages,
    shape_of,
)
from camelid.data.templates.skeleton import filled, find_trims, split
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

_KEPT_SHAPES = 4096  # skeletons and layouts remembered; with alternating roles there is one shape a length
_Explanation = tuple[Layout, dict[str, str]]  # a layout, and the texts for its slots


@dataclass(eq=False)
class JinjaTemplate:
    """A template over one vocabulary. `trusted` templates are ours: rendered here, and not compared row by row."""

    source: str
    vocabulary: Vocabulary
    name: str = "chat_template"
    tool_source: str | None = None  # used instead of `source` where the conversation has tools
    trusted: bool = False
    splits_input: bool = False  # an Alpaca input goes under a heading of its own
    now: str | None = None  # ISO time told to the template; None = the moment of construction
    variables: Mapping[str, Any] = field(default_factory=dict)  # more of what it sees: {"enable_thinking": False}
    process: RenderProcess | None = None  # None = the child that all templates share
    literals: str = field(init=False, default="")
    end_tokens: tuple[str, ...] = field(init=False, default=())
    _header: str = field(init=False, default="")  # of an answer, where the template has no generation prompt
    _opening: str = field(init=False, default="")  # the header of a question, as it stands after an answer
    _skeletons: OrderedDict[tuple, str | None] = field(init=False, default_factory=OrderedDict, repr=False)
    _layouts: OrderedDict[tuple, Layout | RowFault] = field(init=False, default_factory=OrderedDict, repr=False)

    def __post_init__(self) -> None:
        """Raises UserError where the template is no Jinja, overruns its limits, or never ends an answer."""
        self.now = self.now or datetime.now().isoformat(timespec="seconds")
        self._control = _any_of(self.vocabulary.control)
        sources = [s for s in (self.source, self.tool_source) if s is not None]
        try:
            self.literals = "\0".join(sandbox.literals(source) for source in sources)
        except (jinja2.TemplateSyntaxError, RecursionError) as error:
            raise UserError(f"the chat template is not valid Jinja: {error}", where=self._where) from error
        self._named = {
            name: token
            for name, token in self.vocabulary.special.items()
            if self.vocabulary.backend.token_to_id(token) is not None
        }
        fault = self._learn_ends()
        if not self.end_tokens:
            # Some conversions do not flag the tokens that end a turn as special; the template's spelling tells.
            known = [t for t in self.vocabulary.added if t in self.literals and not t.isspace()]
            self._control = _any_of({*self.vocabulary.control, *known})
            fault = self._learn_ends()
        if fault is not None:
            raise UserError(f"cannot render a plain conversation: {fault}", where=self._where)
        if not self.end_tokens and self.vocabulary.eos is None:
            what = "no token ends an answer, neither in the template nor in the tokenizer"
            raise UserError(what, where=self._where, mend="name the eos_token in tokenizer_config.json")

    @property
    def _where(self) -> str:
        return f"{self.vocabulary.name} ({self.name})"

    def _learn_ends(self) -> RowFault | None:
        """How answers end, and what stands before them where there is no generation prompt, from a made-up chat."""
        talk = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
        fault: RowFault | None = None
        self._layouts.clear()
        for length in (3, 2):
            shape = self._shape(Conversation(talk[:length], Origin(self.name, 0)))
            try:
                layout = self._layout(shape, False)
            except RowFault as failed:
                fault = failed
                continue
            self.end_tokens = layout.end_tokens
            header = itertools.takewhile(lambda s: s.slot is None, (s for s in layout.segments if s.turn == 2))
            self._opening = "".join(segment.text for segment in header)
            self._header = self._missing_header(shape)
            self._layouts.clear()  # made before the header was known
            return None
        return fault

    def _missing_header(self, shape: Shape) -> str:
        bare, prompt = self._skeleton(shape, 1, False), self._skeleton(shape, 1, True)
        whole = self._skeleton(shape, 2, False)
        if bare is None or bare != prompt or whole is None or not whole.startswith(bare):
            return ""
        return unprompted_header(split(whole[len(bare) :])[0][0])

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
        """One round trip to the child for the batch; a conversation that cannot be laid out gives its RowFault."""
        found = [self._explained(c, add_generation_prompt) for c in conversations]
        if not self.trusted:
            self._compare(conversations, found, add_generation_prompt)
        return [
            result if isinstance(result, RowFault) else _pieces(conversation, *result, train_on=train_on)
            for conversation, result in zip(conversations, found, strict=True)
        ]

    # -- explaining a rendering ----------------------------------------------------------------------------------

    def _shape(self, conversation: Conversation, reasoning: Reasoning = "") -> Shape:
        return shape_of(conversation, self._control, reasoning=reasoning, splits_input=self.splits_input)

    def _explained(
        self, conversation: Conversation, prompt: bool, reasoning: Reasoning = ""
    ) -> _Explanation | RowFault:
        try:
            shape = self._shape(conversation, reasoning)
            return self._layout(shape, prompt), shape.texts
        except RowFault as fault:
            return fault

    def _compare(
        self, conversations: Sequence[Conversation], found: list[_Explanation | RowFault], prompt: bool
    ) -> None:
        """Replace in `found` what the real rendering contradicts: by a second explanation, or by the fault."""
        for with_tools in (False, True):
            rows = [
                i
                for i, result in enumerate(found)
                if not isinstance(result, RowFault) and bool(conversations[i].tools) is with_tools
            ]
            variables = [
                self._variables(plain_messages(c), list(c.tools) or None, prompt)
                for c in map(conversations.__getitem__, rows)
            ]
            for i, real in zip(rows, self._run(self._source(with_tools), variables), strict=True):
                found[i] = self._matching(conversations[i], found[i], real, prompt)

    def _matching(
        self, conversation: Conversation, first: _Explanation | RowFault, real: str | RowFault, prompt: bool
    ) -> _Explanation | RowFault:
        if isinstance(real, RowFault):
            return real
        if _explains(first, real):
            return first
        fault = RowFault("the chat template rewrites the texts of this conversation in a way that cannot be followed")
        if any(m.role == "assistant" and THINK_END in m.content for m in conversation.messages):
            for reasoning in ("stripped", "raw"):
                second = self._explained(conversation, prompt, reasoning)
                if _explains(second, real):
                    return second
                fault = second if isinstance(second, RowFault) else fault
        return fault

    # -- rendering -----------------------------------------------------------------------------------------------

    def _source(self, with_tools: bool) -> str:
        return self.tool_source if with_tools and self.tool_source is not None else self.source

    def _variables(self, messages: list[dict[str, Any]], tools: list[Any] | None, prompt: bool) -> dict[str, Any]:
        known = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": prompt}
        return {**self._named, **self.variables, **known}

    def _run(self, source: str, rows: Sequence[Mapping[str, Any]], mark: bool = False) -> list[str | RowFault]:
        if self.trusted:
            return [self._run_here(source, row, mark) for row in rows]
        if not rows:
            return []
        process = self.process or shared_process()
        return [_text_or_fault(reply) for reply in process.render(source, rows, mark=mark, now=self.now)]

    def _run_here(self, source: str, row: Mapping[str, Any], mark: bool) -> str | RowFault:
        try:
            return sandbox.compiled(source, mark, self.now).render(row)
        except jinja2.TemplateError as error:
            return RowFault(f"template {self.name}: {error}")

    def _rendered(
        self,
        shape: Shape,
        num_messages: int,
        prompt: bool,
        *,
        pad: tuple[str, str] | None = None,
        mark: bool = False,
        without: str = "",
    ) -> str | RowFault:
        """A skeleton of the first messages; `without` "tools" or "tool_calls" leaves those out."""
        messages = list(shape.messages[:num_messages])
        if pad is not None:
            messages = [padded(m, pad) for m in messages]
        if without == "tool_calls":
            messages = [{k: v for k, v in m.items() if k != "tool_calls"} for m in messages]
        tools = None if without == "tools" else shape.tools
        return self._run(self._source(shape.tools is not None), [self._variables(messages, tools, prompt)], mark)[0]

    def _skeleton(self, shape: Shape, num_messages: int, prompt: bool) -> str | None:
        """None where the template refuses such a conversation."""
        key = (shape.cache_key(num_messages), prompt)
        if key not in self._skeletons:
            _remember(self._skeletons, key, _or_none(self._rendered(shape, num_messages, prompt)))
        self._skeletons.move_to_end(key)
        return self._skeletons[key]

    def _layout(self, shape: Shape, prompt: bool) -> Layout:
        """Raises RowFault."""
        key = (shape.cache_key(len(shape.keys)), prompt)
        if key not in self._layouts:
            try:
                layout: Layout | RowFault = self._laid_out(shape, prompt)
            except RowFault as fault:
                layout = fault
            _remember(self._layouts, key, layout)
        self._layouts.move_to_end(key)
        layout = self._layouts[key]
        if isinstance(layout, RowFault):
            raise layout
        return layout

    def _laid_out(self, shape: Shape, prompt: bool) -> Layout:
        num = len(shape.messages)
        skeleton = self._rendered(shape, num, prompt)
        if isinstance(skeleton, RowFault):
            raise skeleton
        shortened = check_complete(shape, skeleton)
        self._check_tools(shape, skeleton, prompt)
        slots = find_trims(skeleton, lambda *pad: _or_none(self._rendered(shape, num, prompt, pad=pad)))
        sight = Sight(
            skeleton + self._header if prompt else skeleton,
            lambda n, p: self._skeleton(shape, n, p) if n else None,
            self._control,
            self._header,
            self._blocks(shape, prompt),
        )
        keys = [own_slots(i) for i in range(num)]
        answers = [i for i, m in enumerate(shape.messages) if m["role"] == "assistant"]
        calls = frozenset(i for i, m in enumerate(shape.messages) if "tool_calls" in m)
        spans = answer_spans(sight, answers, keys, calls)
        owner = {character: i for i, own in enumerate(keys) for character in own}
        asked = bool(slots) and shape.messages[owner.get(slots[0].key, 0)]["role"] == "user"
        segments = build(sight, slots, spans, owner, self.vocabulary.eos, self._opening if asked else "")
        ends = tuple(dict.fromkeys(s.end_token for s in spans if s.end_token))
        return Layout(segments, ends, tuple(split(skeleton)[0]), tuple(slots), shortened)

    def _blocks(self, shape: Shape, prompt: bool) -> list[tuple[int, int]] | None:
        """The {% generation %} blocks of the skeleton, in characters; None where the template has none."""
        source = self._source(shape.tools is not None)
        if not sandbox.GENERATION_TAG.search(source):
            return None
        marked = self._rendered(shape, len(shape.messages), prompt, mark=True)
        if isinstance(marked, RowFault):
            raise marked
        return sandbox.marked_blocks(marked)

    def _check_tools(self, shape: Shape, skeleton: str, prompt: bool) -> None:
        """A template that passes over tools or tool calls would teach answers whose cause is not there."""
        num = len(shape.messages)
        if shape.tools is not None and self._rendered(shape, num, prompt, without="tools") == skeleton:
            raise RowFault("the chat template has no place for the descriptions of tools")
        has_calls = any("tool_calls" in m for m in shape.messages)
        if has_calls and self._rendered(shape, num, prompt, without="tool_calls") == skeleton:
            raise RowFault("the chat template has no place for tool calls")


def _explains(explanation: _Explanation | RowFault, real: str) -> bool:
    if isinstance(explanation, RowFault):
        return False
    layout, texts = explanation
    return filled(layout.literals, layout.slots, texts) == real


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Finds any of them, the longest first."""
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)")


def _pieces(conversation: Conversation, layout: Layout, texts: Mapping[str, str], *, train_on: TrainOn) -> list[Piece]:
    messages = conversation.messages
    last = max((i for i, m in enumerate(messages) if m.role == "assistant"), default=-1)
    flags = [trains(i, m.role, m.trained, last, train_on) and i not in layout.shortened for i, m in enumerate(messages)]
    everything = train_on == "everything"
    pieces = []
    for segment in layout.segments:
        turn, slot = segment.turn, segment.slot
        if turn < 0:
            trained = everything
        else:
            # Of an assistant turn the answer is a target, its header never (unless everything is); of a user's turn
            # that the data marks as trained, the text.
            target = everything or segment.answer or (slot is not None and messages[turn].role != "assistant")
            trained = flags[turn] and target
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
    if "text" in reply:
        return reply["text"]
    return RowFault(reply.get("limit") or f"the chat template says: {reply['error']}")
