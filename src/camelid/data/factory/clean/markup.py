"""Messages without HTML: pages become Markdown, source that stands bare becomes a code block, talk stays as it is.

FastChat's cleaning strips every <div> it finds, programs' included. Whether markup was meant to be seen as layout is
told here by its tags, by who wrote the message and by what it is about; where that leaves a doubt it is source, and
not a character of it is changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from html import unescape

from camelid.data.factory.clean.html import to_markdown
from camelid.data.factory.clean.markdown import Segment, fence, outside_code, prose_of, segments
from camelid.data.factory.clean.noise import BUTTON, COPY
from camelid.data.factory.clean.tags import BLOCKS, OWN, VOID, Tag, known_tags, names

CONVERTED = "HTML written as Markdown"
RESOLVED = "entities of HTML resolved"
BROKEN = "<br> written as a line break"
FENCED = "bare markup put into a code block"

# Classes that only a page's own rendering has; and those that a page's messages have around them.
_RENDERED = frozenset(("hljs", "katex", "markdown-body"))
_AROUND = frozenset(("break-words", "whitespace-pre-wrap", "message-content"))
_ABOUT = re.compile(
    r"\b(?:html5?|xhtml|xml|css|svg|jsx|tsx|php|asp|dom|react|vue|angular|svelte|jquery|javascript|bootstrap|tailwind"
    r"|markup|tags?|elements?|attributes?|web ?(?:page|site)s?|front-?end|snippet|code|script|template|regex|parse[rd]?"
    r"|entit(?:y|ies)|escap(?:e[ds]?|ing)|scrap(?:e[rd]?|ing))\b"
    r"|标签|标记|元素|属性|网页|网站|前端|代码|页面|脚本|转义|爬虫|源码|実装|タグ|要素",
    re.IGNORECASE,
)
# What speaks of escaping may show what is escaped.
_ABOUT_ESCAPING = re.compile(
    r"\b(?:html5?|xhtml|xml|entit(?:y|ies)|(?:un)?escap(?:e[ds]?|ing)|(?:en|de)cod(?:e[ds]?|ing)|special characters?)\b"
    r"|转义|实体|编码|解码|特殊字符|エスケープ",
    re.IGNORECASE,
)
# By these a text is known to be escaped; then all are resolved that end as they should: `?a=1&copy=2` is an address.
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|[lr][sd]quo|[mn]dash|hellip|#0?39|#x27|#160);")
_ANY_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
_PROGRAM = re.compile(r"\{\{|\{%|<\?|<%|\bclassName=|\bon[a-zA-Z]+=|\bv-[a-z]+=|=\{")
_BREAK = re.compile(r"(?<![ \t])[ \t]*+<(?:br|BR)\s*+/?>(?:[ \t]*+\r?\n)?")
_BREAK_IN_ROW = re.compile(r"(?<!\s)\s*+(?:<(?:br|BR)\s*+/?>\s*+)+")
_ITEM = re.compile(r"[-*•·] |\d+[.)、]\s")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_OPTIONAL = names("p li dt dd td th tr thead tbody tfoot option")
_HARMLESS = names("href src alt title target rel start class style align width height border colspan dir")
_ATTRIBUTE_NAME = re.compile(r"""\s([a-zA-Z_:@][^\s"'<>/=]*)""")
# Lines of a program as no sentence is written: how they begin, or how they end.
_CODE_LINE = re.compile(
    r"[{})\]]|//|/\*|\*/|\$\(|#include\b|(?:var|let|const|function|return|import|export|if|for|while|else|def|class"
    r"|public|private|echo|print)\b[\w\s$.]*[=({'\"]|.*[{};(\[`]$|[\w'\"$]+ ?: .*,$"
)
_INDENTED = re.compile(r"^[ \t]+</?[a-zA-Z]", re.MULTILINE)
_PRE = re.compile(r"\s*<pre\b(?!.*</pre>)")
_COPY_BUTTON = re.compile(rf"\s*(?:{COPY}|Cop(?:y|ied)!?|复制|複製|コピーする)\s*")
_HAN = re.compile("[㐀-䶿一-鿿]")
_WORDS_IN_BLOCK = 6
_GAP, _FAR = 3, 200  # lines


def without_html(text: str, *, answer: bool, asked: str = "") -> tuple[str, list[str]]:
    """(the text, the rules that changed it). answer: the assistant wrote it; asked: the question before it."""
    if "<" not in text and "&" not in text:
        return text, []
    text = text.replace("\x00", "")
    found = list(known_tags(text))
    changes: list[str] = []
    if not found and _ENTITY.search(prose_of(text)) and not _ABOUT_ESCAPING.search(text):
        text = outside_code(text, _resolved)
        found, changes = list(known_tags(text)), [*changes, RESOLVED]
    if not found:
        return text, changes
    whole = found[0].begin == len(text) - len(text.lstrip())
    if (answer or whole) and any(_is_captured(tag, whole=whole) for tag in found if tag.kind == "open"):
        masked, kept = (text, []) if whole else _masked(_parts(text))
        return _settled(to_markdown(masked, kept)), [*changes, CONVERTED]
    text, buttons = _without_copy_buttons(text, asked)
    changes += buttons
    about = _is_about(text, asked)
    text, broken = _rows_broken(text, about=about)
    parts = _parts(text)
    bare = _bare(parts)
    found = list(known_tags(bare))
    if not found:
        return text, changes + broken
    if _is_page(bare, found, answer=answer, about=about):
        masked, kept = _masked(parts)
        return _settled(to_markdown(masked, kept)), [*changes, CONVERTED]
    text, loosened = _loose(text, about=about)
    return text, list(dict.fromkeys(changes + broken + loosened))


def _without_copy_buttons(text: str, asked: str) -> tuple[str, list[str]]:
    """A page's own buttons, in a text with blocks of code or one that is not about markup; in code they are code."""
    if "<button" not in text.lower():
        return text, []
    found = [tag for tag in known_tags(_bare(_parts(text))) if tag.kind != "remark"]
    parts, done, code = [], 0, 0  # code: where the code ends that a tag was found to open
    for i, tag in enumerate(found):
        if tag.begin < max(done, code) or tag.kind != "open":
            continue
        if tag.name == "code" or (tag.name == "pre" and not _code_within(found[i + 1 :])):
            code = next(
                (other.end for other in found[i + 1 :] if (other.kind, other.name) == ("close", tag.name)), len(text)
            )
        elif tag.name == "button" and not _PROGRAM.search(tag.attributes):
            close = next((other for other in found[i + 1 :] if other.name == "button"), None)
            if close and close.kind == "close" and _COPY_BUTTON.fullmatch(_without_tags(text[tag.end : close.begin])):
                parts.append(text[done : tag.begin])
                done = close.end
    without = "".join([*parts, text[done:]])
    if not done or (not any((tag.kind, tag.name) == ("close", "pre") for tag in found) and _is_about(without, asked)):
        return text, []
    return without, [BUTTON]


def _is_about(text: str, asked: str) -> bool:
    """Whether a text on markup or programs, or an answer to one: there, tags may be shown as they are."""
    return any(_ABOUT.search(words) for words in (_without_tags(prose_of(text)), asked))


def _code_within(behind: Sequence[Tag]) -> bool:
    """Whether a code element stands in a pre. behind: the tags behind its own"""
    inner = next((tag for tag in behind if tag.name in ("code", "pre")), None)
    return inner is not None and (inner.kind, inner.name) == ("open", "code")


def _is_captured(tag: Tag, *, whole: bool) -> bool:
    classes = set(tag.classes)
    return classes >= {"markdown", "prose"} or bool(classes & _RENDERED) or (whole and bool(classes & _AROUND))


def tags_left(text: str) -> int:
    """How many tags of HTML a text still spells outside its code."""
    if "<" not in text:
        return 0
    return sum(1 for part in segments(text) if part.kind == "prose" for _ in known_tags(part.text))


def _settled(text: str) -> str:
    return _loose(text, about=True)[0].strip()


def _resolved(prose: str) -> str:
    return _ANY_ENTITY.sub(lambda match: unescape(match[0]), prose) if _ENTITY.search(prose) else prose


def _without_tags(text: str) -> str:
    parts, done = [], 0
    for tag in known_tags(text):
        parts.append(text[done : tag.begin])
        done = tag.end
    return " ".join([*parts, text[done:]])


def _parts(text: str) -> list[Segment]:
    """The segments of a text in which ticks within elements of code are no Markdown."""
    found, begin = [], 0
    for part in segments(_blotted(text, lambda element: True)):
        found.append(Segment(part.kind, text[begin : begin + len(part.text)]))
        begin += len(part.text)
    return found


def _blotted(text: str, which: Callable[[str], bool]) -> str:
    """A text with the contents of some of its pre and code elements blotted out. which: is given all of one"""
    kept, done = [], 0
    closed = {"pre", "code"}  # those of which an end may follow
    for tag in known_tags(text):
        if tag.kind != "open" or tag.name not in closed or tag.begin < done:
            continue
        end = text.find(f"</{tag.name}>", tag.end)
        if end < 0:
            closed.remove(tag.name)
        elif which(text[tag.begin : end]):
            kept += [text[done : tag.end], re.sub(r"[^\n]", "x", text[tag.end : end])]
            done = end
    return "".join([*kept, text[done:]])


def _is_rendered(element: str) -> bool:
    """Whether a pre or code element is one that a page shows: of its source, `<pre>{{ x }}</pre>`, that is in doubt."""
    return "<code" in element.lower() or _ENTITY.search(element) is not None


def _masked(parts: Iterable[Segment]) -> tuple[str, list[str]]:
    text, kept = [], []
    for part in parts:
        if part.kind == "prose":
            text.append(part.text)
            continue
        text.append(f"\x00{len(kept)}\x00")
        kept.append(part.text)
        if part.kind == "fence" and not part.text.endswith("\n"):
            kept[-1] += "\n"
    return "".join(text), kept


def _is_page(text: str, found: Sequence[Tag], *, answer: bool, about: bool) -> bool:
    """Whether its tags lay it out. text: code blotted out"""
    own = {tag.name for tag in found if tag.kind != "remark"}
    doctype = any(tag.kind == "remark" and text[tag.begin + 2] != "-" for tag in found)
    if doctype or not own - {"br"} or _PROGRAM.search(_blotted(text, _is_rendered)):
        return False
    whole = not text[: found[0].begin].strip(" \n\t\r0123456789/") and found[0].kind == "open"
    # code within a page is escaped, and source that is shown has none
    with_code = "pre" in own and _balanced(found) and not own & OWN
    indented = len(_INDENTED.findall(text)) > 1
    if whole and answer:
        if about:
            return with_code or (not indented and bool(own & {"p", "li"}) and _is_wordy(text, found))
        return not own & OWN or bool(own & {"p", "li"})
    if answer and with_code:
        return True
    if own & OWN or about or indented or not _balanced(found):
        return False
    if not all(_is_harmless(tag, answer=answer) for tag in found):
        return False
    return all(_begins_line(text, tag) for tag in found if tag.name in BLOCKS and tag.kind == "open")


def _is_wordy(text: str, found: Sequence[Tag]) -> bool:
    """Whether its elements hold sentences, as those of an answer do; examples hold a word or two."""
    blocks = sum(tag.kind == "open" and tag.name in BLOCKS for tag in found)
    words = _without_tags(text)
    return len(words.split()) + len(_HAN.findall(words)) / 2 >= _WORDS_IN_BLOCK * blocks


def _is_harmless(tag: Tag, *, answer: bool) -> bool:
    """Whether it is a tag as editors write them; with a class of its own it is from somebody's source."""
    found = {name.lower() for name in _ATTRIBUTE_NAME.findall(_QUOTED.sub("", tag.attributes))}
    return found <= _HARMLESS and (answer or tag.name in ("p", "span", "font") or found.isdisjoint(("class", "style")))


def _begins_line(text: str, tag: Tag) -> bool:
    """Or a sentence: what stands within one is spoken of."""
    before = text[: tag.begin].rstrip(" \t")
    return before[-1:] in "\n>:.!?。：！？\x00"


def _balanced(found: Sequence[Tag]) -> bool:
    """Every end tag has its beginning, and every beginning that needs one its end."""
    opened: list[str] = []
    for tag in found:
        if tag.kind == "open" and tag.name not in VOID and not tag.empty:
            opened.append(tag.name)
        elif tag.kind == "close":
            while opened and opened[-1] != tag.name and opened[-1] in _OPTIONAL:
                opened.pop()
            if not opened or opened.pop() != tag.name:
                return False
    return all(name in _OPTIONAL for name in opened)


def _loose(text: str, *, about: bool) -> tuple[str, list[str]]:
    """Line breaks resolved, lines of markup put into code blocks; tags within a sentence stay."""
    changes = []
    if not about:
        broken = outside_code(text, lambda prose: _BREAK.sub("\n", prose) if "<" in prose else prose)
        changes += [BROKEN] if broken != text else []
        text = broken
    fenced = _fenced(_with_bare(text))
    return fenced, changes + ([FENCED] if fenced != text else [])


def _rows_broken(text: str, *, about: bool) -> tuple[str, list[str]]:
    """A row of a Markdown table has one line, whatever the table is about."""

    def parted(found: re.Match[str]) -> str:
        before, after = found.string[: found.start()].rstrip(), found.string[found.end() :].lstrip()
        if about and before.endswith("|") and after.startswith("|"):
            return found[0]  # a table of tags
        if not before or not after or after[0] == "|" or before[-1] in "|.,;:!?。，；：！？" or _ITEM.match(after):
            return " "
        return "; "

    lines = [
        outside_code(line, lambda prose: _BREAK_IN_ROW.sub(parted, prose)) if bare.lstrip().startswith("|") else line
        for line, bare in (_with_bare(text) if "|" in text else ())
    ]
    broken = "\n".join(lines) if lines else text
    return broken, [BROKEN] if broken != text else []


def _bare(parts: Iterable[Segment]) -> str:
    """A text whose code is blotted out, spans with another character than fences."""
    return "".join(
        part.text if part.kind == "prose" else re.sub(r"[^\n]", "\x00" if part.kind == "fence" else "\x01", part.text)
        for part in parts
    )


def _with_bare(text: str) -> list[tuple[str, str]]:
    """The lines of a text, each as it is and with its code blotted out."""
    return list(zip(text.split("\n"), _bare(segments(text)).split("\n"), strict=True))


def _fenced(lines: Sequence[tuple[str, str]]) -> str:
    marked = [_is_markup(bare) or _opens_pre(lines, i) for i, (_, bare) in enumerate(lines)]
    if not any(marked):
        return "\n".join(line for line, _ in lines)
    result: list[str] = []
    i = 0
    while i < len(lines):
        begin, opened = i, list[str]()
        while i < len(lines):
            end = _extent(lines, marked, i, begin)
            if end == i and (end := _closing_line(lines, i, opened)) == i:
                break
            for _, bare in lines[i:end]:
                _follow(opened, bare)
            i = end
        if i > begin and any(marked[begin:i]):
            while not lines[i - 1][0].strip():
                i -= 1
            code = "\n".join(line for line, _ in lines[begin:i])
            is_html = lines[begin][0].lstrip().startswith("<") and code.rstrip().endswith(">")
            result.append(fence(code, "html" if is_html else ""))
        else:
            i = max(i, begin + 1)
            result += [line for line, _ in lines[begin:i]]
    return "\n".join(result)


def _opens_pre(lines: Sequence[tuple[str, str]], i: int) -> bool:
    """Whether a line begins with a pre that ends in a line behind it."""
    if not _PRE.match(lines[i][1]):
        return False
    tag = next(known_tags(lines[i][1].lstrip()), None)
    return tag is not None and tag.begin == 0 and _closing_line(lines, i + 1, ["pre"]) > i + 1


def _follow(opened: list[str], bare: str) -> None:
    """Keep track of the elements that are open behind a line."""
    if "<" not in bare:
        return
    for tag in known_tags(bare):
        if tag.kind == "open" and tag.name not in VOID and tag.name not in _OPTIONAL and not tag.empty:
            opened.append(tag.name)
        elif tag.kind == "close" and tag.name in opened:
            opened.remove(tag.name)


def _closing_line(lines: Sequence[tuple[str, str]], begin: int, opened: Sequence[str]) -> int:
    """Behind the line that closes what a stretch of source has opened; `begin` where none does."""
    for i in range(begin, min(begin + _FAR, len(lines)) if opened else begin):
        if "\x00" in lines[i][1]:
            break
        if f"</{opened[0]}>" in lines[i][1]:
            return i + 1
    return begin


def _extent(lines: Sequence[tuple[str, str]], marked: Sequence[bool], line: int, begin: int) -> int:
    """Where a stretch of source that began at `begin` goes on behind a line; that line where it ends."""
    if marked[line] or _is_program(lines[line]):
        return line + 1
    if line == begin:
        return line
    # blank lines, and words between tags, belong to it if it goes on behind them
    for i in range(line, min(line + _GAP, len(lines))):
        if "\x00" in lines[i][1]:
            break
        blank = not any(words.strip() for words, _ in lines[line:i])
        if (marked[i] and (marked[line - 1] or blank)) or (blank and _is_program(lines[i])):
            return i
    return line


def _is_program(line: tuple[str, str]) -> bool:
    return bool(line[0].strip()) and "\x00" not in line[1] and _CODE_LINE.match(line[0].strip()) is not None


def _is_markup(bare: str) -> bool:
    """Whether a line is source: tags alone, or tags in a line of a program."""
    bare = bare.strip()
    if "<" not in bare:
        return False
    found = list(known_tags(bare))
    if not found:
        return False
    return (found[0].begin == 0 and found[-1].end == len(bare)) or _CODE_LINE.match(bare) is not None
