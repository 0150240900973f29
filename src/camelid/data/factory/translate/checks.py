"""Whether a translation is one: by its marks, its length, its script, its numbers, and by what it is of.

Bounds are set on 10,000 fields of Alpaca beside a Chinese translation of it: at most one of a hundred right ones falls
outside each.
"""

from __future__ import annotations

import re

from rapidfuzz.distance import LCSseq

from camelid.data.factory.faults import Fault
from camelid.data.factory.make.rules import in_language, repeated
from camelid.data.factory.similar import rouge_l, units
from camelid.data.factory.translate.numbers import missing_number
from camelid.data.factory.translate.protect import Protected, without_marks
from camelid.data.factory.translate.script import script_of
from camelid.data.skills.draw import Language

_QUESTION = re.compile(r"[?？]\s*[\"'”’）)]*\s*$")
_ASKS: dict[Language, re.Pattern[str]] = {
    "zh": re.compile(
        r"[?？]|吗|呢|什么|谁|哪|怎|如何|多少|几|是否|为何|是不是|能否|可否|有没有|请|列|写|说|给|找|解释|描述|告诉|判断|确定"
    ),
    "en": re.compile(
        r"\?|\b(?:who|what|which|when|where|why|how|whether|please|tell|list|name|give|find|explain|describe|is|are|do"
        r"|does|can|could|should|would|will|did|write|state|identify|determine)\b",
        re.IGNORECASE,
    ),
}
# What a teacher says around a translation.
_PREAMBLE = re.compile(
    r"\s*(?:(?:sure|certainly|of course|okay)[,.!:]|here(?:'s| is)(?: the)? (?:a )?(?:translat|english|chinese)"
    r"|translation:"
    r"|(?:the )?translat(?:ion|ed text)(?: of| is|:)|(?:以下|下面)是.{0,12}(?:翻译|译文)"
    r"|(?:翻译|译文)(?:如下|结果)?\s*[:：]"
    r"|当然[，,！!].{0,10}(?:翻译|译文))",
    re.IGNORECASE,
)


def check(source: Protected, answer: str, target: Language) -> tuple[str, Fault | None]:
    """(the translation with everything put back, what is wrong with it). answer: as the teacher gave it, stripped"""
    restored = source.restore(answer)
    if restored is None:
        return answer, Fault("code, an address or a placeholder is lost or doubled")
    words, said = without_marks(source.text), without_marks(answer)
    return restored, _wrong(words, said, target)


def _wrong(source: str, said: str, target: Language) -> Fault | None:
    if not said.strip():
        return Fault("empty")
    if (found := _PREAMBLE.match(said)) and not _PREAMBLE.match(source):
        return Fault("words of the teacher's own", found[0].strip())
    if (found := repeated(said)) and not repeated(source):
        return Fault("repeats itself", found)
    if not (in_language(said, target) or _may_stay(source)):
        return Fault("in the wrong language", said[:40])
    if target == "zh" and script_of(said) == "traditional":
        return Fault("in traditional characters", said[:40])
    low, high = _lengths(len(source.strip()), target)
    if not low <= len(said.strip()) <= high:
        return Fault("far too short" if len(said.strip()) < low else "far too long", f"{len(said.strip())} characters")
    if found := missing_number(source, said):
        return Fault("a number is lost or new", found)
    if _QUESTION.search(source) and not _ASKS[target].search(said):
        return Fault("answered instead of translated", said[:40])
    return None


def answers_prompt(prompt: str, answer: str, prompt_said: str, answer_said: str) -> bool:
    """Whether what should be the prompt in translation is the answer in translation.

    prompt, answer: the sources; what these have in common, their translations may have, too
    """
    alike = similarity(prompt_said, answer_said)
    return alike >= 0.6 and alike >= similarity(prompt, answer) + 0.3


def similarity(one: str, other: str) -> float:
    """ROUGE-L of two texts, by words and Chinese characters."""
    first, second = units(one), units(other)
    return rouge_l(LCSseq.similarity(first, second), len(first), len(second)) if first and second else 0.0


def _lengths(length: int, target: Language) -> tuple[float, float]:
    """Between which a translation's length must be, in characters."""
    if target == "zh":
        return max(1.0, 0.16 * length - 3), 0.85 * length + 18
    return max(1.0, 1.1 * length - 10), 7.0 * length + 18


def _may_stay(source: str) -> bool:
    """A name of several words, a sign, a unit: what is the same in both languages."""
    words = [word for word in re.findall(r"[^\W_]+", source) if word[0].isalpha()]
    if not words:
        return True
    if len(words) > 1:
        name = not re.search(r"[,;.!?:]", source) and len(words) <= 5
        return all(len(word) <= 2 or word.isupper() or (name and word[0].isupper()) for word in words)
    return words[0] != words[0].capitalize() and (not words[0].islower() or len(words[0]) <= 2)
