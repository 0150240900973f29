"""HTML to Markdown, code byte by byte: what a chat page shows becomes what its model wrote.

A page's own furniture (buttons, icons, scripts) is left out. Code blocks go to the left margin, in lists too, so that
no byte of theirs is changed by an indentation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from camelid.data.factory.clean.elements import Element, parse
from camelid.data.factory.clean.markdown import LANGUAGES, fence, span
from camelid.data.factory.clean.tags import BLOCKS, known_tags, names

_FURNITURE = names(
    "audio button canvas embed head iframe map meta noscript object picture select style script svg template textarea"
    " title video"
)
_HIDDEN_CLASSES = frozenset(("sr-only", "katex-html", "MathJax_Preview"))
_AS_TYPED = frozenset(("whitespace-pre-wrap",))  # what a user typed, line by line
_MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*", "cite": "*", "del": "~~", "strike": "~~"}
_CODE_NAMES = frozenset(("code", "kbd", "samp", "tt"))
_LANGUAGE = re.compile(r"(?:language|lang|highlight-source|brush:?)-?\s*([\w+#.-]+)")
_NAME_OF_LANGUAGE = re.compile(r"[a-zA-Z][\w+#.-]{0,19}")
_SPACE = re.compile(r"[ \t\r\n\f]+")
_PLACE = re.compile(r"\x00(\d+)\x00")
_BLOCK_PLACE = re.compile(r"^[ >]*\x00(\d+)\x00$", re.MULTILINE)


def to_markdown(html: str, kept: Sequence[str] = ()) -> str:
    """The text of a page. kept: what stands in it as \\0number\\0 is put back as it is."""
    return _Writer(kept).write(parse(html))


class _Writer:
    """Code is kept aside while the text around it is laid out; NUL, which no text holds, marks its place."""

    def __init__(self, kept: Sequence[str]) -> None:
        self._kept = list(kept)
        self._ended_line = False

    def write(self, root: Element) -> str:
        """Text that stands in no element keeps its lines: it was Markdown already."""
        text = ""
        behind_block = False
        for child in root.children:
            if isinstance(child, str) or not _is_block(child):
                piece = self._literal(child) if isinstance(child, str) else self._phrase(child, frozenset())
                if behind_block:
                    piece = piece.lstrip()
                if text.endswith("\n") and isinstance(child, str):  # <br> at the end of a line is one line break
                    piece = re.sub(r"^[ \t\r]*\n", "", piece) if self._ended_line else piece
                self._ended_line = not isinstance(child, str) and child.name == "br"
                if piece:
                    text += ("\n\n" if behind_block else "") + piece
                    behind_block = False
                continue
            blocks = self._block(child)
            if blocks:
                text = f"{text.rstrip()}\n\n" if text.strip() else ""
                text += "\n\n".join(blocks)
                behind_block = True
        text = _BLOCK_PLACE.sub(lambda match: self._kept[int(match[1])].rstrip("\n"), text)
        return _PLACE.sub(lambda match: self._kept[int(match[1])], text)

    def _keep(self, code: str) -> str:
        self._kept.append(code)
        return f"\x00{len(self._kept) - 1}\x00"

    # -- blocks ------------------------------------------------------------------------------------------------------

    def _blocks(self, element: Element) -> list[str]:
        """Its content as blocks, each without blank lines around it."""
        found: list[str] = []
        run: list[Element | str] = []

        def flush() -> None:
            text = _trimmed(self._inline(run))
            run.clear()
            found.extend(self._parted(text))

        for child in element.children:
            if isinstance(child, str) or not _is_block(child):
                run.append(child)
                continue
            flush()
            found += self._block(child)
        flush()
        return found

    def _parted(self, text: str) -> list[str]:
        """A paragraph around the code blocks that were kept in it."""
        parts, done = [], 0
        for match in _PLACE.finditer(text):
            if self._kept[int(match[1])].endswith("\n"):
                parts += [text[done : match.start()].strip(), match[0]]
                done = match.end()
        return [part for part in (*parts, text[done:].strip()) if part]

    def _block(self, element: Element) -> list[str]:
        name = element.name
        if _is_hidden(element):
            return []
        if name == "pre" or element.is_code:
            return self._code_block(element)
        if name in ("h1", "h2", "h3", "h4", "h5", "h6"):
            title = " ".join(self._inline(element.children).split())
            return [f"{'#' * int(name[1])} {title}"] if title else []
        if name in ("ul", "ol", "menu"):
            return self._list(element)
        if name == "blockquote":
            return self._quote(element)
        if name == "table":
            return self._table(element)
        if name == "hr":
            return ["---"]
        if not element.blocks and not _AS_TYPED.isdisjoint(_classes(element)):
            typed = element.text().strip("\n")
            return [self._keep(typed)] if typed.strip() else []
        return self._blocks(element)

    def _code_block(self, pre: Element) -> list[str]:
        code = pre if pre.is_code else (pre.find("code") or pre)
        text = code.text()
        if not text.strip():
            return []
        return [self._keep(fence(text, _language(pre, code)))]

    def _list(self, element: Element) -> list[str]:
        """One block: items line by line, or apart where one of them has several paragraphs."""
        items: list[str] = []
        loose = False
        number = _number(element.tag.attribute("start") if element.tag else None)
        for child in element.children:
            if isinstance(child, str):
                if child.strip():
                    items.append(_trimmed(self._inline([child])))
                continue
            if _is_hidden(child):
                continue
            if child.name != "li":
                # a list in a list, without the item around it that it should have
                blocks = self._block(child) if child.name in BLOCKS else [_trimmed(self._inline([child]))]
                items += [_indented(block, "  ") for block in blocks if block]
                continue
            marker = f"{number}. " if element.name == "ol" else "- "
            number += 1
            blocks = self._blocks(child)
            if blocks and _begins_with_list(child):
                blocks = ["", *blocks]
            loose = loose or sum(not _is_list(block) for block in blocks) > 1
            items.append(_item(marker, blocks))
        return ["\n\n".join(items) if loose else "\n".join(items)] if items else []

    def _quote(self, element: Element) -> list[str]:
        """Code in a quotation ends the quotation, for its lines stay as they are."""
        found: list[str] = []
        for block in self._blocks(element):
            quoted = block if _PLACE.fullmatch(block) else "\n".join(f"> {line}".rstrip() for line in block.split("\n"))
            joined = found and found[-1].startswith(">") and quoted.startswith(">")
            if joined:
                found[-1] += f"\n>\n{quoted}"
            else:
                found.append(quoted)
        return found

    def _table(self, element: Element) -> list[str]:
        rows = _rows(element)
        if element.find("pre") or max((len(row) for row in rows), default=0) < 2:
            # laid out by a table, or code with numbers beside its lines
            return [block for row in rows for cell in row for block in self._blocks(cell)]
        lines = []
        for row in rows:
            cells = [self._cell(cell) for cell in row]
            cells += [""] * (max(len(row) for row in rows) - len(cells))
            lines.append("| " + " | ".join(cells) + " |")
        lines.insert(1, "| " + " | ".join(["---"] * max(len(row) for row in rows)) + " |")
        return ["\n".join(lines)]

    def _cell(self, cell: Element) -> str:
        text = " ".join(" ".join(self._blocks(cell)).split()) if cell.blocks else self._inline(cell.children)
        text = _PLACE.sub(lambda match: self._keep(self._kept[int(match[1])].replace("|", r"\|")), text)
        return _SPACE.sub(" ", text).strip().replace("|", r"\|")

    # -- within a line -----------------------------------------------------------------------------------------------

    def _inline(self, children: Sequence[Element | str], within: frozenset[str] = frozenset()) -> str:
        """within: the marks that are open already; one in itself means nothing."""
        return "".join(
            self._literal(_SPACE.sub(" ", child)) if isinstance(child, str) else self._phrase(child, within)
            for child in children
        )

    def _phrase(self, element: Element, within: frozenset[str]) -> str:
        name = element.name
        if _is_hidden(element):
            return ""
        if name == "br":
            return "\n"
        if name == "img":
            return self._image(element)
        if name == "input":
            return _tick(element)
        if name in _CODE_NAMES:
            code = element.text()
            return self._keep(span(code)) if code.strip() else code
        if "katex" in _classes(element) and (formula := _formula(element)):
            return self._keep(f"${formula}$")
        if "katex-display" in _classes(element) and (formula := _formula(element)):
            return self._keep(f"$${formula}$$")
        mark = _MARKS.get(name, "")
        inner = self._inline(element.children, within | {mark})
        if name == "a":
            return self._link(element, inner)
        if name == "q":
            return f'"{inner}"'
        if not mark or mark in within or not inner.strip():
            return inner
        before, after = inner[: len(inner) - len(inner.lstrip())], inner[len(inner.rstrip()) :]
        return f"{before}{mark}{inner.strip()}{mark}{after}"

    def _literal(self, text: str) -> str:
        """Text that spells a tag is code, or the tag would be one in Markdown."""
        if "<" not in text:
            return text
        parts, done = [], 0
        for tag in known_tags(text):
            if tag.begin < done:
                continue
            end = tag.end
            if tag.kind == "open":  # <b>bold</b> is one piece of code
                close = re.compile(rf"[^\n`]{{0,80}}?</{re.escape(tag.name)}>", re.IGNORECASE).match(text, end)
                end = close.end() if close else end
            parts += [text[done : tag.begin], self._keep(span(text[tag.begin : end]))]
            done = end
        return "".join([*parts, text[done:]])

    def _link(self, element: Element, inner: str) -> str:
        target = (element.tag.attribute("href") if element.tag else None) or ""
        words = " ".join(inner.split())
        if not re.match(r"(?:https?|ftp|mailto):", target, re.IGNORECASE) or not words:
            return inner
        if words in (target, target.removeprefix("mailto:")):
            return words
        return f"[{words}]({_address(target)})"

    def _image(self, element: Element) -> str:
        source = (element.tag.attribute("src") if element.tag else None) or ""
        words = ((element.tag.attribute("alt") if element.tag else None) or "").replace("\n", " ")
        return f"![{words}]({_address(source)})" if re.match("https?:", source, re.IGNORECASE) else ""


def _classes(element: Element) -> list[str]:
    return element.tag.classes if element.tag else []


def _is_hidden(element: Element) -> bool:
    return element.name in _FURNITURE or not _HIDDEN_CLASSES.isdisjoint(_classes(element))


def _is_block(element: Element) -> bool:
    if element.name in BLOCKS or element.blocks:
        return True
    return element.is_code and "\n" in element.text().strip("\n")


def _is_list(block: str) -> bool:
    return re.match(r"(?:-|\d+\.) ", block) is not None


def _begins_with_list(item: Element) -> bool:
    first = next((child for child in item.children if not isinstance(child, str) or child.strip()), None)
    return isinstance(first, Element) and first.name in ("ul", "ol")


def _rows(table: Element) -> list[list[Element]]:
    found: list[list[Element]] = []
    for child in table.children:
        if not isinstance(child, Element):
            continue
        if child.name == "tr":
            cells = [cell for cell in child.children if isinstance(cell, Element) and cell.name in ("td", "th")]
            found += [cells] if cells else []
        elif child.name in ("thead", "tbody", "tfoot"):
            found += _rows(child)
    return found


def _language(pre: Element, code: Element) -> str:
    """By a class of the code's, or by what stands over it."""
    for element in (code, pre):
        for name in _classes(element):
            if name in LANGUAGES:
                return name
            if match := _LANGUAGE.fullmatch(name):
                return match[1]
    label = "" if code is pre else _over(pre, code).strip()
    return label.lower() if _NAME_OF_LANGUAGE.fullmatch(label) else ""


def _over(element: Element, code: Element) -> str:
    """The text in an element but not in its code or its buttons."""
    parts = []
    for child in element.children:
        if isinstance(child, str):
            parts.append(child)
        elif child is not code and not _is_hidden(child):
            parts.append(_over(child, code))
    return "".join(parts)


def _formula(element: Element) -> str:
    source = element.find("annotation")
    return source.text().strip() if source else ""


def _tick(element: Element) -> str:
    if element.tag is None or element.tag.attribute("type") != "checkbox":
        return ""
    return "[ ] " if element.tag.attribute("checked") is None else "[x] "


def _number(value: str | None) -> int:
    return int(value) if value and re.fullmatch(r"\d{1,9}", value) else 1


def _address(address: str) -> str:
    return address.strip().replace(" ", "%20").replace("\n", "").replace("(", "%28").replace(")", "%29")


def _trimmed(text: str) -> str:
    return re.sub(" {2,}", " ", re.sub(r" *\n *", "\n", text)).strip()


def _indented(text: str, pad: str) -> str:
    return "\n".join(f"{pad}{line}" if line else line for line in text.split("\n"))


def _item(marker: str, blocks: Sequence[str]) -> str:
    """An item of a list: what follows its first block is set under it, lists at once and others apart."""
    first, *rest = blocks or [""]
    text = marker + _indented(first, " " * len(marker)).lstrip()
    for block in rest:
        text += ("\n" if _is_list(block) else "\n\n") + _indented(block, " " * len(marker))
    return text.rstrip()
