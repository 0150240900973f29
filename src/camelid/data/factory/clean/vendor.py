"""Answers in which another assistant speaks: which ones they are, and what of them can be rewritten.

FastChat drops every conversation that mentions OpenAI or ChatGPT, questions about them included. Here only what an
answer says of itself counts, and what a system prompt says that the assistant is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from camelid.data.factory.clean.markdown import outside_code, prose_of
from camelid.data.factory.phrases import DISCLAIMER, VENDOR

Treatment = Literal["drop", "rewrite", "keep"]

DISCLAIMED = "disclaimers removed"
RENAMED = "names of another assistant replaced"

_MAKER = re.compile(
    r"(?<![A-Za-z])(?:Open ?AI|Anthropic|Google|Microsoft|Meta(?: AI)?|Baidu|Alibaba(?: Cloud)?|LMSYS"
    r"|(?:(?:researchers|people) from )?(?:the )?Large Model Systems Organization(?: \(LMSYS\))?)(?![A-Za-z])"
    r"|清华大学\s*KEG(?:\s*实验室)?|百度|阿里(?:云|巴巴)|智谱(?:AI)?|科大讯飞",
    re.IGNORECASE,
)
# What may stand between "I am" and a name that is one's own; "I am glad that you ask about ChatGPT" is no identity.
_FILLER = (
    r"(?:an?|the|called|named|known|as|just|only|actually|really|large|ai|artificial|intelligence|language|models?"
    r"|assistant|chatbot|system|program|computer|virtual|and|which|that|is|was|has|been|trained|developed|created|made"
    r"|built|designed|powered|by|from|at|of|on|based|version|researchers|team|conversational"
    # names that people have too, and so are none of a vendor's by themselves
    r"|claude|bard|gemini|copilot)"
)
_ANY = f"(?:{VENDOR.pattern})"
_BY = r"(?:trained|developed|created|made|built|designed|programmed)"
_IDENTITY = re.compile(
    rf"\b(?:i am|i'm|i’m|my name is|call me)\s+(?:{_FILLER}[\s,]+){{0,14}}?{_ANY}"
    rf"|\bi (?:was|have been) (?:\w+ )?{_BY} (?:by|at) (?:the team at |researchers at )?{_ANY}"
    rf"|\bas {_ANY},? (?:i|my)\b"
    rf"|\b{_BY} by {_ANY}[^.!?\n]{{0,60}}\bi\b"
    rf"|我(?:只|仅|就|也|其实|仅仅|只不过)?(?:是|叫|的名字)(?:[^。！？!?\n]{{0,24}}?){_ANY}"
    rf"|我[^。！？!?\n]{{0,12}}(?:由|被|受到)\s*{_ANY}"
    rf"|(?:作为|由)[^，,。！？!?\n]{{0,16}}?{_ANY}[^。！？!?\n]{{0,30}}[，,。]\s*(?:因此|所以)?我",
    re.IGNORECASE,
)
_TOLD = re.compile(
    rf"(?:\byou(?:'re|’re| are)\b|\b(?:your|whose|its) name is\b|\bnamed\b|\bcalled\b|你(?:是|叫|的名字)|名叫|名为)"
    rf"(?:[^.!?。！？\n]{{0,50}}?){_ANY}",
    re.IGNORECASE,
)
# "As an AI researcher" is a person's word.
_PROFESSION = re.compile(
    r"as an? (?:ai|artificial intelligence) (?!language|model|assistant|chatbot|chat|system|program|tool|i\b|we\b|based"
    rf"|{_BY})\w",
    re.IGNORECASE,
)
_PRODUCT = re.compile(rf"{_ANY}(?:-\d(?:\.\d)?)?(?:-turbo)?", re.IGNORECASE)
# A clause in which an assistant says what it is, with the comma behind it: the sentence goes on without it.
_ENGLISH_KIND = (
    r"an? (?:(?:large|ai|a\.i\.|artificial intelligence|machine learning|text-based)[ -])*"
    r"(?:language model|ai|a\.i\.|artificial intelligence)(?: (?:language )?(?:model|assistant|chatbot))?"
    rf"(?:,? {_BY} by [A-Z]\w+)?"
)
_CHINESE_KIND = (
    r"(?:一个|一名|一款|一种|一位|个)?(?:由?\s?[A-Za-z][\w ]{1,12}?\s?(?:训练|开发|创建|创造|设计|研发|培训)的?)?"
    r"(?:大型|大|先进的|虚拟|训练模型的)*(?:人工智能|AI|机器学习)?\s?"
    r"(?:(?:大?语言)?模型|智能助手|聊天机器人|机器人|助手|助理|(?<=人工智能)|(?<=AI))(?:的?\s?(?:AI|人工智能))?"
)
_NAME_TOO = re.compile(r"(?<=am )(?:Claude|Bard|Gemini|Copilot)\b|(?<=['’]m )(?:Claude|Bard|Gemini|Copilot)\b")
_CLAUSES = (
    re.compile(rf"(?P<said>\b(?:I|my)\b[^.!?\n]{{0,120}}?),?\s+as {_ENGLISH_KIND}(?=[.;!?])", re.IGNORECASE),
    re.compile(rf"\bas {_ENGLISH_KIND}(?:,\s+|\s+(?=i\b))", re.IGNORECASE),
    re.compile(rf"(?:作为|身为){_CHINESE_KIND}(?:[，,]\s*|的(?=我))|(?<=我)作为{_CHINESE_KIND}(?=的)"),
)
_AS = re.compile(r"\bas an? ", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<!\d)[.!?](?=\s|$)|[。！？\n]")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose names take the place of another assistant's; "" for none, which leaves such answers to be dropped."""

    name: str = ""
    maker: str = ""


def speaks_as_another(answer: str) -> str:
    """What an answer says that only an assistant of another maker would say; "" if nothing."""
    prose = prose_of(answer)
    for found in DISCLAIMER.finditer(prose):
        if not _PROFESSION.match(found[0]):
            return found[0]
    found = (_CLAUSES[0].search(prose) if _AS.search(prose) else None) or (
        _IDENTITY.search(prose) if VENDOR.search(prose) else None
    )
    return found[0] if found else ""


def tells_of_another(system: str) -> str:
    """Where a system prompt tells the assistant that it is another maker's; "" if nowhere."""
    found = _TOLD.search(system)
    return found[0] if found else ""


def rewritten(answer: str, identity: Identity) -> tuple[str, list[str]]:
    """(the answer, the rules that changed it): without disclaimers, and with the user's names where it has some."""
    changes = []
    cleaned = outside_code(answer, _without_clauses)
    if cleaned != answer:
        changes.append(DISCLAIMED)
    renamed = outside_code(cleaned, lambda prose: _renamed(prose, _IDENTITY, identity))
    if renamed != cleaned:
        changes.append(RENAMED)
    return renamed, changes


def rewritten_system(system: str, identity: Identity) -> tuple[str, list[str]]:
    """The same for a system prompt."""
    renamed = _renamed(system, _TOLD, identity)
    return renamed, [RENAMED] if renamed != system else []


def _without_clauses(prose: str) -> str:
    for clause in _CLAUSES if _AS.search(prose) else _CLAUSES[2:]:
        while match := clause.search(prose):
            if said := match.groupdict().get("said"):
                prose = prose[: match.start()] + said + prose[match.end() :]
                continue
            rest = prose[match.end() :]
            begins = _SENTENCE_END.search(prose[: match.start()].rstrip(" ")[-1:] or "\n") is not None
            prose = prose[: match.start()] + (rest[:1].upper() + rest[1:] if begins else rest)
    return prose


def _renamed(prose: str, pattern: re.Pattern[str], identity: Identity) -> str:
    """Names replaced in the sentences in which the pattern is found."""
    parts, done = [], 0
    for match in pattern.finditer(prose):
        if match.start() < done:
            continue
        end = _SENTENCE_END.search(prose, match.end())
        stop = end.start() if end else len(prose)
        parts += [prose[done : match.start()], _with_names(prose[match.start() : stop], identity)]
        done = stop
    return "".join([*parts, prose[done:]])


def _with_names(sentence: str, identity: Identity) -> str:
    if identity.maker:
        sentence = _MAKER.sub(lambda match: identity.maker, sentence)
    if identity.name:
        sentence = _NAME_TOO.sub(lambda match: identity.name, sentence)
        sentence = _PRODUCT.sub(lambda match: match[0] if _MAKER.fullmatch(match[0]) else identity.name, sentence)
    return sentence
