"""An answer in another language than its question, or in two at once."""

from __future__ import annotations

import re

from camelid.data.factory.lint.patterns import HAN, WORD, either
from camelid.data.factory.lint.sample import Exchange, Turn, around

# Who names a language, or asks for what is English or Chinese by nature, may get the other one.
_ABOUT_LANGUAGE = either(
    r"\b(?:english|chinese|mandarin|cantonese|japanese|korean|french|german|spanish|italian|portuguese|russian"
    r"|arabic)\b",
    r"\b(?:latin|hindi|greek|hebrew|dutch|turkish|vietnamese|thai|translat\w*|bilingual|pinyin|hanzi|kanji|hiragana)\b",
    r"\b(?:farsi|persian|polish|swedish|indonesian|tagalog|urdu|bengali|languages?|idiom|words? in|characters? for"
    r"|spell\w*)\b",
    "英文|英语|英語|中文|汉语|漢語|日语|日文|韩语|法语|德语|俄语|西班牙语|拉丁|翻译|翻譯|译|双语|语言|单词|拼写|拼音"
    "|词汇|语法|字母|缩写|简称",
    "查询|查找|数据库|代码|代碼|编程|程序|程式|函数|变量|命令|脚本|正则|论文|文献|歌词|用户名|密码|域名|雅思|托福"
    "|四六级|作文|c\\+\\+",
    r"(?<![a-z])(?:prompts?|midjourney|stable diffusion|latex|markdown|json|html|sql|python|java|excel|linux"
    r"|api)(?![a-z])",
)
_OTHER_SCRIPTS = re.compile("[ぁ-ヿ가-힣Ѐ-ӿ؀-ۿ\u0900-\u097f\u0e00-\u0e7f\u0590-\u05ff]")
_ENGLISH = either(
    r"\b(?:the|of|and|to|in|is|are|was|that|for|with|as|it|on|this|you|be|by|have|not|or|can|from|your|will|an|at)\b"
)
_ENGLISH_SENTENCE = re.compile(r"(?<![A-Za-z])(?:[A-Za-z][A-Za-z'’\-]*[,;:]? ){7,}[A-Za-z][A-Za-z'’\-]*")
_CHINESE_RUN = re.compile("[㐀-鿿，。、；：“”？！]{10,}")
_QUOTES = re.compile("[(（“”\"\\[《'‘「【*:：>]\\s*$|[例如即是为](?:\\s*)$")


def language_drift(exchange: Exchange) -> str | None:
    """A Chinese question with an answer that holds no Chinese, or the other way round, or a third script."""
    question, answer = exchange.question, exchange.answer
    if question.ascii and answer.ascii:
        return None
    asked_han, asked_words = _weight(question)
    han, words = _weight(answer)
    text = answer.prose
    drifted = False
    if asked_han >= 2 and asked_words <= max(3, asked_han // 2):
        drifted = han <= words // 10 and words >= 4 and len(_ENGLISH.findall(text)) >= 2 and not answer.code
        drifted = drifted and (text.rstrip()[-1:] in ".!?" or not _is_title(text))
        drifted = drifted and not any(_weight(turn)[1] > 12 for turn in exchange.earlier if turn.role != "assistant")
    elif asked_words >= 3 and not asked_han:
        drifted = han >= 2 and han > 2 * words
        drifted = drifted and not any(HAN.search(turn.text) for turn in exchange.earlier if turn.role != "assistant")
    if not drifted and (asked_han or asked_words >= 3):
        others = len(_OTHER_SCRIPTS.findall(text))
        drifted = others > 8 and others > han + 4 * words
        drifted = drifted and not any(
            _OTHER_SCRIPTS.search(turn.text) for turn in (question, *exchange.earlier) if turn.role != "assistant"
        )
    return around(text, 0) if drifted and not exchange.asks(_ABOUT_LANGUAGE) else None


def _weight(turn: Turn) -> tuple[int, int]:
    """(Chinese characters, Latin words) outside of code and addresses."""
    text = turn.prose
    return 0 if turn.ascii else len(HAN.findall(text)), len(WORD.findall(text))


def untranslated_left(exchange: Exchange) -> str | None:
    """A sentence of English in a Chinese answer, or of Chinese in an English one, where the question has none."""
    question, answer = exchange.question, exchange.answer
    if answer.ascii or answer.code:
        return None
    text = answer.prose
    han, words = _weight(answer)
    if han >= 20 and words >= 8:
        for match in _ENGLISH_SENTENCE.finditer(text):
            if (
                len(_ENGLISH.findall(match[0])) >= 2
                and not _is_title(match[0])
                and not _QUOTES.search(text[max(0, match.start() - 3) : match.start()])
            ):
                asked = _ENGLISH_SENTENCE.search(question.text) or exchange.asks(_ABOUT_LANGUAGE)
                return None if asked else around(text, match.start(), match.end())
    elif words >= 15 and han >= 10 and words > han:
        match = _CHINESE_RUN.search(text)
        if match and not HAN.search(question.text) and not exchange.asks(_ABOUT_LANGUAGE):
            return around(text, match.start(), match.end())
    return None


def _is_title(text: str) -> bool:
    """Whether most words begin with a capital: the name of a book or a law."""
    words = WORD.findall(text)
    return 2 * sum(word[0].isupper() for word in words) >= len(words)
