"""Chat templates are programs that come with a download. This file is where they run.

They run in Jinja's immutable sandbox with what transformers gives them and nothing more. The sandbox keeps a template
from reaching Python, but it limits neither time nor memory (vLLM CVE-2025-61620), so templates that are not ours run
in a child process: this same file, started as a script by `child.RenderProcess`, with capped memory, a capped output
and a timer that kills it. It imports nothing of camelid.

Protocol, one JSON object a line. In: {"source", "mark", "now", "seconds", "rows": [variables, ...]}.
Out, one line a row: {"text": rendering} or {"error": reason} or {"limit": reason}.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
import jinja2.sandbox
import jinja2.utils

MARK_START, MARK_END = "\ufdd1", "\ufdd2"  # Unicode noncharacters around a {% generation %} block, in marked renderings
OUTPUT_LIMIT = 1_000_000  # characters a template may write beyond twice the size of the request
MEMORY_LIMIT = 1 << 30  # bytes of address space of the child


class OutputLimit(Exception):
    """The template wrote too much."""


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` ... `{% endgeneration %}`: what the assistant wrote. Shown only in marked renderings."""

    tags = {"generation"}  # noqa: RUF012 - the type that jinja2 declares

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_show"), [], [], body).set_lineno(line)

    def _show(self, caller: Any) -> str:
        return caller()


class _MarkedGeneration(_Generation):
    def _show(self, caller: Any) -> str:
        return MARK_START + caller() + MARK_END


class _Dict:
    """`dict(...)` and `dict.fromkeys(...)`, without the class itself within reach."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict:
        return dict.fromkeys(*args)


class _Namespace(jinja2.utils.Namespace):
    """`namespace(...)` whose attributes may not begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            _refuse_private(name)
        jinja2.utils.Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace may not hold {name!r}")


def _raise_exception(message: Any) -> None:
    raise jinja2.exceptions.TemplateError(str(message))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@lru_cache(maxsize=64)
def compiled(source: str, mark: bool = False, now: str | None = None) -> jinja2.Template:
    """The template in its sandbox. `now` (ISO) is the moment that `strftime_now` tells, so that a run can be resumed
    on another day with the same prompts. Raises jinja2.TemplateSyntaxError."""
    moment = datetime.fromisoformat(now) if now else datetime.now()
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_MarkedGeneration if mark else _Generation, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = moment.strftime
    environment.globals["dict"] = _Dict()
    environment.globals["namespace"] = _Namespace
    return environment.from_string(source)


GENERATION_TAG = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


def literals(source: str) -> str:
    """All text that a template holds: between its tags, and string constants inside them, joined by NUL.

    Raises jinja2.TemplateSyntaxError. Parses only, runs nothing.
    """
    tree = jinja2.Environment(extensions=[_Generation, jinja2.ext.loopcontrols]).parse(source)
    constants = [node.value for node in tree.find_all(jinja2.nodes.Const) if isinstance(node.value, str)]
    return "\0".join([node.data for node in tree.find_all(jinja2.nodes.TemplateData)] + constants)


def marked_blocks(marked: str) -> list[tuple[int, int]]:
    """The {% generation %} blocks of a marked rendering, as [start, end) in the unmarked one."""
    blocks, starts, position = [], [], 0
    for character in marked:
        if character == MARK_START:
            starts.append(position)
        elif character == MARK_END:
            blocks.append((starts.pop(), position))
        else:
            position += 1
    return sorted(blocks)


def render(template: jinja2.Template, variables: Mapping[str, Any], limit: int) -> str:
    """At most `limit` characters. Raises OutputLimit, and whatever the template raises."""
    blocks, size = [], 0
    for block in template.generate(variables):
        size += len(block)
        if size > limit:
            raise OutputLimit(f"the chat template wrote more than {limit:,} characters")
        blocks.append(block)
    return "".join(blocks)


def _answer(request: Mapping[str, Any], variables: Mapping[str, Any], size: int) -> dict[str, str]:
    try:
        template = compiled(request["source"], request["mark"], request["now"])
        return {"text": render(template, variables, OUTPUT_LIMIT + 2 * size)}
    except OutputLimit as error:
        return {"limit": str(error)}
    except (MemoryError, OverflowError):
        return {"limit": "the chat template wanted too much memory"}
    except RecursionError:
        return {"limit": "the chat template nests too deeply"}
    except Exception as error:  # whatever a foreign program raises is its own fault, and a reason for the ledger
        return {
            "error": f"{type(error).__name__}: {error}" if not isinstance(error, jinja2.TemplateError) else str(error)
        }


def main() -> None:
    """Serve requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the parent, which saves and then closes our input
    timed = sys.platform != "win32"
    if timed:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(b'{"ready": true}\n')
    sink.flush()
    for line in source:
        request = json.loads(line)
        for row in request["rows"]:
            if timed:  # SIGPROF kills us, even inside one long operation, even where the parent is gone
                signal.setitimer(signal.ITIMER_PROF, request["seconds"])
            reply = _answer(request, row, len(line))
            if timed:
                signal.setitimer(signal.ITIMER_PROF, 0)
            sink.write(json.dumps(reply).encode() + b"\n")
            sink.flush()  # the row after this one may be the last that this process sees


if __name__ == "__main__":
    main()
