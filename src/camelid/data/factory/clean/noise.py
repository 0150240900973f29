"""What a page, an extension or the clipboard added to a message: no one said it.

Only whole lines and whole sentences that are known word for word are taken out, and nothing within code; except what a
page wrote over a code block ("pythonCopy code"), which got into its first line.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from camelid.data.factory.clean.markdown import LANGUAGES, fences, outside_code, outside_fences

COUNTER = "counter of versions removed"
BUTTON = "buttons removed"
NOTICE = "notices of the site removed"
LICENCE = "licence notes removed"
INVISIBLE = "invisible characters removed"
SPACE = "unusual spaces made plain"
TRIMMED = "blank ends trimmed"

COPY = r"(?:Copy code|复制代码|複製程式碼)"
_CODE_HEAD = re.compile(
    rf"(?P<ticks>[ \t>]*`{{3,}})[ \t]*\r?\n?[ \t]*(?P<name>[\w+#.-]*?)[ \t]*(?:{COPY})+[ \t]*\r?\n?"
)
_LANGUAGES = "|".join(re.escape(name) for name in sorted(LANGUAGES))
_COPY_IN_TEXT = re.compile(rf"^(?:(?P<name>(?:{_LANGUAGES})){COPY}[ \t]*\n?|[ \t]*{COPY}[ \t]*(?:\n|\Z))", re.MULTILINE)
_BUTTON_LINE = re.compile(
    r"^[ \t]*(?:Copied!|content_copy|Regenerate response|Stop generating|Share Prompt|重新生成(?:回答)?|停止生成"
    r"|지금 번역하기|Use code with caution\.?(?: ?\[?Learn more\]?(?:\([^)\n]*\))?\.?)?"
    r"|AI-generated code\. Review and use carefully\. More info on FAQ\.?"
    r"|Was this response better or worse\?(?: ?Better ?Worse ?Same)?|[▲▼] ?\d* ?(?:Upvote|Downvote))[ \t]*(?:\n|\Z)",
    re.MULTILINE,
)
# Extensions glue theirs to the user's words.
_BUTTON_TAILS = ("Share Prompt", "지금 번역하기")
_SIZE = re.compile(r"Copy\d+ chars / \d+ words")
_NOTICE = re.compile(
    r"This (?:content|prompt|conversation) may violate our \[?(?:content|usage) polic(?:y|ies)\]?(?:\([^)\n]*\))?"
    r"(?: or \[?terms of use\]?(?:\([^)\n]*\))?)?\."
    r"(?:\s*If you believe this to be in error, please (?:\[?submit\]?(?:\([^)\n]*\))?) your feedback"
    r"[^.\n]{0,80}(?:\.|$))?"
    r"|^(?:Free Research Preview\. )?ChatGPT (?:may produce inaccurate information about people, places, or facts"
    r"|can make mistakes)\.[^\n]{0,80}$",
    re.MULTILINE,
)
# An answer that is no answer, or the end of one that broke off.
_FAILURE = re.compile(
    r"(?:\A|\n)[ \t]*!?(?:Too many requests in 1 hour\. Try again later\.|network error|Error in body stream"
    r"|There was an error generating a response\.?|Something went wrong\.? If this issue[^\n]{0,200}"
    r"|An error occurred\. (?:Either|If this issue)[^\n]{0,200}"
    r"|Hmm\.\.\.something seems to have gone wrong\.[^\n]{0,80}"
    r"|The message you submitted was too long, please (?:reload|edit)[^\n]{0,100}"
    r"|Our systems are a bit busy at the moment[^\n]{0,100}|Only one message at a time\.[^\n]{0,120})\Z"
)
_LICENCE = re.compile(
    # Zhihu's and CSDN's, put into the clipboard with what is copied there
    r"^作者：[^\n]{1,40}\n链接：https?://\S+\n来源：[^\n]{1,20}\n著作权归作者所有[^\n]*\n?"
    r"|^著作权归作者所有。(?:商业转载|转载)请联系[^\n]*\n?"
    r"|(?:^[ \t]*[—-]{8,}[ \t]*\n)?^[ \t]*版权声明[：:]本文为[^\n]*原创文章[^\n]*\n?"
    r"(?:(?:本文|原文)链接[：:][^\n]*\n?)?"
    r"|^(?:site design / logo ©[^\n]*?)?(?:user contributions|Text is|Content is|Content) ?(?:available|licensed) under"
    r" [^\n]{0,30}(?:CC BY|Creative Commons)[^\n]*\n?",
    re.MULTILINE,
)
_COUNTER_BEFORE = re.compile(r"\A\s*(\d{1,2}) / (\d{1,2})(?=\s*\n|[^\W\d_]|<)\s*")
# Behind a question the page shows its last version: "2 / 2", in the same line or in one of its own.
_COUNTER_BEHIND = re.compile(
    r"(?:\n[ \t]*|(?<=[^\s\d/*+=^-])|(?<=[.!?。！？”\"):]) +)(\d{1,2}) / (\1)\Z"
    r"|(?<=[.!?。！？”\"]) *(?P<n>\d{1,2})/(?P=n)\Z"
    # long before it: not "what is 2 / 2"
    r"|(?<=[^\W\d_]{3}) (?P<m>\d{1,2}) / (?P=m)\Z"
)
_LONG = 60  # characters
_END = 400  # characters in which what stands at an end is looked for
_INVISIBLE = re.compile("[\u200b\u2060\ufeff\ufffc]")
_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_BLANK_LINES = re.compile(r"\A(?:[ \t\r]*\n)+")
_LINE_END = re.compile("[\u2028\u2029]")


def without_counter(text: str, *, answer: bool) -> tuple[str, list[str]]:
    """(the text, the rules that changed it). ChatGPT's "2 / 3" at a question that was edited, or an answer's."""

    parts = fences(text)
    if "/" not in text or not parts:
        return text, []
    cleaned = text
    if parts[0].kind == "prose" and (before := _COUNTER_BEFORE.match(text)) and _counts(before, before[1], before[2]):
        cleaned = text[before.end() :]
    if parts[-1].kind == "prose" and not answer:
        words = cleaned.rstrip()
        behind = _COUNTER_BEHIND.search(words, max(0, len(words) - _END))
        if behind and _counts(behind, behind[1], behind[1]) and not (behind["m"] and len(words) < _LONG):
            cleaned = words[: behind.start()]
    return cleaned, [COUNTER] if cleaned != text else []


def _counts(match: re.Match[str], number: str | None, of: str | None) -> bool:
    """Whether it counts something, and is not all that was said."""
    alone = not (match.string[: match.start()] + match.string[match.end() :]).strip()
    return not alone and 1 <= int(number or 1) <= int(of or 1)


def without_noise(text: str, *, answer: bool) -> tuple[str, list[str]]:
    """(the text, the rules that changed it). answer: the assistant wrote it"""
    changes: list[str] = []
    for rule, change in _STEPS:
        cleaned = change(text)
        if cleaned != text:
            changes.append(rule)
            text = cleaned
    cleaned = _at_end(text, _without_failure if answer else _without_tails)
    if cleaned != text:
        changes.append(NOTICE if answer else BUTTON)
        text = cleaned
    trimmed = _trimmed(text)
    if trimmed != text:
        changes.append(TRIMMED)
    return trimmed, list(dict.fromkeys(changes))


def _without_invisible(prose: str) -> str:
    if prose.isascii():
        return prose
    if not _RIGHT_TO_LEFT.search(prose):
        prose = _DIRECTION.sub("", prose)
    return _INVISIBLE.sub("", prose)


def _with_plain_spaces(prose: str) -> str:
    return _LINE_END.sub("\n", prose.replace("\xa0", " "))


def _without_buttons(prose: str) -> str:
    if "Copy" in prose or "复制" in prose or "複製" in prose:
        prose = _COPY_IN_TEXT.sub(lambda match: f"{match['name']}\n" if match["name"] else "", prose)
        prose = _SIZE.sub("", prose)
    return _BUTTON_LINE.sub("", prose)


def _without_code_heads(text: str) -> str:
    """What a page wrote over a code block and somebody's converter into it."""
    if "Copy" not in text and "复制" not in text and "複製" not in text:
        return text
    parts = []
    for part in fences(text):
        head = _CODE_HEAD.match(part.text) if part.kind == "fence" else None
        rest = part.text if head is None else f"{head['ticks']}{head['name']}\n{part.text[head.end() :]}"
        parts.append("" if head is not None and not rest.strip("` \t\r\n") else rest)
    return "".join(parts)


def _at_end(text: str, change: Callable[[str], str]) -> str:
    """The text with `change` made to its last words, unless they are code."""
    parts = fences(text)
    if not parts or parts[-1].kind != "prose":
        return text
    return "".join(part.text for part in parts[:-1]) + change(parts[-1].text)


def _without_failure(prose: str) -> str:
    words = prose.rstrip()
    found = _FAILURE.search(words, max(0, len(words) - _END))
    return words[: found.start()] if found else prose


def _without_tails(prose: str) -> str:
    words = prose.rstrip()
    while words.endswith(_BUTTON_TAILS):
        words = next(words.removesuffix(tail) for tail in _BUTTON_TAILS if words.endswith(tail)).rstrip()
        prose = words
    return prose


def _trimmed(text: str) -> str:
    """Without blank lines and spaces around it; those of a code block that it begins or ends with are code."""
    parts = fences(text)
    if not parts:
        return text
    words = [part.text for part in parts]
    if parts[0].kind == "prose":
        words[0] = _BLANK_LINES.sub("", words[0])
        if not words[0].startswith(("    ", "\t")):
            words[0] = words[0].lstrip()
    if parts[-1].kind == "prose":
        words[-1] = words[-1].rstrip()
    return "".join(words)


_STEPS: tuple[tuple[str, Callable[[str], str]], ...] = (
    (INVISIBLE, lambda text: outside_code(text, _without_invisible)),
    (SPACE, lambda text: outside_code(text, _with_plain_spaces)),
    (BUTTON, _without_code_heads),
    (BUTTON, lambda text: outside_fences(text, _without_buttons)),
    (NOTICE, lambda text: outside_fences(text, lambda prose: _NOTICE.sub("", prose))),
    (LICENCE, lambda text: outside_fences(text, lambda prose: _LICENCE.sub("", prose))),
)
