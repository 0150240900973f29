"""Text that nobody wrote, the same for the same question: tasks of random words, and translations of them."""

from __future__ import annotations

import random
import re
import zlib

from camelid.data.factory.make.rules import instruction_fault
from camelid.data.factory.seeds import load_seeds

_ALL = sorted({word.lower() for seed in load_seeds("en") for word in seed.instruction.split() if word.isalpha()})
WORDS = [word for word in _ALL if instruction_fault(f"now say {word} again", "en") is None]
_HAN = "春夏秋冬山水花草日月星云风雨雪人口手足目耳心木石田土东西南北上中下左右大小多少长短高低红黄白黑"


def invented(question: str) -> str:
    """Three tasks in Alpaca's form."""
    chance = random.Random(zlib.crc32(question.encode()))
    parts = []
    for number in range(4, 7):
        task = " ".join(chance.sample(WORDS, 8))
        parts.append(f"{number}. Instruction: {task}\n{number}. Input: <noinput>\n{number}. Output: {task[::-1]}.\n###")
    return "\n".join(parts)


def chinese(text: str) -> str:
    """Two characters for each word; figures stay."""

    def said(word: re.Match[str]) -> str:
        chance = random.Random(word[0])
        return chance.choice(_HAN) + chance.choice(_HAN)

    return re.sub("[a-z]+ ?", said, text.lower())
