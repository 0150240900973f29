"""What other programs left in a text: control and invisible characters, escapes, HTML, the buttons of a page."""

from __future__ import annotations

import re

from camelid.data.factory.lint.patterns import ABOUT_CODE, either
from camelid.data.factory.lint.sample import Exchange, Sample, Turn, around

_CONTROL = re.compile("(?<![\x80-\xbf\xc2-\xf4€])[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
_INVISIBLE = re.compile(
    "[\u00ad\u200b\u2028-\u202e\u2060-\u2069\ufff9-\ufffb\ue000-\uf8ff\U000e0000-\U000e007f]"
    "|(?<=.)\ufeff|\ufeff(?=[㐀-鿿A-Za-z])|(?<=[\x00-\x7f㐀-鿿])[\u200c-\u200f]",
    re.DOTALL,
)
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff]")
_BEFORE, _AFTER = 30, 80


def control_characters(turn: Turn) -> str | None:
    """Characters that steer a terminal and mean nothing in a text."""
    match = _CONTROL.search(turn.text)
    return _shown(turn.text, match, f"\\x{ord(match[0]):02x}") if match else None


def invisible_characters(turn: Turn) -> str | None:
    """Characters that no one sees and every tokenizer counts; those that Arabic, Hebrew and emoji need are left."""
    match = _INVISIBLE.search(turn.text)
    if match is None or _RIGHT_TO_LEFT.search(turn.text) or "\U0001f3f4" in turn.text:
        return None
    return _shown(turn.text, match, f"\\u{ord(match[0]):04x}")


def _shown(text: str, match: re.Match[str], name: str) -> str:
    """The place in a text, with a name for what cannot be seen."""
    before = text[max(0, match.start() - _BEFORE) : match.start()]
    return around(f"{before}{name}{text[match.end() : match.end() + _AFTER]}", 0)


_ESCAPE = re.compile(
    r"\\u[0-9a-fA-F]{4}|\\[nrt](?=\s|[A-Z0-9\-•*]|\\[nrt]|[㐀-鿿]|$)|\\/(?=/)|(?:%[0-9A-F]{2}){4,}"
    r"|\\[\"'](?=\w)",
    re.MULTILINE,
)
_ENTITY = either(
    r"&(?:amp|lt|gt|quot|nbsp|apos|[lr][ds]quo|[mn]dash|hellip|middot|copy|#\d{2,5}|#x[0-9a-f]{2,5});",
)
_TAG = either(
    r"(?<![|<])</?(?:p|br|div|span|b|i|u|em|strong|a|img|ul|ol|li|h[1-6]|table|tbody|tr|td|th|font|sup|sub|hr|center"
    r"|blockquote|pre|code|label|button|svg|path|input|iframe)(?:\s+[\w:-]+ ?=[^<>]{0,300})?\s?/?>",
)
_TABLE_LINE = re.compile(r"^\s*\|.*$", re.MULTILINE)


def about_code(sample: Sample) -> bool:
    """Whether anything in a row is a program, or asked about programs, markup or the like."""
    return any(turn.code or (turn.role in ("user", "system") and ABOUT_CODE.search(turn.text)) for turn in sample.turns)


def escapes_left(sample: Sample) -> str | None:
    r"""\n and \u4f60 as they are written in a program, in what is no program."""
    for turn in sample.turns:
        if ("\\" not in turn.text and "%" not in turn.text) or turn.text.count("$") > 1:
            continue
        found = list(_ESCAPE.finditer(turn.prose))
        if (len(found) >= 2 or (found and found[0][0][0] == "%")) and not about_code(sample):  # one alone may be meant
            return around(turn.prose, found[0].start(), found[0].end())
    return None


def html_left(sample: Sample) -> str | None:
    """Entities and tags of a web page, in what is about none."""
    for turn in sample.turns:
        text = turn.text
        if "&" in text and (match := _ENTITY.search(turn.prose)) and not about_code(sample):
            return around(turn.prose, match.start(), match.end())
        if "<" in text and _TAG.search(turn.prose) and not about_code(sample):
            prose = _TABLE_LINE.sub("", turn.prose)  # a Markdown table breaks its lines so
            if match := _TAG.search(prose):
                return around(prose, match.start(), match.end())
    return None


_PAGE_SIGNS = (
    *("Copy", "Regenerate", "Stop gen", "Share P", "Read more", "Continue r", "Subscribe", "Skip to", "Advert"),
    *("oaicite", "contentRef"),
)
_PAGE = either(
    r"^(?:[a-z+#]{1,12})?(?:Copy code|复制代码|Copy to clipboard)\b|(?:Copy code|复制代码)$",
    r"^(?:Regenerate response|Stop generating|Share Prompt|Copy link|Read more|Continue reading|Advertisement"
    r"|Subscribe to our newsletter|Skip to main content|阅读全文|展开全文|点击展开|点击查看更多)[.…]*$",
    r"^(?:上一篇|下一篇|责任编辑|版权声明)[：:]|^本文转载自|转载请注明出处|未经授权(?:不得|禁止|严禁)转载"
    r"|更多内容请关注|【\d+†[^】]{0,40}】|:contentReference\[|\boaicite\b",
    flags=re.MULTILINE,
)


def page_leftovers(exchange: Exchange) -> str | None:
    """What stood on the web page around an answer: buttons, marks of sources."""
    text = exchange.answer.text
    if exchange.answer.ascii and not any(sign in text for sign in _PAGE_SIGNS):
        return None
    match = _PAGE.search(text)
    return around(text, match.start(), match.end()) if match else None
