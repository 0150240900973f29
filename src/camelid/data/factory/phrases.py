"""What assistants of other makers say of themselves, and how they decline, in both languages.

Vicuna's cleaning and everybody's after it search for such words in plain text; here each is a pattern with the turn of
phrase around it, for "as a language model" is also what a text about language models says.
"""

from __future__ import annotations

import re

# So one who answers begins, and then mostly does not answer. "I am a language model" alone may be the answer.
DISCLAIMER = re.compile(
    r"\bas an? (?:(?:large |artificial[- ]intelligence |ai |a\.i\. )*language model"
    r"|(?:ai|artificial intelligence)(?: (?:assistant|model|chatbot))?)\b(?:[^.!?\n]{0,60}[,]| ?i\b)"
    r"|作为(?:一个|一名|一款|一种)?(?:大型|大)?(?:人工智能|AI)?(?:语言模型|智能助手|人工智能助手|AI ?助手)"
    r"|作为(?:一个|一名|一款)?(?:AI|人工智能)(?=[，,])"
    r"|身为(?:一个|一名|一款)?(?:大型)?(?:AI|人工智能)?语言模型",
    re.IGNORECASE,
)
# The beginning of an answer that is none.
REFUSAL = re.compile(
    r"\s*(?:(?:i'm|i am) (?:very |really |so )?sorry[,.]? (?:but )?(?:i |as an)"
    r"|(?:sorry|apologies|unfortunately)[,.]? (?:but )?i (?:can|am unable|do not|don't|will not|won't)"
    r"|i(?:'m| am) (?:unable|not able) to"
    r"|i (?:can't|cannot|can not|won't|will not) (?:help|assist|fulfil|comply|provide|answer|do that|create|generate)"
    r"|as an? (?:ai|artificial|(?:large )?language)[^.\n]{0,80}\bi (?:can't|cannot|am unable|don't|do not)"
    r"|(?:很|非常|十分)?(?:抱歉|对不起|遗憾)[，,。！!]?\s*(?:但|作为|我(?:无法|不能|没有办法|没办法|不会|还不))"
    r"|我(?:无法|不能)(?:提供|回答|完成|满足|协助|帮助|执行|生成|访问|浏览)"
    r"|作为(?:一个|一名)?(?:AI|人工智能|语言模型)[^。\n]{0,40}我(?:无法|不能|没有))",
    re.IGNORECASE,
)
# Makers and their assistants by name. In a question they are fair; in an answer's "I am ..." they are another identity.
VENDOR = re.compile(
    r"(?<![A-Za-z])(?:open ?ai|chat ?gpt|gpt-?[345](?:\.5)?(?:-turbo)?|anthropic|claude (?:ai|[1-4])|bing chat"
    r"|google bard|vicuna|ernie bot|chatglm|qwen|tongyi|llama|alpaca|moss|baichuan)(?![A-Za-z])"
    r"|文心一言|通义千问|讯飞星火|清华大学\s*KEG|智谱(?:AI|清言)?|百度(?:公司)?开发",
    re.IGNORECASE,
)
_SELF = (
    r"(?:\bi(?:'m| am| was)\b|\bmy name is\b|\bmade by\b|\bas (?:an? )?|我(?:是|叫|的名字)|由|作为)"
    r"(?:(?![.!?。！？\n]).){0,40}?"
)
SELF_AS_VENDOR = re.compile(_SELF + "(?:" + VENDOR.pattern + ")", re.IGNORECASE)


def refuses(answer: str) -> bool:
    """Whether an answer begins by declining."""
    return REFUSAL.match(answer) is not None
