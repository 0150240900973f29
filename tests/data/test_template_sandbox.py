"""Foreign templates are programs: what they cannot reach, and how they are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cases.templates import zoo
from jinja2.sandbox import ImmutableSandboxedEnvironment

from camelid.data.records import Conversation, Message, Origin
from camelid.data.templates import sandbox
from camelid.data.templates.base import RowFault
from camelid.data.templates.child import RenderProcess
from camelid.data.templates.jinja import JinjaTemplate
from camelid.errors import UserError

VOCABULARY = zoo.vocabulary_named("tiny", None)
TALK = Conversation((Message("user", "Hi"), Message("assistant", "Ho")), Origin("rows.jsonl", 3))
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture(scope="module")
def child():
    process = RenderProcess(seconds=0.3)
    yield process
    process.close()


def rendered(process: RenderProcess, source: str, **variables: Any) -> dict[str, str]:
    return process.render(source, [variables])[0]


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ '' | attr('__class__') }}",
    "{{ messages.__class__.__base__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ raise_exception.__code__ }}",
    "{{ strftime_now.__self__ }}",
    "{{ strftime_now.__globals__['os'] }}",
    "{{ dict.__init__.__globals__ }}",
    "{{ dict().__class__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace(__class__=1) }}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ '%s' | format(''.__class__) }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "{{ ''.format_map({'a': 1}.__class__) }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'role': 'system'}) }}",
    "{% set x = messages.clear() %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'base' %}",
    "{{ open('/etc/passwd').read() }}",
    "{{ __import__('os') }}",
    "{{ url_for.__globals__ }}",
    "{{ config }}{{ request.application }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_no_way_out_of_the_sandbox(child: RenderProcess, source: str) -> None:
    text = rendered(child, source, messages=[{"role": "user", "content": "x"}]).get("text", "")
    # An undefined name prints nothing; nothing of Python, of the machine or of a loader is ever printed.
    assert not any(word in text for word in ("class", "module", "function", "root:", "uid=", "object at"))


def test_the_environment_gives_what_transformers_gives_and_no_more() -> None:
    environment = sandbox.compiled("x").environment
    assert type(environment) is ImmutableSandboxedEnvironment
    plain = ImmutableSandboxedEnvironment()
    assert set(environment.filters) == set(plain.filters)
    assert set(environment.globals) - set(plain.globals) == {"raise_exception", "strftime_now"}
    assert set(environment.tests) == set(plain.tests)
    assert (environment.trim_blocks, environment.lstrip_blocks, environment.autoescape) == (True, True, False)
    assert len(environment.extensions) == 2


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ {'a': '<中>', 'b': [1, none, true]} | tojson }}", '{"a": "<中>", "b": [1, null, true]}'),
        ("{{ {'b': 1, 'a': 2} | tojson(indent=1, sort_keys=true) }}", '{\n "a": 2,\n "b": 1\n}'),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "13"),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        ("{% generation %}a{% endgeneration %}b", "ab"),
        ("{% set ns = namespace(n=1) %}{% set ns.n = 2 %}{{ ns.n }}", "2"),
        ("{{ dict(a=1).a }}{{ dict.fromkeys(['x'], 1) }}", "1{'x': 1}"),
        ("{{ strftime_now('%Y') }}", "2024"),
        ("{% if true %}\n  x\n{% endif %}\n", "  x\n"),
    ],
)
def test_what_templates_of_the_hub_use(source: str, text: str) -> None:
    template = sandbox.compiled(source, now="2024-07-26T00:00:00")
    assert sandbox.render(template, {}, 1000) == text


def test_generation_blocks_are_found_wherever_they_stand() -> None:
    source = (
        "{% set x %}{% generation %}inner{% endgeneration %}{% endset %}ab{{ x }}{% generation %}c{% endgeneration %}"
    )
    marked = sandbox.render(sandbox.compiled(source, mark=True), {}, 1000)
    assert sandbox.marked_blocks(marked) == [(2, 7), (7, 8)]


def test_literals_are_all_the_text_that_a_template_holds() -> None:
    found = sandbox.literals("<a>{% if x == '<b>' %}{{ '<c>' + y }}{% endif %}{# <d> #}")
    assert all(token in found for token in ("<a>", "<b>", "<c>"))
    assert "<d>" not in found


def test_an_endless_template_is_killed(child: RenderProcess) -> None:
    begun = time.monotonic()
    assert "ran longer than 0.3 s" in rendered(child, LOOP)["limit"]
    assert time.monotonic() - begun < 20
    assert rendered(child, "still {{ x }}", x="here") == {"text": "still here"}


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 3000000 }}",
        "{% for a in range(99999) %}{{ 'x' * 100 }}{% endfor %}",
        "{{ 'x' * 99999999999 }}",
        "{{ ('a' * 60000).replace('a', 'a' * 30000) | length }}",
        "{{ [0] * 9999999999 }}",
        "{{ range(999999999) | list }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ '%999999999999d' % 1 }}",
        LOOP,
    ],
)
def test_nothing_large_comes_out_and_the_next_row_is_served(child: RenderProcess, source: str) -> None:
    replies = child.render(source, [{}])
    assert "text" not in replies[0]
    assert rendered(child, "{{ x }}", x="next") == {"text": "next"}


def test_memory_is_limited_too() -> None:
    process = RenderProcess(seconds=30)
    reply = rendered(process, "{{ ('a' * 1500000000) | length }}")
    process.close()
    assert reply == {"limit": "the chat template wanted too much memory"}


def test_a_row_that_hangs_costs_its_own_row_only(child: RenderProcess) -> None:
    source = "{% if x == 2 %}" + LOOP + "{% endif %}{{ x }}"
    replies = child.render(source, [{"x": n} for n in range(5)])
    assert [reply.get("text") for reply in replies] == ["0", "1", None, "3", "4"]


def test_a_template_that_overruns_is_refused_at_once(child: RenderProcess) -> None:
    with pytest.raises(UserError, match=r"theirs.*ran longer than 0\.3 s"):
        JinjaTemplate(LOOP, VOCABULARY, name="theirs", process=child)


def test_a_template_that_overruns_on_one_row_rejects_that_row(child: RenderProcess) -> None:
    source = "{% for m in messages %}{% if m.content == 'bomb' %}" + LOOP + "{% endif %}{{ m.content }}</s>{% endfor %}"
    template = JinjaTemplate(source, VOCABULARY, process=child)
    bomb = Conversation((Message("user", "bomb"), Message("assistant", "x")), Origin("rows.jsonl", 9))
    fine, bad, also_fine = template.pieces_batch([TALK, bomb, TALK])
    assert isinstance(bad, RowFault)
    assert "ran longer" in str(bad)
    assert not isinstance(fine, RowFault)
    assert fine == also_fine


def test_the_child_that_dies_is_started_anew(child: RenderProcess) -> None:
    assert rendered(child, "{{ x }}", x=1) == {"text": "1"}
    assert child._process is not None
    child._process.kill()
    child._process.wait()
    assert rendered(child, "{{ x }}", x=2) == {"text": "2"}


def test_ctrl_c_does_not_reach_the_child(child: RenderProcess) -> None:
    assert rendered(child, "{{ x }}", x=1) == {"text": "1"}
    assert child._process is not None
    os.kill(child._process.pid, signal.SIGINT)
    time.sleep(0.05)
    assert rendered(child, "{{ x }}", x=2) == {"text": "2"}
    assert child._process.poll() is None


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys; from camelid.data.templates.child import RenderProcess; p = RenderProcess(); "
        "p.render('x', [{}]); print(p._process.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdin is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    for _ in range(200):
        if not _runs(pid):
            break
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_keys_stay_out_of_the_child(child: RenderProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    child.close()
    rendered(child, "x")
    assert child._process is not None
    environment = Path(f"/proc/{child._process.pid}/environ")
    if not environment.exists():
        pytest.skip("no /proc here")
    assert b"PATH=" in environment.read_bytes()
    assert b"OPENAI" not in environment.read_bytes()


def test_odd_text_comes_back_as_it_went(child: RenderProcess) -> None:
    for text in ("\ud800", "\x00", "\u2028\n\r", "🙂", "\ufdd0"):
        assert rendered(child, "{{ x }}", x=text) == {"text": text}
