"""HTML as a tree, read as leniently as browsers read it: end tags may be missing, and stray ones mean nothing.

In code, only what highlighters put there is a tag; anything else was written by whoever wrote the code, unescaped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape

from camelid.data.factory.clean.tags import BLOCKS, VOID, Tag, is_known, tags

_RAW = frozenset(("script", "style"))  # their content is no HTML
# An end tag that may be missing: an element, what ends it, and how far up it is looked for.
_ENDED_BY: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "li": (frozenset(("li",)), frozenset(("ul", "ol", "menu"))),
    "dt": (frozenset(("dt", "dd")), frozenset(("dl",))),
    "dd": (frozenset(("dt", "dd")), frozenset(("dl",))),
    "td": (frozenset(("td", "th")), frozenset(("tr", "table"))),
    "th": (frozenset(("td", "th")), frozenset(("tr", "table"))),
    "tr": (frozenset(("tr",)), frozenset(("table",))),
    "option": (frozenset(("option",)), frozenset(("select",))),
}
_HIGHLIGHT = frozenset(("span", "b", "i", "em", "strong", "a", "mark", "font", "u", "ins", "del", "br", "code"))
_LINE = frozenset(("div", "li", "ol", "ul", "p", "table", "tbody", "tr", "td"))
_LINE_CLASS = re.compile(r"line|hljs|code|gutter|token|view|number|\bL\d|\bcl\b|blob", re.IGNORECASE)
_DEPTH = 100  # elements in elements; deeper ones count as their parent's


@dataclass(slots=True)
class Element:
    """children: elements, and text with its entities resolved; blocks: whether a block is among its descendants;
    is_code: what is in it is code, letter by letter"""

    name: str
    tag: Tag | None = None
    children: list[Element | str] = field(default_factory=list)
    blocks: bool = False
    is_code: bool = False

    def text(self) -> str:
        """All text in it, line breaks where lines are elements of their own."""
        parts: list[str] = []
        for i, child in enumerate(self.children):
            if isinstance(child, str):
                parts.append(child)
                continue
            parts.append("\n" if child.name == "br" else child.text())
            ends_line = child.name in ("div", "li", "p", "tr") and i < len(self.children) - 1
            if ends_line and not (parts[-1] or "\n").endswith("\n"):
                parts.append("\n")
        return "".join(parts)

    def find(self, name: str) -> Element | None:
        """The first descendant of that name."""
        for child in self.children:
            if isinstance(child, Element):
                found = child if child.name == name else child.find(name)
                if found is not None:
                    return found
        return None


def parse(html: str) -> Element:
    """The tree of a text."""
    return _Builder(html).root


class _Builder:
    def __init__(self, html: str) -> None:
        self._html = html
        self.root = Element("")
        self._open = [self.root]
        self._code = 0  # open elements that hold code
        done = 0
        stream = tags(html)
        while tag := next(stream, None):
            if not self._is_tag(tag):
                continue  # stays text
            self._text(html[done : tag.begin])
            done = tag.end
            if tag.kind == "close":
                self._end(tag.name)
            elif tag.kind == "open" and (done := self._begin(tag)) > tag.end:
                stream = tags(html, done)
        self._text(html[done:])

    def _is_tag(self, tag: Tag) -> bool:
        """Whether it is markup; else it is text."""
        if not self._code:
            return tag.kind == "remark" or is_known(tag) or "-" in tag.name or self._within("svg", "math")
        if tag.kind == "remark":
            return False
        if tag.kind == "close":
            return self._opened(tag.name) is not None
        if tag.name in _HIGHLIGHT:
            return tag.name != "a" or tag.attribute("href") is not None or bool(tag.classes)
        return tag.name in _LINE and bool(_LINE_CLASS.search(tag.attribute("class") or ""))

    def _within(self, *names: str) -> bool:
        return any(element.name in names for element in self._open)

    def _text(self, text: str) -> None:
        if text:
            self._open[-1].children.append(unescape(text) if "&" in text else text)

    def _begin(self, tag: Tag) -> int:
        """Returns where reading goes on."""
        if tag.name in _RAW and not self._code:
            end = re.compile(rf"</{tag.name}\s*>", re.IGNORECASE).search(self._html, tag.end)
            return end.end() if end else len(self._html)
        if not self._code:
            self._close_missing(tag.name)
        element = Element(tag.name, tag)
        self._open[-1].children.append(element)
        if tag.name in BLOCKS:
            for parent in self._open:
                parent.blocks = True
        if tag.name in VOID or tag.empty or len(self._open) >= _DEPTH:
            return tag.end
        self._open.append(element)
        if tag.name == "code" or (tag.name == "pre" and not self._code_follows(tag)):
            element.is_code = True
            self._code += 1
            # as browsers do: the line break that a pre begins with is not its text
            if tag.name == "pre" and self._html.startswith("\n", tag.end):
                return tag.end + 1
        return tag.end

    def _code_follows(self, pre: Tag) -> bool:
        """Whether a code element stands in it, so that what stands around that one is no code."""
        inner = next((tag for tag in tags(self._html, pre.end) if tag.name in ("code", "pre")), None)
        return inner is not None and inner.kind == "open" and inner.name == "code"

    def _close_missing(self, name: str) -> None:
        if name in BLOCKS and name != "li" and self._open[-1].name == "p":
            self._pop(len(self._open) - 1)
        if name not in _ENDED_BY:
            return
        ended, limits = _ENDED_BY[name]
        for i in range(len(self._open) - 1, 0, -1):
            if self._open[i].name in limits:
                return
            if self._open[i].name in ended:
                self._pop(i)
                return

    def _end(self, name: str) -> None:
        opened = self._opened(name)
        if opened is not None:
            self._pop(opened)

    def _opened(self, name: str) -> int | None:
        """The place of the open element that an end tag of that name ends; code hides what is around it."""
        for i in range(len(self._open) - 1, 0, -1):
            if self._open[i].name == name:
                return i
            if self._open[i].is_code and name != "pre":
                return None
        return None

    def _pop(self, begin: int) -> None:
        self._code -= sum(element.is_code for element in self._open[begin:])
        del self._open[begin:]
