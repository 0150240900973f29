"""The documentation as data: pages, headings, fenced blocks, links, and the commands that a reader would type."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
LANGUAGES = ("en", "zh")
_FENCE = re.compile(r"^```(\S*)[ ]?(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*=")


@dataclass(frozen=True)
class Block:
    """A fenced block: ```kind name."""

    kind: str
    name: str
    text: str


@dataclass(frozen=True)
class Page:
    """A page in one language; `name` is the same in the other."""

    name: str
    language: str
    path: Path
    text: str

    def __str__(self) -> str:
        return self.path.relative_to(REPOSITORY).as_posix()

    @property
    def blocks(self) -> list[Block]:
        """Fenced blocks in order."""
        return [Block(match[1], match[2].strip(), match[3]) for match in _FENCE.finditer(self.text)]

    @property
    def prose(self) -> str:
        """The text without fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def headings(self) -> list[tuple[int, str]]:
        """(level, title) in order."""
        return [(len(match[1]), match[2].strip()) for match in _HEADING.finditer(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """The fragments that GitHub gives to its headings."""
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for _, title in self.headings}

    @property
    def links(self) -> list[str]:
        """Targets of links that stay inside the repository."""
        return [target for target in _LINK.findall(self.prose) if "://" not in target]

    @property
    def commands(self) -> list[str]:
        """The commands of its `sh` blocks, without comments, one a line."""
        found = []
        for block in self.blocks:
            if block.kind == "sh":
                lines = block.text.replace("\\\n", " ").splitlines()
                found += [line.strip() for line in lines if shlex.split(line, comments=True)]
        return found

    def table(self, title: str) -> list[list[str]]:
        """The cells of the first table under a heading, without its head, code marks kept."""
        section = self.text.split(f" {title}\n", 1)[1]
        rows = re.findall(r"^\|(.+)\|$", re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0], re.MULTILINE)
        return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows[2:]]


def pages(language: str) -> dict[str, Page]:
    """Every page of one language by name; README counts as a page."""
    readme = REPOSITORY / ("README.md" if language == "en" else f"README.{language}.md")
    paths = {"README": readme} | {path.stem: path for path in sorted((REPOSITORY / "docs" / language).glob("*.md"))}
    return {name: Page(name, language, path, path.read_text("utf-8")) for name, path in paths.items()}


def arguments(command: str) -> list[str]:
    """A command's words; variables that are set before it, and the folder of the environment, are left out."""
    words = shlex.split(_COMMENT.sub("", command))  # shlex takes any # for a comment, a shell only one behind a blank
    while words and _VARIABLE.match(words[0]):
        words.pop(0)
    words[0] = words[0].removeprefix(".venv/bin/")
    return words
