"""Which language a conversation is in: by its script, and for those in Latin letters by their commonest words.

Code, addresses and markup say nothing of it. A Chinese conversation about English sentences, or about a program, is
Chinese: its characters stand for more than letters do.
"""

from __future__ import annotations

import re
from collections import Counter

from camelid.data.factory.clean.markdown import prose_of

# Letters that one character stands for, about: Chinese, Japanese and Korean write a word in one to three of them.
_SCRIPTS: dict[str, tuple[re.Pattern[str], float]] = {
    "han": (re.compile("[㐀-䶿一-鿿豈-\ufaff\U00020000-\U0003ffff]+"), 2.5),
    "kana": (re.compile("[぀-ヿㇰ-ㇿｦ-ﾟ]+"), 1.5),
    "hangul": (re.compile("[ᄀ-ᇿ㄰-㆏가-힯]+"), 2.5),
    "latin": (re.compile("[\u00c0-\u024f\u1e00-\u1eff]+"), 1.0),
    "cyrillic": (re.compile("[\u0400-\u052f]+"), 1.0),
    "arabic": (re.compile("[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc]+"), 1.5),
    "hebrew": (re.compile("[\u0590-\u05ff]+"), 1.5),
    "greek": (re.compile("[\u0370-\u03ff\u1f00-\u1fff]+"), 1.0),
    "devanagari": (re.compile("[\u0900-\u097f]+"), 1.5),
    "thai": (re.compile("[\u0e00-\u0e7f]+"), 1.0),
}
_BY_SCRIPT = {
    "ko": "hangul",
    "ru": "cyrillic",
    "ar": "arabic",
    "he": "hebrew",
    "el": "greek",
    "hi": "devanagari",
    "th": "thai",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that no text in the language does without; none that English or programs have too.
_COMMON: dict[str, frozenset[str]] = {
    "en": _words("the and of to is that you for with this are it be what have not can your will how my please"),
    "de": _words("der das und ist nicht ein eine ich sie mit für auf den dem zu wir auch sind werden oder"),
    "fr": _words("les des est et une dans pour que qui vous nous pas sur avec ce sont du au je cette"),
    "es": _words("el los las una que es por para del como su más pero son está lo este esta muy"),
    "pt": _words("os uma que em é por para do da não se mais são está ao você na isso como"),
    "it": _words("il gli una che è della non più sono nel alla anche questo delle dei con per come"),
    "nl": _words("het een van dat niet voor zijn aan ik wij maar ook deze worden naar bij wordt"),
    "pl": _words("jest się nie że jak są przez oraz od być które lub może dla aby ten tego"),
    "tr": _words("ve bir bu için ile olarak daha çok gibi olan ben sonra kadar ama değil"),
    "vi": _words("và của là một có không cho được các với trong những bạn tôi này người khi như"),
    "id": _words("yang dan untuk dengan ini adalah dari itu tidak dalam pada anda akan bisa saya atau"),
}
LANGUAGES = ("en", "zh", "ja", *_BY_SCRIPT, *(name for name in _COMMON if name != "en"))
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+|<[^<>]{0,200}>", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+")
_ASCII = re.compile("[\x00-\x7f]+")
_ASCII_LETTERS = re.compile("[A-Za-z]+")
_ENOUGH = 20_000  # characters of a conversation that are looked at
_SHARE = 0.04  # of all words, in a text of the language


def is_in(text: str, language: str) -> bool:
    """Whether a conversation is in a language of LANGUAGES; one without letters is in each."""
    prose = _ADDRESS.sub(" ", prose_of(text[:_ENOUGH]))
    foreign = _ASCII.sub(" ", prose)  # short in most texts: nine scripts are looked for in it
    weights = {name: weight * sum(map(len, pattern.findall(foreign))) for name, (pattern, weight) in _SCRIPTS.items()}
    weights["latin"] += sum(map(len, _ASCII_LETTERS.findall(prose)))
    total = sum(weights.values())
    if not total:
        return True
    east = weights["han"] + weights["kana"]
    if language == "zh":
        return weights["han"] >= 0.3 * total and weights["kana"] < 0.15 * east and weights["hangul"] < weights["han"]
    if language == "ja":
        return east >= 0.3 * total and weights["kana"] >= 0.15 * east
    if language in _BY_SCRIPT:
        return weights[_BY_SCRIPT[language]] >= 0.3 * total
    return weights["latin"] >= 0.75 * total and _by_words(prose) in (language, "")


def _by_words(prose: str) -> str:
    """The language in Latin letters whose words are commonest; "" where they are too few to tell."""
    counts = Counter(_WORD.findall(prose.lower()))
    found = {name: sum(counts[word] for word in words) for name, words in _COMMON.items()}
    best = max(found, key=lambda name: found[name])
    return best if found[best] >= _SHARE * counts.total() else ""
