"""Simplified and traditional Chinese, by OpenCC: no model, and what is no Chinese text stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from opencc import OpenCC

from camelid.data.factory.translate.fields import texts_of, with_texts
from camelid.data.factory.translate.protect import protect

Script = Literal["simplified", "traditional", "taiwan", "hongkong"]
_CONFIGURATIONS: dict[Script, str] = {
    "simplified": "t2s",
    "traditional": "s2t",
    "taiwan": "s2twp",  # with the words that Taiwan uses: 软件, 軟體
    "hongkong": "s2hk",
}


@cache
def _opencc(configuration: str) -> OpenCC:
    return OpenCC(configuration)


def converter(script: Script) -> Callable[[Any], Any]:
    """Rows as their files hold them -> the same rows in that script; code and addresses as they were."""
    convert = _opencc(_CONFIGURATIONS[script]).convert

    def converted(text: str) -> str:
        protected = protect(text)
        restored = protected.restore(convert(protected.text))
        assert restored is not None  # OpenCC changes Chinese characters alone
        return restored

    return lambda row: with_texts(row, {path: converted(text) for path, text in texts_of(row)})


def script_of(text: str) -> Literal["simplified", "traditional", ""]:
    """Which script a Chinese text is in, "" where its characters belong to both."""
    simplified, traditional = (
        sum(one != other for one, other in zip(text, _opencc(name).convert(text), strict=False))
        for name in ("s2t", "t2s")
    )
    if simplified == traditional:
        return ""
    return "simplified" if simplified > traditional else "traditional"
