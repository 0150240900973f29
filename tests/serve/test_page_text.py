"""Text on the page: Markdown, maths, streams, and two hundred attempts to make a script out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from page_browser import Chat, open_browser
from page_double import CASES, Double

MARKDOWN = json.loads((CASES / "markdown.json").read_text("utf-8"))
MATHS = json.loads((CASES / "math.json").read_text("utf-8"))
PAYLOADS: list[str] = json.loads((CASES / "payloads.json").read_text("utf-8"))

# What a message may hold, and nothing else: no element that loads, runs or submits, no attribute that is a script.
CHECK = """
const ELEMENTS = new Set(('p h3 h4 h5 h6 em strong del code pre span div a ul ol li input blockquote hr br table thead tbody tr th td ' +
  'button svg path math mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable mtr mtd ' +
  'mstyle mphantom mpadded').split(' '));
const faults = [];
for (const root of document.querySelectorAll(arguments[0])) {
  for (const node of root.querySelectorAll('*')) {
    if (!ELEMENTS.has(node.localName)) faults.push('<' + node.localName + '>');
    for (const { name, value } of node.attributes) {
      if (/^on|^style$|^src|^xlink|^action|^formaction|^id$|^name$/.test(name)) faults.push(name + '=' + value);
      if (name === 'href' && !/^(https?:|mailto:)/.test(value)) faults.push('href=' + value);
      if (name === 'type' && !['button', 'checkbox'].includes(value)) faults.push('type=' + value);
    }
  }
}
return faults;
"""


def test_markdown(chat: Chat) -> None:
    made = chat.js_async(
        """
        const { renderMarkdown } = await import('/page/markdown.js');
        return arguments[0].map((text) => {
          const box = document.createElement('div');
          box.append(...renderMarkdown(text));
          box.querySelectorAll('.code-head button').forEach((button) => button.remove());
          return box.innerHTML;
        });
        """.replace("arguments[0]", json.dumps([case["markdown"] for case in MARKDOWN]))
    )
    for case, html in zip(MARKDOWN, made, strict=True):
        assert html == case["html"], case["name"]


def test_maths(chat: Chat) -> None:
    formulas = [[case["tex"], case["display"]] for case in MATHS]
    made = chat.js_async(
        "const { renderMath } = await import('/page/math.js');"
        f"return {json.dumps(formulas)}.map(([tex, display]) => renderMath(tex, display).outerHTML);"
    )
    for case, mathml in zip(MATHS, made, strict=True):
        assert mathml == case["mathml"], case["name"]


def test_a_streamed_text_is_the_whole_one(chat: Chat) -> None:
    """However a text is cut: the view that followed it shows what a view of the whole shows."""
    texts = [case["markdown"] for case in MARKDOWN] + [text for text in _answers() if len(text) < 1500]
    differing = chat.js_async(
        """
        const { MarkdownView, renderMarkdown } = await import('/page/markdown.js');
        const differing = [];
        for (const text of TEXTS) for (const size of [1, 3, 17]) {
          const streamed = document.createElement('div'), whole = document.createElement('div');
          const view = new MarkdownView(streamed);
          for (let end = 0; end < text.length + size; end += size) view.update(text.slice(0, end));
          whole.append(...renderMarkdown(text));
          if (streamed.innerHTML !== whole.innerHTML) differing.push([size, text, streamed.innerHTML]);
        }
        return differing;
        """.replace("TEXTS", json.dumps(texts))
    )
    assert differing == []


def _answers() -> list[str]:
    read: dict[str, Any] = json.loads((CASES / "answers.json").read_text("utf-8"))
    return [text for value in read.values() for text in ([value] if isinstance(value, str) else value)]


def test_finished_blocks_are_not_drawn_again(chat: Chat) -> None:
    assert chat.js_async(
        """
        const { MarkdownView } = await import('/page/markdown.js');
        const box = document.createElement('div');
        const view = new MarkdownView(box);
        view.update('# one\\n\\ntwo\\n\\nthr');
        const kept = [...box.children].slice(0, 1);
        view.update('# one\\n\\ntwo\\n\\nthree\\n\\n```\\nfour');
        const same = kept.every((node, i) => node === box.children[i]) && box.children.length === 4;
        view.update('quite another text');
        return same && box.textContent === 'quite another text';
        """
    )


def test_events_however_they_are_cut(chat: Chat) -> None:
    stream = 'data: {"a":1}\r\n\r\n: a comment\n\ndata: two\ndata: lines\n\nevent: x\ndata:[DONE]\n\nunfinished'
    found = chat.js_async(
        """
        const { EventParser } = await import('/page/api.js');
        const all = new Set();
        for (let a = 0; a <= S.length; a += 1) for (let b = a; b <= S.length; b += 7) {
          const parser = new EventParser();
          all.add(JSON.stringify([S.slice(0, a), S.slice(a, b), S.slice(b)].flatMap((piece) => parser.push(piece))));
        }
        return [...all];
        """.replace("S.", f"{json.dumps(stream)}.")
    )
    assert [json.loads(each) for each in found] == [['{"a":1}', "two\nlines", "[DONE]"]]


def test_no_text_takes_long(chat: Chat) -> None:
    """Time grows with the length of a text, whatever it repeats: a page that hangs is an attack, too."""
    slowest = chat.js_async(
        """
        const { renderMarkdown } = await import('/page/markdown.js');
        const pieces = ['*', '**a ', '_a', '[', '[a](', '![', '`', '``a`', '$', '$a ', '\\\\(', '$$', '<', '<a', '|', '|-', '> ', '- ', '  - a\\n',
          '1. ', '# ', '~~', '\\\\', 'https://', '(((', '\\n', '\\n\\n', '```\\n', '| a |\\n|---|\\n', '$\\\\frac{', '{'];
        let slowest = [0, ''];
        for (const piece of pieces) {
          const start = performance.now();
          renderMarkdown(piece.repeat(20000 / piece.length));
          slowest = [performance.now() - start, piece] > slowest ? [performance.now() - start, piece] : slowest;
          if (performance.now() - start > 1500) return [performance.now() - start, piece];
        }
        return null;
        """
    )
    assert slowest is None


def test_payloads_rendered(chat: Chat) -> None:
    assert len(PAYLOADS) >= 200
    texts = PAYLOADS + [f"- {text}" for text in PAYLOADS] + [f"**{text}** | `{text}`" for text in PAYLOADS]
    chat.js_async(
        """
        const { renderMarkdown } = await import('/page/markdown.js');
        const box = document.createElement('div');
        box.className = 'hostile';
        for (const text of TEXTS) box.append(...renderMarkdown(text));
        document.getElementById('list').append(box);
        """.replace("TEXTS", json.dumps(texts))
    )
    assert chat.js(CHECK, ".hostile") == []
    chat.js(
        "document.querySelectorAll('.hostile *').forEach((node) => { node.dispatchEvent(new Event('mouseover')); })"
    )


def test_payloads_as_answer_question_and_title(chat: Chat) -> None:
    """Through the server's stream and the store, all at once and after a reload."""
    chat.server.answers["all payloads"] = "\n\n".join(PAYLOADS)
    try:
        chat.js("document.getElementById('ask').value = arguments[0]", "all payloads\n\n" + "\n\n".join(PAYLOADS))
        chat.say("!")
    finally:
        del chat.server.answers["all payloads"]
    assert chat.js(CHECK, ".prose") == []
    chat.click("#open-branches")
    chat.driver.refresh()
    chat.click("#sidebar .open")
    chat.wait(lambda: chat.answers(), "the answer after a reload")
    assert chat.js(CHECK, ".prose") == []


def test_payloads_as_names_of_models() -> None:
    models = [{"id": text[:200], "kind": "base", "template": text} for text in dict.fromkeys(PAYLOADS)]
    with Double(models=models) as server, open_browser() as driver:
        chat = Chat(driver, server).open()
        chat.click("#bar .chip", "Compare")
        chat.click("#bar .chip", "Blind")
        chat.say("payload 3")
        chat.click(".vote", "Equal")
        chat.one(".vote-bar", "votes.jsonl")
        chat.click("#open-branches")
        assert chat.js("return document.querySelectorAll('select.model option').length") == 2 * len(models)
        assert chat.js(CHECK, ".duel .prose") == []
        assert chat.js("return document.querySelectorAll('script').length") == 2, "no more than the page's own"
        assert chat.troubles() == []


@pytest.mark.slow
def test_each_payload_as_an_answer(chat: Chat) -> None:
    for number in range(len(PAYLOADS)):
        chat.say(f"payload {number}")
        assert chat.js(CHECK, ".answer:last-child .prose") == [], PAYLOADS[number]
        chat.click(".new-chat")


def test_the_page_has_no_inline_code_and_no_html_from_text() -> None:
    page = Path(__file__).parents[2] / "src" / "camelid" / "serve" / "page"
    index = (page / "index.html").read_text("utf-8")
    assert "<style" not in index
    assert " style=" not in index
    assert index.count("<script") == index.count("<script src=") + index.count('<script type="module" src=')
    for file in [*page.glob("*.js"), *page.glob("*.css"), *page.glob("*.html"), *page.glob("*.svg")]:
        text = file.read_text("utf-8")
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
        ):
            assert word not in text, f"{file.name}: {word}"
        outside = [line for line in text.splitlines() if "://" in line and "http://www.w3.org/" not in line]
        assert file.suffix not in (".css", ".html", ".svg") or not outside, f"{file.name} names another server"
        assert text.count("\n") <= 400, f"{file.name} is too long"
