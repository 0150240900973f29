"""Answers that are empty, that end before their end, or that leave something open."""

from __future__ import annotations

import re

from camelid.data.factory.lint.patterns import ABOUT_CODE, HAN, either
from camelid.data.factory.lint.sample import Exchange, Sample, ending

_BLANK = re.compile("[\\s\u200b-\u200f\u2060\ufeff.。…\\-—_~·,，!！?？、;；:：\"'“”`*#]*")
_NOTHING = frozenset(
    (
        *("nan", "null", "undefined", "<nooutput>", "nooutput", "no output", "<no output>", "[no output]", "<empty>"),
        *(
            "[empty]",
            "[deleted]",
            "[removed]",
            "<noinput>",
            "error",
            "无输出",
            "空",
            "暂无回答",
            "无回答",
            "暂无",
            "[空]",
        ),
    )
)
_ABOUT_SIGNS = either(
    r"punctuat|symbol|operator|character|sign\b|emoji|code|print|null|nan\b|undefined|empty|error|output",
    "标点|符号|字符|运算符|空|代码|输出",
)


def answer_empty(exchange: Exchange) -> str | None:
    """No answer, or what a program writes in place of none."""
    text = exchange.answer.text
    if len(text) > 40 or (_BLANK.fullmatch(text) is None and text.strip().lower() not in _NOTHING):
        return None
    seen = text.strip()
    return None if seen and seen[0] not in "<[" and exchange.asks(_ABOUT_SIGNS) else f"“{seen}”"


_NONE = frozenset(
    ("n/a", "na", "none", "no answer", "unknown", "not applicable", "不适用", "无", "没有", "未知", "不详")
)
_MAY_BE_NONE = either(
    r"extract|identif|find|list|classif|which|any\b|if (?:any|there)|is there|name|detect|label|error|mistake|none"
    r"|n/a|output",
    "提取|抽取|找出|识别|列出|分类|哪|是否|有没有|有无|如果|没有|无|错误",
)


def answer_void(exchange: Exchange) -> str | None:
    """An answer that says there is none, to a question that has one."""
    seen = exchange.answer.text.strip()
    if len(seen) > 20 or seen.lower().rstrip(".。") not in _NONE or exchange.asks(_MAY_BE_NONE):
        return None
    return f"“{seen}”"


_CLOSING = either(
    r"(?:sincerely|regards|truly|love|cheers|best|wishes|thanks|thank you|respectfully|faithfully|cordially|gratitude"
    r"|hugs|xoxo"
    r"|warmly|gratefully|appreciation|admirer|friend|(?:see|seeing|from) you|此致|祝好|敬上|谨启|祝福|祝愿|问候|您好"
    r"|你好|朋友们?)\W*$",
)
_GREETING = either(r"(?:dear|hi|hello|hey|greetings|to)\b", "尊敬的|亲爱的|敬爱的")
_LABELS = re.compile(r"[:：][ \t]*$", re.MULTILINE)
_DANGLING_MARKER = re.compile(r"\n[ \t]*(?:(\d{1,2})[.)、．]|([-*•·]))\s*$")
# Words after which English goes on; those that may end a question or a relative clause (of, to, with) are not here.
_GOES_ON = re.compile(
    r"\b(?:the|an|and|or|but|because|although|if|while|whose|which|into|including|such as|every|than|its|their|your"
    r"|my|our"
    r"|has been|have been|will be|would be|is a|are a|was a|as a|with a|for a|to a|of a|in a|by a|e\.g|i\.e)$"
)
# The same in a longer sentence, where it is no question's or relative clause's end: "what they are looking for".
_LEANS = re.compile(
    r"\b(?:is|are|was|were|be|that|has|have|can|will|not|also|more|most|the \w+ of)$"
    r"|\b(?:used|able|going|order|how|need|want|designed|likely|tend|aims?|helps?|sunlight|\d+) to$"
)
_GOES_ON_ZH = re.compile(
    "(?:以及|并且|而且|或者|因为|由于|关于|例如|比如|但是|所以|因此|如果|虽然|为了|不仅|通过|一种|这些|那些|更加|以便"
    "|对于|从而"
    "|是一个|有一个|[，。！？]我|从|把|而|的最|最)$"
)
_PAIRS = (("（", "）"), ("《", "》"), ("“", "”"), ("「", "」"), ("【", "】"), ("(", ")"), ("[", "]"))
_SMILEY = re.compile(r"[:;=8xX][\-o^']?[()\[\]DPp]|[()][:;=]")
_ENDED = frozenset(".!?…。！？；;)）]】}”\"’'」』》>`*_~|％%$￥€£°/\\=+<^—–-")
_SENTENCE_END = re.compile(r"[.!?][\"')”’]?(?=\s)|[。！？][”’）」]?")
_ASKS_FOR_START = either(
    r"complet|continu|finish|begin|opening|start|title|headline|poem|song|lyric|rap\b|haiku|verse|rhyme|slogan|tagline",
    r"fill in|blank|keyword|hashtag|fragment|phrase|transition",
    "续写|补全|填空|开头|标题|诗|歌词|口号|关键词|对联|词牌|作词|短语",
)


def cut_off(exchange: Exchange) -> str | None:
    """An answer that ends where nobody would end: at a comma, a colon, an open bracket, a word that wants another."""
    answer = exchange.answer
    text = answer.text.rstrip()
    if len(text) < 2 or not _ends_early(text, code=answer.code):
        return None
    if exchange.asks(_ASKS_FOR_START) or (text[-1] in ":," and ABOUT_CODE.search(exchange.question.text)):
        return None
    return ending(text)


def _ends_early(text: str, *, code: bool) -> bool:
    last = text[-1]
    line = text[text.rfind("\n") + 1 :].strip()
    if code:
        return _is_open_code(text)
    if last in ",，、":
        return _length(text) >= 40 and not _GREETING.match(line) and not _CLOSING.search(line)
    if last in ":：":
        return len(text) > 20 and len(_LABELS.findall(text)) < 3  # a form to be filled in has several
    if last in "([{（【《「“‘" and not _SMILEY.search(text[-3:]):
        return True
    if _begins_item(text) or _is_open_json(text):
        return True
    if last in _ENDED:
        return False
    if last.isascii():
        words = line.count(" ") + 1
        if last.isalpha() and ((words >= 5 and _GOES_ON.search(line)) or (words >= 12 and _LEANS.search(line))):
            return True
    elif len(text) >= 24 and HAN.match(last) and _SENTENCE_END.search(text) and _GOES_ON_ZH.search(line):
        return True
    return _is_in_brackets(text)


def _is_open_json(text: str) -> bool:
    """Whether a JSON value is open at the end."""
    return (
        text[0] in "{["
        and text[-1] not in "}])"
        and text.count("{") + text.count("[") > text.count("}") + text.count("]")
    )


def _begins_item(text: str) -> bool:
    """Whether a list was to go on: the last line is a marker alone, the one that comes next."""
    match = _DANGLING_MARKER.search(text[-12:])
    if match is None:
        return False
    before = rf"{int(match[1]) - 1}[.)、．]" if match[1] else re.escape(match[2])
    return re.search(rf"(?:^|\n)[ \t]*{before}[ \t]*\S", text) is not None


def _length(text: str) -> int:
    """In characters, of which a Chinese one says twice as much."""
    return len(text) if text.isascii() else len(text) + len(HAN.findall(text))


def _is_in_brackets(text: str) -> bool:
    """Whether the last line stands within brackets or quotation marks."""
    for opening, closing in _PAIRS:
        if opening in text and text.count(opening) == text.count(closing) + 1:
            place = text.rfind(opening)
            tail = text[place:]
            if place > text.rfind(closing) and len(tail) < 160 and "\n" not in tail and not _SMILEY.search(text):
                return len(text) > 30 and tail[1:2] not in ("", " ", ",")
    return False


def _is_open_code(text: str) -> bool:
    """Whether the last of a program is missing: a block is open, or the text ends inside an expression."""
    if "```" in text:
        return False  # a rule of its own
    if text[text.rfind("\n") + 1 :].lstrip().startswith(("#", "//", "--")):
        return False
    if text[-1] in "([{=+&|":
        return "\n" in text
    return text.count("{") > text.count("}") and text[-1] not in "}>*/`.!?。！？"


_ITEM = re.compile(
    r"(?:\d{1,3}[.)、:：]|[-*•·#|>]|[A-Za-z][.):]|[（(]?[一二三四五六七八九十\d]+[)）、])\s*|[^\s:：]{1,30}[:：]"
)
_NOT_SAID = re.compile(r"^\s*[-–—―(（*~|]|[\"”’'] ?[-–—―]|#|=")  # who said it, a remark, a list of tags, a formula
_ABBREVIATION = re.compile(r"(?:^|[\s.])(?:[ivxIVX]{1,4}|[A-Za-z]|\d{1,2}|St|Mrs?|Dr|vs|No|Inc|Jr|Mt)$")
_LONG_ENOUGH = 3  # words, or a third of the characters, behind the last end mark


def no_end_mark(exchange: Exchange) -> str | None:
    """Prose whose other sentences all have their end mark, and the last one has none."""
    answer = exchange.answer
    text = answer.text.rstrip()
    if _length(text) < 60 or not text[-1].isalnum() or answer.code or _ends_early(text, code=False):
        return None
    if text.rsplit(None, 1)[-1].startswith(("#", "@", "http", "www.")):
        return None
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if _ITEM.match(lines[-1]) or any(_is_prose(line) and line[-1] not in ".!?。！？”\"’'）):：" for line in lines[:-1]):
        return None
    marks = list(_SENTENCE_END.finditer(lines[-1]))
    if len(lines) == 1 and not marks and _is_one_sentence(text):
        return None if exchange.asks(_ASKS_FOR_START) else ending(text)
    rest = lines[-1][marks[-1].end() :] if marks else ""
    if _NOT_SAID.search(rest) or _ABBREVIATION.search(lines[-1][: marks[-1].start()] if marks else ""):
        return None
    if len(rest.split()) < _LONG_ENOUGH and len(HAN.findall(rest)) < 2 * _LONG_ENOUGH:
        return None
    return None if exchange.asks(_ASKS_FOR_START) else ending(text)


def _is_one_sentence(text: str) -> bool:
    """Whether an English text is one long sentence, and no title or list."""
    words = text.split()
    small = sum(word[:1].islower() for word in words)
    return text.isascii() and len(words) >= 14 and text[0].isupper() and 2 * small > len(words) and "|" not in text


def _is_prose(line: str) -> bool:
    """Whether a line is a sentence or more, and no item, heading or label."""
    return (line.count(" ") >= 7 or len(HAN.findall(line)) >= 14) and not _ITEM.match(line)


_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)


def fence_open(exchange: Exchange) -> str | None:
    """A block of code that is opened and not closed."""
    text = exchange.answer.text
    if "```" in text and len(_FENCE.findall(text)) % 2 and text.count("```") % 2:
        return ending(text)
    return None


_REPAIRED = {
    "began with the assistant": "begins with the assistant",
    "cut before": "a turn is blank or out of order",
    "ended without": "ends without an answer",
}


def role_order(sample: Sample) -> str | None:
    """A conversation that the reader had to shorten."""
    for note in sample.notes:
        for start, shown in _REPAIRED.items():
            if note.startswith(start):
                return shown
    return None
