"""Text that went through the wrong encoding, or lost characters there."""

from __future__ import annotations

import re

from camelid.data.factory.lint.patterns import HAN
from camelid.data.factory.lint.sample import Turn, around

# What Windows-1252 makes of the bytes 80 to 9f; Latin-1 leaves them as control characters.
_WINDOWS = {
    bytes([byte]).decode("cp1252"): byte for byte in range(0x80, 0xA0) if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
_NEXT = "[\x80-\xbf" + "".join(_WINDOWS) + "]"
_UTF8 = re.compile(f"[\xc2-\xdf]{_NEXT}|[\xe0-\xef]{_NEXT}{{2}}|[\xf0-\xf4]{_NEXT}{{3}}")
# What is meant where single bytes were shown: punctuation, symbols, kana, Han, Hangul, full width.
_MEANT = re.compile(
    "[\u0e00-\u0e7f\u2000-\u2bff\u3000-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\ufe0f\uff00-\uffef]"
)
# UTF-8 read as Mac Roman (‚Äô for ’, √© for é) and as Windows-1251 (вЂ™ for ’)
_OTHER_PAGES = re.compile(r"‚Ä[îìùúôò¶¢]|√[©®°¢£§™≠¥∂∫ª¨µ±](?=[\w\s.,;:!?']|$)|вЂ[™њќ“”]")
_GB2312_AS_LATIN = re.compile("[\xb0-\xf7][\xa1-\xfe](?:[\xa1-\xf7][\xa1-\xfe])+")
_FEWEST_WEAK = 3


def mojibake_latin(turn: Turn) -> str | None:
    """UTF-8 read one byte a character (Latin-1, Windows-1252, Mac Roman), or GB2312 read so."""
    text = turn.text
    strong, weak = [], []
    for match in _UTF8.finditer(text):
        surely = _is_utf8(text, match)
        if surely is not None:
            (strong if surely else weak).append(match)
    found = strong or (weak if len(weak) >= _FEWEST_WEAK else [])
    if found:
        return around(text, found[0].start(), found[-1].end())
    if match := _OTHER_PAGES.search(text):
        return around(text, match.start(), match.end())
    for match in _GB2312_AS_LATIN.finditer(text):
        if _is_chinese(match[0][: len(match[0]) // 2 * 2].encode("latin-1")):
            return around(text, match.start(), match.end())
    return None


def _is_utf8(text: str, match: re.Match[str]) -> bool | None:
    """Whether characters are the bytes of one: True, False where a writer may mean them so, None where they are not."""
    try:
        meant = bytes(_WINDOWS.get(character, ord(character)) for character in match[0]).decode("utf-8")
    except (UnicodeDecodeError, ValueError):
        return None
    if match[0][0] in "ÂÃ":
        return None if "«" in text and match[0][1] == "»" else True  # a French quotation that ends in a capital
    if len(match[0]) == 2:
        return False  # a letter and a quotation mark
    if len(match[0]) == 4 or match[0][:2] in ("â€", "â\x80"):
        return True
    before = text[match.start() - 1 : match.start()]
    # French: "café", a no-break space, and the quotation mark
    return True if _MEANT.match(meant) and not (before.isascii() and before.isalpha()) else None


def _is_chinese(data: bytes) -> bool:
    """Whether bytes are GB2312 of at least two different frequent characters, and of little else."""
    try:
        meant = data.decode("gb2312")
    except UnicodeDecodeError:
        return False
    frequent = {character for character in meant if "\u4e00" <= character <= "\u9fff" and _is_frequent(character)}
    return len(frequent) >= 2 and 2 * sum(character in frequent for character in meant) >= len(meant)


def _is_frequent(character: str) -> bool:
    """Among the 3,755 characters of GB2312's first level."""
    return b"\xb0" <= character.encode("gb2312", "ignore") < b"\xd8"


# Characters that GBK has for the first two bytes of a Chinese character, or of a mark, in UTF-8: mostly rare ones.
_LEADS = "".join(
    character
    for first in (0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEF)
    for second in range(0x80, 0xC0)
    if len(character := bytes([first, second]).decode("gbk", "ignore")) == 1
)
_LEAD = re.compile(f"[{_LEADS}]")
_GBK_RUN = re.compile(f"[{_LEADS}][^\x00-\x7f]{{2,}}")
_CHINESE = re.compile(rb"(?:[\xe4-\xe9][\x80-\xbf]{2}|\xe3\x80[\x81\x82\x8a-\x8d]|\xef\xbc[\x80-\xbf]){2,}")
_COMMONEST = frozenset(
    "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事其里所去行过家十用发天如然作方成者多日都三小军二"
    "无同么经法当起与好看学进种将还分此心前面又定见只主没公从想美现动请问什怎谢样工使话间给知本意间题水老高新世界京语文汉您叫做让吃喝很最再"
)
# What is left where all else is lost: U+FFFD read as GBK, and the memory that a debugger of Windows fills; and kana.
_REMAINS = re.compile("锟斤|斤拷|锟斤拷|烫烫烫|屯屯屯|(?:[縺繧繝][^\x00-\x7f]){2}")


# Han characters that neither GB2312 nor Big5 counts among the frequent: a tenth at most of any text that is meant.
_RARE = re.compile(
    "[^\x00-\u4dff\ua000-\U0010ffff"
    + "".join(
        character
        for character in map(chr, range(0x4E00, 0xA000))
        if character.encode("gb2312", "ignore")[:1] in map(bytes, zip(range(0xB0, 0xD8)))
        or character.encode("big5", "ignore")[:1] in map(bytes, zip(range(0xA4, 0xC7)))
    )
    + "]"
)
_FEWEST_HAN, _MOST_RARE = 6, 0.45


def mojibake_gbk(turn: Turn) -> str | None:
    """UTF-8 read as GBK (浣犲ソ for 你好), what such accidents leave (锟斤拷), or GBK and Big5 taken for each other."""
    text = turn.text
    if match := _REMAINS.search(text):
        return around(text, match.start(), match.end())
    if _LEAD.search(text):
        for match in _GBK_RUN.finditer(text):
            for chinese in _CHINESE.finditer(match[0].encode("gbk", "replace")):
                if chinese.start() % 2 == 0 and _is_meant(chinese[0].decode("utf-8")):
                    return around(text, match.start(), match.end())
    rare = len(_RARE.findall(text))
    han = len(HAN.findall(text)) if rare >= _FEWEST_HAN * _MOST_RARE else 0
    return around(text, 0) if han >= _FEWEST_HAN and rare > _MOST_RARE * han else None


def _is_meant(text: str) -> bool:
    """Whether it is likelier than what stands there: two of the commonest characters, or more that are frequent."""
    marks = sum(not "\u3400" <= character <= "\u9fff" for character in text)
    if len(text) == 2:
        return sum(character in _COMMONEST for character in text) + marks == 2 and marks < 2
    return 4 * (marks + sum(_is_frequent(character) for character in text)) >= 3 * len(text)


def replacement_character(turn: Turn) -> str | None:
    """U+FFFD, or text of which hardly more than question marks is left."""
    text = turn.text
    if not turn.ascii and (place := text.find("\ufffd")) >= 0:
        return around(text, place)
    marks = text.count("?") + text.count("？")
    if marks >= 4:
        solid = "".join(text.split())
        if 10 * marks >= 6 * len(solid):
            return around(text, 0)
    return None
