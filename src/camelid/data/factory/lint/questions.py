"""Questions that lack what they speak of."""

from __future__ import annotations

from camelid.data.factory.lint.patterns import either
from camelid.data.factory.lint.sample import Exchange, around

_LACKS = either(
    r"\b(?:the )?(?:following|given|below|above|attached|provided)(?: (?:short|long|two|three|four|five|piece of|set of"
    r"|list of|block of|input|english|news|python|complex|simple|incorrect|original|customer|product|research|blog"
    r"|written))*"
    r" (?:sentences?|texts?|articles?|paragraphs?|passages?|stor(?:y|ies)|poems?|code|snippet|emails?|letters?|essays?"
    r"|reviews?|conversations?|dialogues?|documents?|excerpts?|statements?|words|phrases?|speech|data(?! ?(?:set|base"
    r"|type"
    r"|struct))|table|list|numbers|array|equations?|headlines?|tweets?|quotes?)\b",
    "(?:以下|下列|下面|给定的?|上述|上面|所给的?|如下)(?:的)?(?:这)?(?:一)?(?:段|篇|个|句|些|组|首)?(?:的)?(?:英文"
    "|中文|新闻|短)?"
    "(?:句子|文本|文章|段落|文字|单词|词语|代码|对话|评论|诗歌|故事|数据(?![集库结类])|列表|邮件|短文|材料|内容|数字"
    "|语句)",
)
_HAS_IT = either(r"[:：\n\"“「《'‘`\[({<（【=]|\d.*,.*\d| - |\be\.g\.|[?？。].+|\. ?\w")
_MAKES_IT = either(
    r"\b(?:write|generate|create|compose|construct|make|form|design|come up|produce|build|using|use|develop|algorithm"
    r"|program"
    r"|function|procedure|method|explain|steps|how (?:to|do|can|would))\b",
    "写一|生成|创作|创建|设计|开发|构建|制作|编写|造句|使用|用下|用以|如何|怎[么样]|方法|步骤",
)


def input_missing(exchange: Exchange) -> str | None:
    """A question about a text that is not there."""
    question = exchange.instruction
    if exchange.input or exchange.earlier or len(question) > 200:
        return None
    match = _LACKS.search(question)
    if match is None or _HAS_IT.search(question) or _MAKES_IT.search(question):
        return None
    return around(question, match.start(), match.end())


_PICTURE = either(
    r"\b(?:in|describe|analy[sz]e|look at|see|identify|caption|from|about|of|shown in|explain|interpret) (?:this"
    r"|these|the"
    r" (?:given|attached|following|above|below|provided)) (?:image|picture|photo(?:graph)?|painting|video|audio"
    r"|screenshot"
    r"|drawing|graph|chart|diagram)s?\b",
    r"\b(?:attached|enclosed) (?:file|image|document|photo)\b",
    "(?:这张|这幅|上面的|下面的|以下|给定的?|所给的?)(?:图片|照片|图像|图表|图中|截图|视频|音频)|(?:如|见)(?:上图"
    "|下图|图所示)",
    "(?:上图|下图)(?:中|所示)|附件中",
)


_PICTURE_SIGNS = (
    *("image", "picture", "photo", "painting", "video", "audio", "screenshot", "drawing", "graph", "chart", "diagram"),
    *("attached", "enclosed", "图", "照片", "视频", "音频", "附件"),
)


def needs_picture(exchange: Exchange) -> str | None:
    """A question about a picture or a file that a text model never sees."""
    text = exchange.question.text
    seen = len(text) < 400 and any(sign in exchange.question.lower for sign in _PICTURE_SIGNS)
    match = _PICTURE.search(text) if seen else None
    if match is None or "http" in text or exchange.input.count(" ") > 6:
        return None
    return around(text, match.start(), match.end())
