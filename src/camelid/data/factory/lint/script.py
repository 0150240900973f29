"""Simplified and traditional Chinese: which characters only one of them has, and rows that mix the two."""

from __future__ import annotations

import re
from collections.abc import Iterator

from camelid.data.factory.lint.encoding import mojibake_gbk
from camelid.data.factory.lint.patterns import either
from camelid.data.factory.lint.sample import Sample, around
from camelid.data.factory.lint.sets import Late, SetCheck

# In Big5 and in use on both sides, though GB2312 lacks them: rare ones, variants, and those of names.
_EITHER = frozenset(
    "伋伕佺倣偭偯偺傚僇僎僩儅儳剋劻勗勦吋呎啗啣嘐堉塭塽墦奭妳姅姪嬝屘屝崁巉帟彊徬惇愒慇抆揹搆搾撚撢擭敔昤晅晞暍暱暸杗枓栘梂梡梱棻楛榣槃橾櫂"
    "櫺歜毚毬汍沍沘沬泜洸浥浬涊湣湩湲潟潠澴濩濬炤焜煆煖燄燐燸牠牴玆玥玨珪珮琍琯瑯璘璟瓖甽疢痲痳痺瘉睪瞇瞋瞭砠砲硿祇祐穋箄箠篛簷籐籣籥糢縿繙耑脤"
    "脰芣蔆蘗衹裯褕褽覜觔觼詨詻誧谿豭貍賸跦跼踡踫迆迺遝郃鄗鄘釆釭鉼銲鎗鑤阬隄雊霤韹餽鯈鶸鼇傈叶墒广着酞酶却脚迹荆猪濛烟耻恒凭笋温踪泪叙咏葱横没静厩刹彦黄"
)
_HAN = [chr(code) for code in range(0x4E00, 0xA000)]


def _within(encoding: str, first: int, last: int) -> frozenset[str]:
    """The Han characters whose first byte in an encoding lies between two."""
    encoded = ((character, character.encode(encoding, "ignore")) for character in _HAN)
    return frozenset(character for character, code in encoded if code and first <= code[0] <= last)


# The first level of an encoding holds its script's frequent characters: 3,755 of GB2312, 5,401 of Big5.
SIMPLIFIED = _within("gb2312", 0xB0, 0xD7) - _within("big5", 0, 0xFF) - _EITHER
TRADITIONAL = _within("big5", 0xA4, 0xC6) - _within("gb2312", 0, 0xFF) - _EITHER
_SIMPLIFIED = re.compile(f"[{''.join(sorted(SIMPLIFIED))}]")
_TRADITIONAL = re.compile(f"[{''.join(sorted(TRADITIONAL))}]")
_KANA = re.compile("[ぁ-ヿ]")
_ABOUT_SCRIPT = either(
    "[繁简簡][体體]|正[体體]字|traditional|simplified|异体字|書法|书法|甲骨|日[语文語]|japanese|古文|文言",
)


def scripts(text: str) -> tuple[int, int]:
    """How many characters that only simplified, and that only traditional Chinese has."""
    return len(_SIMPLIFIED.findall(text)), len(_TRADITIONAL.findall(text))


def script_mix(sample: Sample) -> str | None:
    """Characters of both scripts in one row, where neither is what it is about."""
    if sample.ascii:
        return None
    text = "\n".join(turn.text for turn in sample.turns if not turn.ascii)
    less, more = sorted(scripts(text))
    mixed = less >= 2 or (less == 1 and more >= 6)
    if not mixed or _ABOUT_SCRIPT.search(text) or _KANA.search(text):
        return None
    if any(mojibake_gbk(turn) for turn in sample.turns if not turn.ascii):
        return None  # its characters are nobody's
    simplified, traditional = scripts(text)
    match = (_TRADITIONAL if traditional <= simplified else _SIMPLIFIED).search(text)
    assert match is not None
    return around(text, match.start())


_EXCERPTS = 1000  # kept of each script


class ScriptBalance(SetCheck):
    """Rows in the script that fewer rows of the set are in."""

    def __init__(self) -> None:
        self._simplified: list[tuple[int, str]] = []
        self._traditional: list[tuple[int, str]] = []
        self._counts = [0, 0]

    def see(self, place: int, sample: Sample) -> None:
        if sample.ascii:
            return
        text = "\n".join(turn.text for turn in sample.turns if not turn.ascii)
        simplified, traditional = scripts(text[:2000])
        if max(simplified, traditional) < 4 or min(simplified, traditional) * 5 > max(simplified, traditional):
            return
        rows = self._simplified if simplified > traditional else self._traditional
        self._counts[traditional > simplified] += 1
        rows.append((place, around(text, 0) if len(rows) < _EXCERPTS else ""))

    def finish(self) -> Iterator[Late]:
        simplified, traditional = self._counts
        if not simplified or not traditional:
            return
        for place, shown in self._traditional if traditional <= simplified else self._simplified:
            yield Late("script-minority", place, shown)
