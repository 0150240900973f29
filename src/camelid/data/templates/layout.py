"""From a skeleton to segments: where each answer begins and ends, and to which message each character belongs.

An answer begins where the generation prompt ends: that is all the model will be given. (So Qwen3's empty think block,
which the template writes between the two, is something the model must write.) It ends with the first control token
after the assistant's text. Both are read off the rendering itself, never off re-tokenised prefixes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camelid.data.templates.base import RowFault
from camelid.data.templates.skeleton import SLOT_PATTERN, Slot


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a layout: the template's own text, or a slot."""

    text: str
    slot: Slot | None
    turn: int
    answer: bool


@dataclass(frozen=True, slots=True)
class Span:
    """One answer in the skeleton, in characters; `end_token` None = the template ends it with no control token."""

    turn: int
    start: int
    end: int
    end_token: str | None


@dataclass(frozen=True)
class Layout:
    """The segments of one shape of conversation."""

    segments: tuple[Segment, ...]
    end_tokens: tuple[str, ...]
    literals: tuple[str, ...]  # of the skeleton before spans were cut; with `slots` they give the plain rendering
    slots: tuple[Slot, ...]
    shortened: frozenset[int] = frozenset()  # turns of which the template shows less than the model wrote


@dataclass(frozen=True)
class Sight:
    """The skeletons that spans are read from. Each returns None where the template refuses such a conversation."""

    skeleton: str
    before: Callable[[int, bool], str | None]  # (number of messages, generation prompt?) -> skeleton of those messages
    control: re.Pattern[str]  # any control token
    header: str  # of an answer, where the template has no generation prompt; "" where it has one
    blocks: Sequence[tuple[int, int]] | None  # {% generation %} blocks in the skeleton; None = the template has none


def answer_spans(sight: Sight, answers: Sequence[int], keys: Sequence[str], calls: frozenset[int]) -> list[Span]:
    """The span of each assistant message in `answers`.

    `keys[i]` holds the slot characters of message i; `calls` the messages with tool calls. Raises RowFault.
    """
    spans: list[Span] = []
    places: dict[str, list[int]] = {}
    for match in SLOT_PATTERN.finditer(sight.skeleton):
        places.setdefault(match.group(), []).append(match.start())
    for order, turn in enumerate(answers):
        own = sorted(i for key in keys[turn] for i in places.get(key, ()))
        start = _start(sight, turn, own)
        if sight.blocks is not None:
            block = _block(sight.blocks, own, order, len(answers))
            if block is None:
                continue  # the template itself says that this turn is not the model's
            start = block[0] if start is None else max(start, block[0])
        if start is None:
            raise RowFault(f"cannot tell where the chat template begins message {turn + 1} (assistant)")
        after = max([start, *(i + 1 for i in own)])
        end, token = _end(sight, turn, start, after, turn in calls, turn == len(keys) - 1)
        spans.append(Span(turn, start, end, token))
    return spans


def _start(sight: Sight, turn: int, own: list[int]) -> int | None:
    prompt = sight.before(turn, True)
    first = own[0] if own else None
    if prompt is not None and sight.skeleton.startswith(prompt):
        # Where there is no generation prompt, the header is no part of what the template says before an answer.
        start = len(prompt)
        return start + len(sight.header) if sight.skeleton.startswith(sight.header, start) else start
    if first is None:
        return None
    # A template that moves things as a conversation grows (Mistral's tools stand before the last question): what it
    # writes between generation prompt and text when this is the last turn, if that stands here too.
    single = sight.before(turn + 1, False)
    if prompt is not None and single is not None and single.startswith(prompt):
        inside = [i for i in range(len(prompt), len(single)) if single[i] == sight.skeleton[first]]
        lead = single[len(prompt) : inside[0]] if inside else ""
        if lead and sight.skeleton[:first].endswith(lead):
            return first - len(lead)
    return first


def unprompted_header(header: str) -> str:
    """Of what stands before an answer, the part that a template without generation prompt leaves out of its prompt.

    Llama 2 writes a space there, which the model writes itself; a role header is not for the model to write. The
    blanks at the end of a header go with the answer: tokenizers join a space to the word after it.
    """
    return header.rstrip(" ") if header.strip() else ""


def _block(blocks: Sequence[tuple[int, int]], own: list[int], order: int, num_answers: int) -> tuple[int, int] | None:
    for start, end in blocks:
        if own and start <= own[-1] < end:
            return start, end
    return blocks[order] if not own and len(blocks) == num_answers else None


def _end(sight: Sight, turn: int, start: int, after: int, has_calls: bool, last: bool) -> tuple[int, str | None]:
    """(end of the span, its end token)."""
    text = sight.skeleton
    if has_calls:
        # Calls may be written between control tokens of their own: the turn ends with the last one before the next.
        single = sight.before(turn + 1, False)
        if single is None or not text.startswith(single):
            raise RowFault(f"cannot tell where the chat template ends the tool calls of message {turn + 1}")
        matches = list(sight.control.finditer(text, start, len(single)))
        return (matches[-1].end(), matches[-1].group()) if matches else (len(single), None)
    following = SLOT_PATTERN.search(text, after)
    match = sight.control.search(text, after, following.start() if following else len(text))
    if match is not None:
        return match.end(), match.group()
    if after == start:  # a blank answer has no text to tell from the template's: all that is written for this turn
        single = sight.before(turn + 1, False)
        whole = single is not None and text.startswith(single) and len(single) >= start
        return (len(single) if whole and single is not None else start), None
    # Whatever but blanks the template writes after the very last answer, the model must write too.
    return (len(text), None) if last and text[after:].strip() else (after, None)


def build(
    sight: Sight, slots: Sequence[Slot], spans: Sequence[Span], owner: dict[str, int], eos: str | None, opening: str
) -> tuple[Segment, ...]:
    """Cut the skeleton at slots, spans and turn borders.

    `owner` maps slot characters to messages; `opening` is the header of the first of them, as far as it is known. A
    last answer that the template ends with no control token gets `eos` after it: without one the model would never
    learn to stop. Raises RowFault where there is none.
    """
    text = sight.skeleton
    borders = _turn_borders(text, spans, owner, opening)
    cuts = {0, len(text)} | {b for b, _ in borders} | {b for s in spans for b in (s.start, s.end)}
    for i, character in enumerate(text):
        if SLOT_PATTERN.match(character):
            cuts |= {i, i + 1}
    edges = sorted(cuts)
    by_position = iter(slots)
    segments: list[Segment] = []
    last = spans[-1] if spans else None
    wants_eos = last is not None and last.end_token is None and not text[last.end :].strip()
    for left, right in itertools.pairwise(edges):
        if wants_eos and last is not None and left >= last.end:
            break  # blanks after the answer: eos takes their place
        slot = next(by_position) if SLOT_PATTERN.match(text[left]) else None
        span = next((s for s in spans if s.start <= left < s.end), None)
        turn = span.turn if span else next((t for b, t in reversed(borders) if b <= left), -1)
        segments.append(Segment("" if slot else text[left:right], slot, turn, span is not None))
    if wants_eos and last is not None:
        if eos is None:
            raise RowFault("no token ends the last answer, neither in the template nor in the tokenizer")
        segments.append(Segment(eos, None, last.turn, True))
    return tuple(segments)


def _turn_borders(text: str, spans: Sequence[Span], owner: dict[str, int], opening: str) -> list[tuple[int, int]]:
    """(position, message that begins there), in order. Before the first message stands the preamble (-1)."""
    ends = "|".join(re.escape(t) for t in dict.fromkeys(s.end_token for s in spans if s.end_token))
    end_pattern = re.compile(f"(?:{ends})\\s*") if ends else None
    borders: list[tuple[int, int]] = []
    position = 0
    for match in SLOT_PATTERN.finditer(text):
        turn = owner.get(match.group(), borders[-1][1] if borders else -1)
        if not borders:
            known = len(opening) if text[: match.start()].endswith(opening) else 0
            borders.append((match.start() - known, turn))
        elif turn != borders[-1][1]:
            end = end_pattern.search(text, position, match.start()) if end_pattern else None
            borders.append((end.end() if end else position, turn))
        position = match.end()
    return borders
