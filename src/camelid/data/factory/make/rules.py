"""Which tasks are dropped, and under which name: Self-Instruct's and Alpaca's rules, and the same for Chinese.

What the published rules count in words is counted in characters where words are not spaced; what they ask of the first
character (no punctuation, ASCII only) would drop all Chinese and is asked of the script instead. Added, for both: an
answer that was cut off, that declines, that names its maker, that repeats itself, or whose characters are broken.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import groupby

from camelid.data.factory.faults import Fault
from camelid.data.factory.phrases import DISCLAIMER, SELF_AS_VENDOR, refuses
from camelid.data.skills.draw import Language

WORDS = (4, 150)  # of an English instruction: those of 3 and fewer are dropped, and those of more than 150
CHARACTERS = (4, 250)  # of a Chinese one, white space aside: 写一首诗 is a task
# What a text model can neither be shown nor make. Self-Instruct's list with Alpaca's additions; the Chinese one ours.
_BLACKLIST: dict[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:images?|graphs?|pictures?|files?|maps?|draw|plot|go to|videos?|audio|music|flowcharts?|diagrams?)\b",
        re.IGNORECASE,
    ),
    "zh": re.compile(
        r"图片|图像|照片|截图|图表|曲线图|柱状图|饼图|画出|绘制|画一[张幅个]|文件|附件|地图|视频|音频|录音|音乐|歌曲|流程图|示意图"
        r"|思维导图|前往|打开网[页站]|点击|以下链接"
    ),
}
_PROGRAM = re.compile(r"write a program|(?:编写|写)(?:一个|一段|个)?程序", re.IGNORECASE)
_HAN = re.compile(r"[㐀-䶿一-鿿]")
_BROKEN = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f]")
_TIMES = 7  # that something may not stand in a row
_LOOP = re.compile(rf"(.{{2,40}}?)\1{{{_TIMES - 1}}}", re.DOTALL)
_SENTENCE_END = re.compile(r"[.。!！?？\n]+")
_ITEM_NUMBER = re.compile(r"(?:^|(?<=\s))\d{1,3}[.、．):）：][ \t]*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Task:
    """instruction, its input ("" for none) and its answer"""

    instruction: str
    input: str
    output: str


def instruction_fault(text: str, language: Language) -> Fault | None:
    """The first rule that an instruction breaks."""
    if not text:
        return Fault("no instruction")
    if _BROKEN.search(text):
        return Fault("broken characters")
    if (language == "en" and not text[0].isascii()) or not in_language(text, language):
        return Fault("is in another language")
    if fault := _length_fault(text, language):
        return fault
    if found := _BLACKLIST[language].search(text):
        return Fault("asks for what text cannot be", found[0])
    if _PROGRAM.match(text):
        return Fault("asks for a program", text[:20])
    if unicodedata.category(text[0])[0] not in "LN" and text[0] not in "“\"'‘《「（(":
        return Fault("begins with punctuation", text[0])
    return None


def task_fault(task: Task) -> Fault | None:
    """The first rule that an answered task breaks; its instruction has passed."""
    output = task.output
    if not output:
        return Fault("no answer")
    if output == task.input or output == task.instruction:
        return Fault("the answer repeats what is asked")
    if output.endswith((":", "：")) or task.input.endswith((":", "：")):
        return Fault("ends with a colon")
    if _BROKEN.search(output) or _BROKEN.search(task.input):
        return Fault("broken characters")
    if found := repeated(output) or repeated(task.input):
        return Fault("repeats itself", found)
    if refuses(output):
        return Fault("the answer declines", output[:40])
    if found := SELF_AS_VENDOR.search(output) or DISCLAIMER.search(output):
        return Fault("the answer speaks as another assistant", found[0])
    return None


def in_language(text: str, language: Language) -> bool:
    """Whether it is written in that language: by its letters; what has none is in any."""
    han = len(_HAN.findall(text))
    letters = sum(character.isalpha() for character in text)
    if language == "zh":
        # a Latin word of five letters stands for about two characters: 用 Python 实现 quicksort
        return letters == 0 or han * 2.5 >= 0.3 * (letters - han)
    return han <= 0.2 * letters


def repeated(text: str) -> str:
    """What stands seven times in a row or more, "" if nothing does: a model that cannot stop.

    Numbers before items aside. Rules, dots, blanks and figures may: a table's border, a line to fill in.
    """
    for found in _LOOP.finditer(text):
        if _letters(found[1]) >= 2:
            return found[1]
    sentences = _SENTENCE_END.split(_ITEM_NUMBER.sub("\n", text))
    for sentence, same in groupby(one.strip() for one in sentences if one.strip()):
        if _letters(sentence) >= 5 and len(list(same)) >= _TIMES:  # a list of labels may say "Yes" ten times
            return sentence
    return ""


def _letters(text: str) -> int:
    """How many different ones."""
    return len({character for character in text if character.isalpha()})


def _length_fault(text: str, language: Language) -> Fault | None:
    length = len("".join(text.split())) if language == "zh" else len(text.split())
    short, long = CHARACTERS if language == "zh" else WORDS
    unit = "characters" if language == "zh" else "words"
    if length < short:
        return Fault("too short", f"{length} {unit}")
    if length > long:
        return Fault("too long", f"{length} {unit}")
    return None
