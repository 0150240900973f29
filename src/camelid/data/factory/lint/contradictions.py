"""The same prompt with other answers."""

from __future__ import annotations

from collections.abc import Iterator

from camelid.data.factory.dedup import normalised
from camelid.data.factory.lint.patterns import either
from camelid.data.factory.lint.sample import Sample, around
from camelid.data.factory.lint.sets import Late, SetCheck
from camelid.data.factory.similar import units
from camelid.data.groups import digest

_OPEN = either(
    r"\b(?:write|generate|create|compose|suggest|come up|brainstorm|imagine|tell|give|name|list|describe|design"
    r"|propose)\b",
    r"\b(?:think of|pick|random\w*|stor(?:y|ies)|poem|joke|sentence|tweet|slogan|provide|make|invent|recommend"
    r"|rewrite)\b",
    r"\b(?:rephrase|paraphrase|edit|translate|summari[sz]e|an? example|continue|complete)\b",
    "写|创作|生成|编|想象|建议|举|列出|推荐|随机|描述|讲|造|设计|给出|提供|改写|翻译|总结|续|例子|起[一个]*名",
)
_CLOSED = either(
    r"[?？]|^(?:who|what|which|when|where|how (?:many|much|old|long|far|high)|is|are|was|were|do|does|did|can)\b",
    r"^(?:name the|classify)\b|什么|谁|哪|多少|几|吗|是否|是不是|等于|判断|分类",
)
_YES = either(r"\s*(?:yes|true|correct|right|是的?|对的?|正确|可以|能|会|有)\b", r"\s*(?:是的|对的?[，。,]|正确)")
_NO = either(r"\s*(?:no|false|incorrect|wrong|not)\b", r"\s*(?:不(?!同|过|仅|但|论|管)|错误|没有|否)")
_TRUE = either(r"\b(?:true|correct|right)\b", "正确|对的|属实")
_FALSE = either(r"\b(?:false|incorrect|wrong|not (?:true|correct|right))\b", "不正确|不对|错误|不属实")
_VERDICT = 60  # characters
_LITTLE_WORDS = frozenset(
    (
        *(
            "the",
            "a",
            "an",
            "is",
            "are",
            "was",
            "were",
            "be",
            "it",
            "its",
            "this",
            "that",
            "of",
            "in",
            "on",
            "at",
            "to",
        ),
        *(
            "and",
            "or",
            "as",
            "by",
            "for",
            "with",
            "answer",
            "would",
            "will",
            "do",
            "does",
            "has",
            "have",
            "been",
            "there",
        ),
        *"的是了在这那它个为答案",
    )
)
_SHORT = 25  # tokens of an answer that says one thing
_ONE_THING = 6  # tokens beside those of the question


class Contradictions(SetCheck):
    """The same prompt again: with a short answer that cannot be true together with the first, or with just another."""

    def __init__(self) -> None:
        self._first: dict[bytes, tuple[int, bytes, str]] = {}
        self._found: list[Late] = []

    def see(self, place: int, sample: Sample) -> None:
        for exchange in sample.exchanges[-1:] if len(sample.turns) > 2 else sample.exchanges:
            asked = "\n".join(turn.text for turn in (*exchange.earlier, exchange.question))
            answer = exchange.answer.text
            text = normalised(answer)
            kept = answer[:240]
            first = self._first.setdefault(digest(normalised(asked)), (place, digest(text), kept))
            if first[0] == place or first[1] == digest(text):
                continue
            question = exchange.question.text
            closed = bool(exchange.input or _CLOSED.search(question)) and not _OPEN.search(exchange.instruction)
            against = closed and contradict(question, first[2], kept)
            kind = "contradicting-answers" if against else "several-answers"
            self._found.append(Late(kind, place, f"{around(asked, 0)} → {around(answer, 0)}", first[0]))

    def finish(self) -> Iterator[Late]:
        yield from self._found


def contradict(question: str, one: str, other: str) -> bool:
    """Whether two answers cannot both be right: yes and no, or short ones with nothing in common but the question."""
    verdicts = _verdict(one), _verdict(other)
    if None not in verdicts:
        return verdicts[0] != verdicts[1]
    mine, theirs = units(one), units(other)
    if max(len(mine), len(theirs)) > _SHORT:
        return False
    known = _LITTLE_WORDS.union(units(question))
    left, right = set(mine) - known, set(theirs) - known
    return bool(left and right) and left.isdisjoint(right) and max(len(left), len(right)) <= _ONE_THING


def _verdict(answer: str) -> bool | None:
    """Whether an answer begins with yes or no, or is a short one that says true or false; None for others."""
    if _YES.match(answer) or _NO.match(answer):
        return _NO.match(answer) is None
    if len(answer) < _VERDICT and (_TRUE.search(answer) or _FALSE.search(answer)):
        return _FALSE.search(answer) is None
    return None
