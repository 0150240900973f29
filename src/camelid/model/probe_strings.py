"""Strings on which two tokenizers are compared: Chinese, English, emoji, code, numbers, odd spaces, spelled tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence

_EMOJI = ("😀", "🎉", "🐪", "🦙", "❤️", "🇨🇳", "👩‍👩‍👧‍👦", "👍🏽", "🏳️‍🌈", "🀄️", "🈶️", "☕️", "1️⃣", "🫠", "⚽", "♥")
_SCRIPTS = (
    "Ünïcödé naïve façade",
    "Привет, мир",
    "こんにちは世界",
    "안녕하세요",
    "مرحبا",
    "नमस्ते",
    "ΑΒΓ αβγ",
    "½ ² ①㈠Ⅷ",
)
_CODE = ("def f(x):\n    return x**2\n", '{"a": [1, 2.5e-3], "b": null}', "SELECT * FROM t WHERE n >= 10;", "<p>x</p>")
_PUNCTUATION = ("，。！？；：“”‘’（）《》、……——", "...!?;:'\"()[]{}<>@#$%^&*-_=+|\\/~`", "don't we'll I'M it'S you'RE")
_BLANKS = (" ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "\r\n", "\u3000", "\u00a0", "        ")
_KINDS = 8


def probe_strings(passages: Sequence[str], control: Sequence[str], count: int, *, seed: int = 0) -> list[str]:
    """`count` strings, each kind equally often; the same ones for the same arguments.

    passages: running text in Chinese and English to cut stretches from; control: spellings of control tokens, which
    in a user's text must stay text.
    """
    draw = random.Random(seed)
    makers = (
        lambda: _stretch(draw, passages),
        lambda: _stretch(draw, passages),
        lambda: "".join(draw.choices(_EMOJI, k=draw.randint(1, 12))),
        lambda: " ".join(draw.choices(_SCRIPTS, k=draw.randint(1, 3))),
        lambda: draw.choice(_CODE) + draw.choice(_BLANKS) + draw.choice(_CODE),
        lambda: _numbers(draw),
        lambda: draw.choice(_BLANKS).join(draw.choices(_PUNCTUATION, k=draw.randint(1, 3))) + draw.choice(_BLANKS),
        lambda: _spelled(draw, passages, control),
    )
    assert len(makers) == _KINDS
    strings = []
    for index in range(count):
        text = makers[index % _KINDS]()
        if draw.random() < 0.3:  # kinds next to each other
            text += draw.choice(_BLANKS) + makers[draw.randrange(_KINDS)]()
        strings.append(text)
    return strings


def _stretch(draw: random.Random, passages: Sequence[str]) -> str:
    passage = draw.choice(passages)
    start = draw.randrange(max(1, len(passage) - 4))
    return passage[start : start + draw.randint(1, 160)]


def _numbers(draw: random.Random) -> str:
    forms = ("{:d}", "{:,d}", "${:d}", "-{:d}%", "{:d}年", "v{:d}.0")
    return draw.choice((" ", "", "，")).join(
        draw.choice(forms).format(draw.randrange(10 ** draw.randint(1, 12))) for _ in range(draw.randint(1, 5))
    )


def _spelled(draw: random.Random, passages: Sequence[str], control: Sequence[str]) -> str:
    token = draw.choice(control) if control else ""
    return _stretch(draw, passages)[:20] + token + draw.choice(_BLANKS) + _stretch(draw, passages)[:20]
