"""Text that was put into its language word by word: turns of phrase that are another language's."""

from __future__ import annotations

import re

from camelid.data.factory.lint.patterns import HAN, either
from camelid.data.factory.lint.sample import Exchange, around

# One is enough: English idioms and letter endings that no Chinese writer would use.
_CALQUE = either(
    "[哦噢]，?我的(?:上帝|天哪|老伙计)|我的老伙计|看在上帝的份上|真诚的[，,]?\\s*\n|(?:您|你)(?:的)?真诚的",
    "希望(?:这|你|您|本)[^，。\n]{0,8}(?:邮件|信|消息)(?:能够|能|可以)?(?:找到|发现)(?:你|您)|我写这(?:封)?信是为了",
    "请?不要犹豫(?:与|和|来|地|，|联系|告诉|提问|向)|最好的(?:祝愿|祝福|问候)[，,]\\s*\n|谢谢(?:你|您)的(?:时间和考虑"
    "|考虑)",
    "感谢(?:你|您)的(?:时间和)?考虑|亲爱的(?:先生或女士|招聘经理|先生/女士)|尊敬的招聘经理|请让我知道|让我知道(?:如果"
    "|您)",
    "最后但(?:并非|并不是|不是|同样)最?不?重要的|在一天(?:的)?结束时[，,]|作为一个事实|事情的事实是"
    "|在同一[页頁]上[，。]",
    "给(?:它|这个)一个尝试|有一个(?:伟大|美妙|美好|愉快)的(?:一天|时间)|(?:你|您)是(?:最)?受欢迎的[。！!]"
    "|一块蛋糕那么(?:容易|简单)",
    "(?:它|这|那)是(?:很|非常|至关)?(?:重要|必要|必须|可能|困难|容易)的(?:去|来)|这(?:是"
    "|就是)为什么[^。\n]{4,30}的原因",
    "我想要知道是否|如果(?:你|您)有任何(?:进一步的|其他的)(?:问题|疑问|疑虑)|期待着?听到(?:你|您)的(?:消息|回复)"
    "|做出一个差异",
    "当(?:谈到|谈及|涉及到|说到|来到)[^，。\n]{2,20}(?:时|的时候)[，,]|(?:我|他|她|它|他们)被(?:告知|期望|允许)(?:去"
    "|了)|有着一个[^，。\n]{1,10}的",
    "对我来说(?:它|这)是(?:一个)?[^，。\n]{1,10}的(?:事情|一件事)|(?:^|[，。！？\n])它(?:是|被)[^，。\n]{1,20}的(?:去"
    "|来|对于)",
)
# Each of these is good Chinese. Where they crowd, the sentences are another language's.
_HEAVY = tuple(
    re.compile(pattern)
    for pattern in (
        "的[^，。！？、的\n]{1,8}的[^，。！？、的\n]{1,8}的",
        "(?:^|[，。！？；\n])当[^，。\n]{2,20}(?:时|的时候|之后|之前)",
        "(?:^|[，。！？；\n])(?:对于|关于)[^，。\n]{1,15}",
        "(?:进行|作出|做出|给予|加以)了?(?:一个|一次|一种)?[^，。\n]{0,8}(?:的)?(?:讨论|分析|决定|研究|贡献|改变|选择"
        "|考虑|处理|评估|解释)",
        "被[^，。！？\n]{0,8}(?:认为|称为|称作|视为|告知|要求|使用|看作|发现|设计|定义|描述|允许|期望|迫使)",
        "(?:它|它们|他们|她们|他|她)的[^，。\n]",
        "(?:^|[，。！？；\n])(?:它|它们|这|那|这些|那些)(?:是|也是|可以|能够|会|将|使得?|意味着|包括|具有|提供|允许"
        "|帮助)",
        "(?:是|有|成为|作为|像)一(?:个|种|项|件)[^，。\n]{2,20}的",
        "在[^，。\n]{1,14}的(?:情况下|过程中|帮助下|影响下|基础上|背景下|时候|方面)",
        "(?:并且|以及|此外，|然而，|因此，|事实上，|换句话说，|毫无疑问，|更重要的是，|总的来说，)",
        "[最更][^，。\n]{1,6}的[^，。\n]{1,8}之一",
        "(?:使|让|使得)(?:它|他|她|人|您|你|我)们?(?:能够|可以|更|变得|感到)",
        "[^，。\n]{1,4}性的|[^，。\n]{1,3}地(?=[一-鿿])",
    )
)
_FEWEST_HAN, _DISTINCT, _PER_HUNDRED = 40, 4, 6.0
# Chinese word by word in English: one may be chance, two in one answer are a habit.
_CHINGLISH = either(
    r"\bas we all know\b|\bas is known to all\b|\bwith the (?:rapid )?development of (?:the )?(?:society|economy"
    r"|science|times)\b",
    r"\bevery coin has two sides\b|\bin a word,|\bmore and more people\b|\bpay (?:more )?attention to (?:do|study"
    r"|learn)\b",
    r"\bI very (?:like|love|want)\b|\bopen the (?:light|computer|tv)\b|\bhow to say\b|\bplease kindly\b"
    r"|\bsome advices\b",
    r"\blearn knowledge\b|\bthere have (?:a|many|some)\b|\bhas (?:a )?very (?:big|important) (?:meaning"
    r"|significance)\b",
    r"\bgive (?:you|me) (?:a|some) advices?\b|\bso we must\b|\bit is very convenience\b|\bin nowadays\b"
    r"|\bplays? an? very important\b",
)
_CHINGLISH_SIGNS = (
    *("we all know", "known to all", "development of", "every coin", "a word,", "and more people", "attention to"),
    *("kindly", "how to say", "very like", "very love", "there have", "advices", "nowadays", "a very important"),
)


def translationese(exchange: Exchange) -> str | None:
    """What is put into a language word by word."""
    answer = exchange.answer
    text = answer.text
    if not answer.ascii:
        if match := _CALQUE.search(text):
            return around(text, match.start(), match.end())
        return around(text, 0) if crowding(text) >= _PER_HUNDRED else None
    if not any(sign in text for sign in _CHINGLISH_SIGNS):
        return None
    found = list(_CHINGLISH.finditer(text))
    if len({match[0].lower() for match in found}) >= 2:
        return around(text, found[0].start(), found[0].end())
    return None


def crowding(text: str) -> float:
    """How many of those turns of phrase a hundred characters have; 0 where they are few kinds, or little is said."""
    han = len(HAN.findall(text))
    if han < _FEWEST_HAN:
        return 0.0
    counts = [len(pattern.findall(text)) for pattern in _HEAVY]
    return 100 * sum(counts) / han if sum(map(bool, counts)) >= _DISTINCT else 0.0
