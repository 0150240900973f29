"""Answers that speak as another maker's assistant, or that decline."""

from __future__ import annotations

import re

from camelid.data.factory.lint.patterns import either
from camelid.data.factory.lint.sample import Exchange, around
from camelid.data.factory.phrases import DISCLAIMER, REFUSAL, VENDOR

# What assistants say of their making beside DISCLAIMER: the end of their knowledge, what they cannot feel or reach.
_MORE_DISCLAIMERS = either(
    r"\bmy (?:knowledge|training)(?: data)? (?:cut-?off|only (?:goes|extends)|ends|is limited to)"
    r"|\bknowledge cut-?off\b",
    r"\bas of my (?:last|latest|most recent|knowledge|training)|\bi(?:'m| am) (?:just "
    r"|only )?a (?:large )?language model",
    r"\bi(?:'m| am) (?:just |only )?an? (?:ai|artificial intelligence) (?:language )?(?:model|assistant|chatbot"
    r"|program)",
    r"\bas an? (?:large )?(?:ai|artificial intelligence|language model)(?: (?:language|model|assistant|system"
    r"|chatbot)){0,3}"
    r",? (?:i|my)\b",
    r"\bi(?:'m| am) (?:just |only |merely )?an (?:ai|artificial intelligence)(?=[,.;!?]| and\b| so\b| that\b| but\b)",
    r"\bi (?:do not|don't) have (?:personal (?:opinions|experiences|feelings|beliefs|preferences)"
    r"|(?:access to )?real-?time"
    r"|the ability to (?:browse|access))",
    "我的知识(?:库)?(?:截止|只更新|仅限|更新)|截至我(?:的|最后|所)|我的训练(?:数据|资料)(?:截止|只|仅)",
    "我(?:只|仅)?是(?:一个|一款|一名|一种)?(?:大型|大)?(?:的)?(?:AI|人工智能|语言)(?:语言)?(?:模型|助手|程序|机器人)",
    "作为(?:一个|一名|一款|一种)?(?:AI|人工智能)(?:程序|模型|机器人|助理|系统)|作為(?:一個|一名)?(?:AI|人工智[能慧]"
    "|大?型?語言模型)",
    "我没有(?:实时|个人)(?:的)?(?:访问|数据|信息|情感|观点|经历|意见|感受)",
)
_SIGNS = (
    *(
        "language model",
        " ai",
        "artificial intelligence",
        "cutoff",
        "cut-off",
        "as of my",
        "my training",
        "have personal",
    ),
    *(
        "real-time",
        "realtime",
        "人工智",
        "语言模型",
        "語言模型",
        "ai",
        "截至我",
        "我的知识",
        "助手",
        "机器人",
        "我没有",
        "我的训练",
    ),
)
_BEGINS = re.compile(
    r"(?:^|[^\w\s][\s\W]*|\b(?:but|because|since|and|that|so|while|however)\s+|[是但因为而])$", re.IGNORECASE
)
# "As an AI researcher" is a person's word.
_PROFESSION = re.compile(
    r"as an? (?:ai|artificial intelligence) (?!language|model|assistant|chat|system|program|tool|i\b|trained"
    r"|developed)\w",
    re.IGNORECASE,
)
_ABOUT_ASSISTANTS = either(
    r"\b(?:who|what) are you\b|are you (?:an? )?(?:ai|human|robot|bot|real|chat)|introduce yourself|about yourself",
    r"your (?:name|creator|maker|developer)|你是谁|你叫什么|你是(?:不是)?(?:人|机器|AI|真人)|介绍(?:一下)?你自己"
    r"|自我介绍|你的名字",
)


def vendor_disclaimer(exchange: Exchange) -> str | None:
    """What an assistant says of itself as a machine, where nobody asked."""
    text, lower = exchange.answer.text, exchange.answer.lower
    if not any(sign in lower for sign in (_SIGNS[:10] if exchange.answer.ascii else _SIGNS)):
        return None
    match = DISCLAIMER.search(text)
    if (
        match is None
        or _PROFESSION.match(text, match.start())
        or not _BEGINS.search(text[max(0, match.start() - 12) : match.start()])
    ):
        match = _MORE_DISCLAIMERS.search(text)
    if match is None or _is_quoted(text, match) or _ABOUT_ASSISTANTS.search(exchange.question.text):
        return None
    return around(text, match.start(), match.end())


# Closer than SELF_AS_VENDOR, which also holds for "I'm familiar with OpenAI" and "as a Llama".
_I_AM = re.compile(
    r"(?:\bi(?:'m| am)(?: called| named| known as)? |\bmy name is "
    r"|\bi was (?:created|trained|developed|made|built|designed|fine-?tuned)[^.!?\n]{0,30}? (?:by|from|on) "
    r"|我(?:是|叫|名叫|的名字[是叫])|我(?:是)?由|我是[^。！？\n，,]{0,20}由|作为)"
    r"(?:(?:an? |the |one of |一[个名款种])?(?:(?:ai|large|language|model|assistant|chatbot|called|named|developed"
    r"|trained"
    r"|created|made|by|based|on|from|大型?|语言|人工智能|AI|模型|助手|聊天|机器人|名为|叫做?|基于|来自|公司|团队"
    r"|的)[ ,，]?){0,10})"
    r"(?:" + VENDOR.pattern + ")",
    re.IGNORECASE,
)
# Names that people have too, and makers: an assistant is spoken of in the same sentence.
_I_AM_TOO = either(
    r"\b(?:i(?:'m| am)|my name is) (?:claude|gemini|copilot|bard|kimi|grok|phi|mistral|deepseek|doubao)\b"
    r"[^.!?\n]{0,60}\b(?:ai|assistant|language model|chatbot|anthropic|google|microsoft|moonshot|xai|bytedance)\b",
    r"\bi(?:'m| am| was)\b[^.!?\n]{0,60}\b(?:made|created|trained|developed|built) by (?:anthropic|google|deepseek"
    r"|alibaba"
    r"|baidu|meta|mistral|microsoft|moonshot|bytedance|tencent|xai|zhipu)\b",
    "我(?:是|叫)\\s?(?:claude|gemini|copilot|kimi|grok|deepseek|豆包|混元|元宝|通义|文心|星火|盘古|日日新)"
    "[^。！？\n]{0,40}(?:助手|模型|人工智能|AI|公司|开发|训练)",
    "我[^。！？\n]{0,16}由\\s?(?:深度求索|月之暗面|阿里|字节跳动|腾讯|科大讯飞|讯飞|商汤|智谱|百度|华为|谷歌|微软"
    "|anthropic|openai)",
)
_VENDOR_SIGNS = (
    *("open", "gpt", "anthropic", "claude", "bing", "bard", "vicuna", "ernie", "chatglm", "qwen", "tongyi", "llama"),
    *("alpaca", "moss", "baichuan", "gemini", "copilot", "kimi", "grok", "mistral", "deepseek", "doubao", " by google"),
    *("文心", "通义", "星火", "清华", "智谱", "百度", "豆包", "混元", "元宝", "盘古", "日日新", "深度求索", "月之暗面"),
    *("阿里", "字节", "腾讯", "讯飞", "商汤", "华为", "谷歌", "微软"),
)


def vendor_identity(exchange: Exchange) -> str | None:
    """An answer that names its speaker as another maker's model: what is tuned on it will say so too."""
    text, lower = exchange.answer.text, exchange.answer.lower
    if not any(sign in lower for sign in _VENDOR_SIGNS):
        return None
    match = _I_AM.search(text) or _I_AM_TOO.search(text)
    return around(text, match.start(), match.end()) if match and not _is_quoted(text, match) else None


_CANNOT = re.compile("无法|不能|没有|不会|不便|不支持|不可以|不提供|不具备|未能|不允许")
_SAID_FIRST = 60  # characters in which a Chinese apology says what cannot be done


def refuses(exchange: Exchange) -> str | None:
    """An answer that declines, in its first words."""
    text = exchange.answer.text
    match = REFUSAL.match(text)
    if match is None or (not match[0].isascii() and not _CANNOT.search(text[:_SAID_FIRST])):
        return None
    return around(text, 0, match.end())


def _is_quoted(text: str, match: re.Match[str]) -> bool:
    """Whether it stands in quotation marks: somebody else says it."""
    before = text[: match.start()]
    return before.count('"') % 2 == 1 or any(before.count(left) > before.count(right) for left, right in ("“”", "「」"))
