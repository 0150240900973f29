"""Patterns that several rules share, and how a long one is put together."""

from __future__ import annotations

import re

HAN = re.compile(r"[㐀-䶿一-鿿]")
WORD = re.compile(r"[A-Za-z]+(?:['’][a-z]+)?")


def either(*alternatives: str, flags: int = re.IGNORECASE) -> re.Pattern[str]:
    """Any of several patterns."""
    return re.compile("|".join(alternatives), flags)


# Questions about programs and markup, whose answers hold what is a fault elsewhere: tags, escapes, open brackets.
ABOUT_CODE = either(
    r"\b(?:code|coding|program\w*|scripts?|python|java|javascript|js|typescript|c\+\+|c#|php|ruby|perl|rust|golang"
    r"|bash)\b",
    r"\b(?:shell|regex\w*|regular expression|json|yaml|xml|html5?|css|sql|query|queries|latex|markdown|markup"
    r"|unicode)\b",
    r"\b(?:ascii|escape\w*|function|api|webpage|web ?page|website|web ?site|tags?|react|vue|jquery|excel|formula)\b",
    r"\b(?:newline|string|svg|template|compile\w*|debug\w*|error|exception|command|terminal|linux|git|docker|matlab)\b",
    r"\b(?:stata|mermaid|tokeni[sz]\w*|algorithm|variable|loop|array)\b",
    "代码|编程|程序|脚本|网页|网站|标签|前端|正则|函数|命令|公式|编码|转义|换行|字符串|接口|报错|终端|框架|语法|算法"
    "|变量|数组",
)
