"""Makes assets/general/heldout_{en,zh}.txt from the Wikipedia passages in the shared data.

    .venv/bin/python benchmarks/make_heldout_text.py ../shared/data

The articles are named here so that whoever trains on the same files can leave them out. One passage a line:
the beginning of an article up to a sentence end, its line breaks made spaces.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "src" / "camelid" / "assets" / "general"
ARTICLES = {
    "en": (
        "Star Carr Pendant", "Asclepias hirtella", "Road barrier effect", "Bieberite", "Constant routine protocol",
        "Osseo Water Tower", "Weymouth Guildhall", "Creative journalism", "Icelandic Forest Service", "Tilquin",
        "Boeddeker Park", "Museum of Spirits", "Ecoauthoritarianism", "SB Pudge",
    ),
    "zh": (
        "巴厘字母", "艾娜月坑", "波斯神话", "斐济短冠鬣蜥", "时令之环", "偏最小二乘回归", "布基纳法索地理", "守门天",
        "次超级计算机", "阿特拉斯陨石坑", "细面条 (意大利)", "福特制", "弱符号", "北斗大桥", "亮甲山水库",
    ),
}  # fmt: skip
LENGTH = {"en": 1100, "zh": 400}  # characters of a passage at most
SENTENCE_END = {"en": re.compile(r"[.!?](?= |$)"), "zh": re.compile(r"[。！？]")}


def passage(text: str, language: str) -> str:
    """The beginning of a text, up to the last sentence end within the length."""
    text = re.sub(r"\s+", " ", text)[: LENGTH[language]]
    ends = [match.end() for match in SENTENCE_END[language].finditer(text)]
    return text[: ends[-1]]


def main() -> None:
    shared = Path(sys.argv[1])
    for language, titles in ARTICLES.items():
        lines = (shared / "pretrain" / f"wiki_{language}.jsonl").read_text("utf-8").splitlines()
        texts = {row["title"]: row["text"] for row in map(json.loads, lines)}
        body = "".join(passage(texts[title], language) + "\n" for title in titles)
        file = ASSETS / f"heldout_{language}.txt"
        file.write_text(body, "utf-8")
        print(f"{file.name}: {len(titles)} passages, {len(body.encode()):,} bytes")


if __name__ == "__main__":
    main()
