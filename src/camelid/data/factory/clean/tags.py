"""HTML as a stream of tags and text, and which messages are HTML.

A tag is what CommonMark takes for one, by a name that HTML has: `List<int>`, `a < b` and `#include <x>` hold none. A
message that holds some is a page (its markup was meant to be seen as layout) or talks about HTML and shows its source;
a page is converted, talk stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import Literal


def names(text: str) -> frozenset[str]:
    """Names with spaces between them."""
    return frozenset(text.split())


BLOCKS = names(
    "address article aside blockquote center dd details dialog div dl dt fieldset figcaption figure footer form h1 h2"
    " h3 h4 h5 h6 header hr li main nav ol p pre section summary table tbody td tfoot th thead tr ul"
)
# Not <s>: it marks the beginning of a text for more models than it strikes words out for.
INLINE = names(
    "a abbr acronym b bdi bdo big br cite code del dfn em font i img ins kbd mark q samp small span strike strong sub"
    " sup time tt u var wbr"
)
# What no answer consists of: it is the site's own, or somebody's program.
OWN = names(
    "base body button canvas embed head html iframe input label legend link map math menu meta noscript object option"
    " optgroup script select source style svg template textarea title video audio picture caption col colgroup area"
    " track"
)
_PLACEHOLDERS = names("audio base map object picture source track video link")  # <video>: here was one
KNOWN = BLOCKS | INLINE | OWN
VOID = names("area base br col embed hr img input link meta param source track wbr")
_ATTRIBUTE = r"""\s+[a-zA-Z_:@][^\s"'<>/=]*+(?:\s*+=\s*+(?:"[^"]*"|'[^']*'|[^\s"'=<>`]++))?+"""
_ANY_TAG = rf"<(?P<close>/?)(?P<name>[a-zA-Z][a-zA-Z0-9-]*+)(?P<attributes>(?:{_ATTRIBUTE})*+)\s*+(?P<empty>/?)>"
_TOKEN = re.compile(rf"<!--|<!(?i:doctype)\b[^<>]*>|{_ANY_TAG}")
_PAIR = re.compile(r"""\s+([a-zA-Z_:@][^\s"'<>/=]*+)(?:\s*+=\s*+(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]++)))?+""")


@dataclass(frozen=True, slots=True)
class Tag:
    """kind: of the three; raw: as it stands in the text, from `begin` to `end`"""

    kind: Literal["open", "close", "remark"]
    name: str
    attributes: str
    empty: bool  # <br/>
    begin: int
    end: int

    def attribute(self, name: str) -> str | None:
        """Its value, "" for one without, None where there is none of that name."""
        for match in _PAIR.finditer(self.attributes):
            if match[1].lower() == name:
                return unescape(match[2] or match[3] or match[4] or "")
        return None

    @property
    def classes(self) -> list[str]:
        return (self.attribute("class") or "").split()


def tags(text: str, begin: int = 0) -> Iterator[Tag]:
    """The tags of a text from a place on, comments and doctypes (remarks) among them."""
    closed = True  # whether a comment that begins here ends somewhere
    while match := _TOKEN.search(text, begin):
        begin, name = match.end(), match["name"]
        if match[0] == "<!--":
            end = text.find("-->", begin) if closed else -1
            closed = end >= 0
            if closed:
                begin = end + len("-->")
                yield Tag("remark", "", "", True, match.start(), begin)
        elif name is None:
            yield Tag("remark", "", "", True, match.start(), begin)
        else:
            # <Link> and <Title> are somebody's components
            known = name.lower() if name.islower() or name.isupper() else name
            kind = "close" if match["close"] else "open"
            yield Tag(kind, known, match["attributes"], bool(match["empty"]), match.start(), begin)


def known_tags(text: str, begin: int = 0) -> Iterator[Tag]:
    """Those that HTML has."""
    return (tag for tag in tags(text, begin) if tag.kind == "remark" or is_known(tag))


def is_known(tag: Tag) -> bool:
    """Whether HTML has it, and text has not: bare, some names stand for what could not be written."""
    return tag.name in KNOWN and not (tag.name in _PLACEHOLDERS and tag.kind == "open" and not tag.attributes.strip())
