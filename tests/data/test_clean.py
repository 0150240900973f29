"""Cleaning: HTML, noise, other makers' words, turns, languages, lengths; code is never touched, no turn is lost."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from camelid.data.factory.clean.conversation import Cleaned, Turns, clean_chat
from camelid.data.factory.clean.language import is_in
from camelid.data.factory.clean.markdown import fence, segments, span
from camelid.data.factory.clean.markup import tags_left, without_html
from camelid.data.factory.clean.noise import without_noise
from camelid.data.factory.clean.reading import Chat, read_row
from camelid.data.factory.clean.rows import CleanRow, clean_rows, held_out
from camelid.data.factory.clean.split import characters, exchanges_of, split
from camelid.data.factory.clean.text import Rules, cleaned_text
from camelid.data.factory.clean.vendor import Identity, rewritten, speaks_as_another, tells_of_another
from camelid.data.formats import convert_row
from camelid.data.formats.turns import whole
from camelid.data.ledger import Ledger
from camelid.data.records import Message, Origin, Role

FENCES = re.compile(r"^(`{3,})[^`\n]*\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)  # in no way like the product's


def clean(text: str, role: Role = "assistant", *, asked: str = "", rules: Rules | None = None) -> str:
    return cleaned_text(text, role, rules or Rules(), Counter(), asked=asked)


# -- what is code ----------------------------------------------------------------------------------------------------

CODE = [
    # text, its code
    ("a `b` c", ["`b`"]),
    ("a\n```py\nx\n```\nb ``c`d`` e", ["```py\nx\n```\n", "``c`d``"]),
    ("as follows: ```js\na\n```\nb", ["```js\na\n```\n"]),
    ("cut off:\n```\nx = [", ["```\nx = ["]),
    ("````md\n```\nx\n```\n````\nb", ["````md\n```\nx\n```\n````\n"]),
    ("| ^~~~~~\n| ~~~\nb", []),
    ("a ` b\n\nc ` d", []),
    ("use ``` to open one", []),
    ("~~~\na\n~~~\n", ["~~~\na\n~~~\n"]),
]


@pytest.mark.parametrize(("text", "code"), CODE)
def test_code_in_markdown(text: str, code: list[str]) -> None:
    assert [part.text for part in segments(text) if part.kind != "prose"] == code


@given(st.text(alphabet="ab `~\n>-", max_size=80))
def test_the_parts_of_a_text_are_the_text(text: str) -> None:
    assert "".join(part.text for part in segments(text)) == text


@given(st.text(alphabet="a`\n ~", min_size=1, max_size=40), st.sampled_from(["", "py"]))
def test_a_fence_holds_what_it_was_given(code: str, language: str) -> None:
    assume(code.strip())
    written = fence(code, language)
    (part,) = segments(written)
    assert part.kind == "fence"
    first, *lines = part.text.split("\n")
    assert first.strip("`") == language
    assert "\n".join(lines[:-1]) == code.removesuffix("\n")
    if "\n" not in code:
        (part,) = segments(f"a {span(code)} b")[1:2]
        assert part.kind == "span"
        assert code in part.text


# -- HTML ------------------------------------------------------------------------------------------------------------

# As ShareGPT's raw files have it.
HEAD = (
    '<div class="bg-black rounded-md mb-4"><div class="flex items-center relative text-gray-200"><span>python</span>'
    '<button class="flex ml-auto gap-2"><svg stroke="currentColor" viewBox="0 0 24 24"><path d="M16 4"></path>'
    '<rect x="8" y="2"></rect></svg>Copy code</button></div><div class="p-4 overflow-y-auto">'
)
PAGE = '<div class="markdown prose w-full break-words dark:prose-invert light">{}</div>'
CODE_BLOCK = "<pre>" + HEAD + '<code class="!whitespace-pre hljs language-python">{}</code></div></div></pre>'

PAGES = [
    # name, HTML, Markdown
    ("paragraphs", "<p>One <strong>two </strong>three.</p><p><em>Four</em></p>", "One **two** three.\n\n*Four*"),
    ("lists", "<ul><li>a</li><li><p>b</p><ol><li>c</li></ol></li></ul>", "- a\n- b\n  1. c"),
    ("a list that goes on", '<ol start="3"><li>x</li><li><p>y</p><p>z</p></li></ol>', "3. x\n\n4. y\n\n   z"),
    ("end tags that are missing", "<ul><li>a<li>b</ul><p>c<p>d", "- a\n- b\n\nc\n\nd"),
    ("headings and rules", "<h2>T <b>x</b></h2><hr><p>p</p>", "## T **x**\n\n---\n\np"),
    ("quotations", "<blockquote><p>a</p><p>b</p></blockquote>", "> a\n>\n> b"),
    (
        "tables",
        "<table><thead><tr><th>A</th><th>B|C</th></tr></thead><tbody><tr><td>1<br>2</td><td>x</td></tr></tbody></table>",
        "| A | B\\|C |\n| --- | --- |\n| 1 2 | x |",
    ),
    ("links", '<p><a href="https://a.b/c d">x</a> <a href="#y">y</a> <a href="http://z.w">http://z.w</a></p>',
     "[x](https://a.b/c%20d) y http://z.w"),
    ("code in a line", "<p>use <code>a &lt; `b`</code> and <code>&lt;p&gt;</code></p>", "use `` a < `b` `` and `<p>`"),
    ("text that spells tags", "<p>the &lt;div&gt; tag, List&lt;int&gt;, a &lt; b</p>",
     "the `<div>` tag, List<int>, a < b"),
    ("buttons", "<p>a<button>Copy</button></p><svg><title>x</title></svg><style>p {}</style><script>1</script>", "a"),
    ("code of a chat page", CODE_BLOCK.format("<span class='hljs-keyword'>if</span> a &lt; b:\n    c()\n"),
     "```python\nif a < b:\n    c()\n```"),
    ("code with fences", "<pre><code>```\nx\n```\n</code></pre>", "````\n```\nx\n```\n````"),
    ("code that was not escaped", '<pre><code class="lang-html"><div class="card"><p>hi</p></div>\n</code></pre>',
     '```html\n<div class="card"><p>hi</p></div>\n```'),
    ("code without a code element", "<pre>\nint a;\n  vector<int> b;\n</pre>", "```\nint a;\n  vector<int> b;\n```"),
    ("code in a list", "<ol><li>a<pre><code>b\n  c\n</code></pre></li><li>d</li></ol>",
     "1. a\n\n```\nb\n  c\n```\n\n2. d"),
    ("formulas", '<p>so <span class="katex"><span class="katex-mathml"><math><semantics><mrow><mi>E</mi></mrow>'
     '<annotation encoding="application/x-tex">E=mc^2</annotation></semantics></math></span>'
     '<span class="katex-html">E=mc2</span></span></p>', "so $E=mc^2$"),
    ("what was hidden", '<h6 class="sr-only">ChatGPT said:</h6><p>a<!-- Font Awesome, License x --></p>', "a"),
    ("comments", "<p>a</p><!-- b --><p>c</p>", "a\n\nc"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "page", "text"), PAGES, ids=[case[0] for case in PAGES])
def test_pages_become_markdown(name: str, page: str, text: str) -> None:
    cleaned = without_html(PAGE.format(page), answer=True)
    assert cleaned == (text, ["HTML written as Markdown"])
    assert tags_left(text) == 0
    assert without_html(text, answer=True) == (text, [])


TALK = [
    # who says it, what, asked before
    ("assistant", "Use the <div> tag to group, and <br> to break a line.", ""),
    ("assistant", "a < b and c > d; List<int> x; Map<String, List<b>> y; #include <stdio.h>", ""),
    ("assistant", "`<b>x</b>` is bold:\n\n```html\n<p>x</p>\n```\n\nThat's all.", ""),
    ("assistant", "例如，<header>标签表示页面的头部，<nav>标签表示导航。", ""),
    ("assistant", "Write <b>bold</b> for that.", "How is bold written in HTML?"),
    ("assistant", "In HTML, < is written &lt;, and & is &amp;.", ""),
    ("assistant", "vector<a>, <username>, <your name>, <https://a.b>, <me@x.y>", ""),
    ("assistant", "| tag | does |\n| --- | --- |\n| <br> | a line break |\n| `<br>` `<hr>` | a rule |", ""),
    ("assistant", 'With Tailwind, write <article class="prose">...</article> around it.', ""),
    ("assistant", "<s>Human: hi</s><s>Assistant: hello</s>", ""),
    ("user", "What does <b>this</b> do in html?", ""),
    ("user", "Explain what <p>hello</p> does", ""),
    ("user", "Is 5 < 6 && 7 > 3? Tom & Jerry", ""),
    ("user", "<video> What is in it?", ""),
]


@pytest.mark.parametrize(("role", "text", "asked"), TALK)
def test_talk_of_html_stays_as_it_is(role: Role, text: str, asked: str) -> None:
    assert clean(text, role, asked=asked) == text


MESSAGES = [
    # who says it, what, asked before, what becomes of it
    ("assistant", "<p>Hello <b>World</b>.</p><ul><li>a</li></ul>", "", "Hello **World**.\n\n- a"),
    ("assistant", "Sure!<br><br>1. One<br/>\n2. Two", "", "Sure!\n\n1. One\n2. Two"),
    ("assistant", "| a | b |\n| --- | --- |\n| 1<br>2 | - x<br>- y |", "",
     "| a | b |\n| --- | --- |\n| 1; 2 | - x - y |"),
    ("assistant", "Tom &amp; Jerry &amp;lt;3 &quot;x&quot;", "", 'Tom & Jerry <3 "x"'),
    ("assistant", "I <i>do</i> like <a href='http://x.y'>it</a>.", "", "I *do* like [it](http://x.y)."),
    ("assistant", "你好<br/>世界，<b>真</b>&nbsp;好", "", "你好\n世界，**真** 好"),
    ("assistant", "Hi:\n\n<ul>\n<li>One</li>\n</ul>\n\nBye", "what to eat?", "Hi:\n\n- One\n\nBye"),
    ("assistant", "Hi:\n\n<ul>\n<li>One</li>\n</ul>\n\nBye", "write an html list",
     "Hi:\n\n```html\n<ul>\n<li>One</li>\n</ul>\n```\n\nBye"),
    ("assistant", "<p>In</p>\n```py\nif a<b: print('<p>')\n```\n<p>Out</p>", "",
     "In\n\n```py\nif a<b: print('<p>')\n```\n\nOut"),
    ("assistant", "Code:<br><pre><code>if a &lt; b:\n  c\n</code></pre>", "Write code.",
     "Code:\n\n```\nif a < b:\n  c\n```"),
    # Markdown by a converter that left the page's code blocks
    ("assistant", "`POST /x`:\n\n* a\n\n```html\n<p class='y'>keep</p>\n```\n"
     + CODE_BLOCK.format("t = `${a}`, `&lt;b&gt;`\n") + "\n\nA **basic** one.", "",
     "`POST /x`:\n\n* a\n\n```html\n<p class='y'>keep</p>\n```\n\n"
     "```python\nt = `${a}`, `<b>`\n```\n\nA **basic** one."),
    ("assistant", "<p>In HTML the tag &lt;b&gt; makes its words bold.</p>\n<p>There are many others that do so.</p>\n"
     "<p>Ask me if you want to know more of them.</p>", "What are tags?",
     "In HTML the tag `<b>` makes its words bold.\n\nThere are many others that do so.\n\n"
     "Ask me if you want to know more of them."),
    ("assistant", "<h1>Title</h1>\n<p>Text</p>\n<ul>\n<li>One</li>\n</ul>", "Write an HTML page.",
     "```html\n<h1>Title</h1>\n<p>Text</p>\n<ul>\n<li>One</li>\n</ul>\n```"),
    ("assistant", "The code is &quot;x&quot; &amp;amp; ?a=1&copy=2 &eacute;", "", 'The code is "x" & ?a=1&copy=2 é'),
    ("assistant", "<p>cut off <b>in the mid", "", "cut off **in the mid**"),
    ("assistant", "<!DOCTYPE html>\n<html>\n<p>x</p>\n</html>", "a page",
     "```html\n<!DOCTYPE html>\n<html>\n<p>x</p>\n</html>\n```"),
    ("user", "2 / 2<p>Hi</p>", "", "Hi"),
    ("user", "fix this\n<div class='card'>\n  <h1>T</h1>\n\nwords\n</div>\nthanks", "",
     "fix this\n```html\n<div class='card'>\n  <h1>T</h1>\n\nwords\n</div>\n```\nthanks"),
    ("user", "<body>\none\ntwo\nthree\nfour\nfive\n</body>\nwhy?", "",
     "```html\n<body>\none\ntwo\nthree\nfour\nfive\n</body>\n```\nwhy?"),
    ("user", "why?\n$('#a').append('<option value=\"\">x</option>');\nfoo({\n});\nIt fails.", "",
     "why?\n```\n$('#a').append('<option value=\"\">x</option>');\nfoo({\n});\n```\nIt fails."),
    ("user", '<div class="whitespace-pre-wrap">line 1\n  &lt;line 2&gt;</div>', "", "line 1\n  <line 2>"),
]  # fmt: skip


@pytest.mark.parametrize(("role", "text", "asked", "cleaned"), MESSAGES)
def test_html_in_messages(role: Role, text: str, asked: str, cleaned: str) -> None:
    assert clean(text, role, asked=asked) == cleaned
    assert tags_left(cleaned) == 0
    assert clean(cleaned, role, asked=asked) == cleaned


CODES = st.text(
    alphabet=st.one_of(st.sampled_from("<>&;`~'\"\n\t {}#\\"), st.characters(exclude_characters="\x00", codec="utf-8")),
    min_size=1,
    max_size=60,
)


@given(CODES, st.booleans())
@settings(max_examples=300)
def test_code_of_a_page_keeps_every_byte(code: str, highlighted: bool) -> None:
    assume(code.strip() and not code.startswith("\n"))
    escaped = html.escape(code)
    if highlighted:
        escaped = "".join(f'<span class="hljs-x">{html.escape(one)}</span>' for one in code)
    text = clean(PAGE.format("<p>before</p>" + CODE_BLOCK.format(escaped) + "<p>after</p>"))
    ticks = re.match(r"before\n\n(`+)python\n", text)
    assert ticks, text
    inner = text[ticks.end() :].removesuffix(f"\n{ticks[1]}\n\nafter")
    assert inner.removesuffix("\n") == code.removesuffix("\n"), text


PROSE = st.lists(
    st.sampled_from(["Words.", "- an item", "1. one", "> quoted", "| a | b |", "", "用 Python 写", "`x < y`", "# T"]),
    min_size=1, max_size=5,
).map("\n".join)  # fmt: skip


@given(st.lists(st.tuples(PROSE, CODES), min_size=1, max_size=3), st.sampled_from(["assistant", "user", "system"]))
@settings(max_examples=200)
def test_markdown_with_fences_passes_unchanged(parts: list[tuple[str, str]], role: Role) -> None:
    text = "Begin.\n" + "\n".join(f"{prose}\n{fence(code, 'py')}" for prose, code in parts) + "\nEnd."
    assert clean(text, role) == text


@given(
    st.lists(
        st.sampled_from(
            (
                *("<p>", "</p>", "<b>", "</b>", "<br>", "<ul><li>", "</li></ul>", "<pre><code>", "</code></pre>"),
                *("<div class='x'>", "</div>", "text", " ", "\n", "`", "```\n", "|", "<script>", "html", "\u200b"),
                *("Share Prompt", "Copy code\n", "<s>", "<", ">", "\xa0", "<td>", "<table><tr>", "</table>", "\n\n"),
                *("2 / 2", "&lt;", "&amp;", '<div class="markdown prose">', "I am ChatGPT. "),
            )
        ),
        max_size=12,
    ).map("".join),
    st.sampled_from(["assistant", "user"]),
)  # fmt: skip
@settings(max_examples=500)
def test_to_clean_twice_changes_nothing(text: str, role: Role) -> None:
    once = clean(text, role)
    assert clean(once, role) == once


@pytest.mark.parametrize(
    "unit", ["\n", " ", "<p>", "<b>\n", "<!--", "<a b='", "`", "```x\n", "as an AI ", "作为", "<td>"]
)
@pytest.mark.parametrize("role", ["assistant", "user"])
def test_hostile_texts_come_to_an_end(unit: str, role: Role) -> None:
    """And to one that stays: within seconds, where hours pass if a step is not linear."""
    rules = Rules(vendor="rewrite", identity=Identity("Milo", "Acme"))
    once = clean(unit * (20_000 // len(unit)), role, rules=rules)
    assert clean(once, role, rules=rules) == once


# -- noise -----------------------------------------------------------------------------------------------------------

NOISE = [
    # who says it, what, what was meant
    ("user", "continueShare Prompt", "continue"),
    ("user", "A question.\n \n \n \n 지금 번역하기", "A question."),
    ("user", "Why is that?2 / 2", "Why is that?"),
    ("user", "one more question\n3 / 3", "one more question"),
    ("user", "你为什么这样说？4/4", "你为什么这样说？"),
    ("user", "What is 2 / 2", "What is 2 / 2"),
    ("user", "Compute 2 / 2", "Compute 2 / 2"),
    ("user", "Use what you said, and keep to the template as exactly as you can 2 / 2",
     "Use what you said, and keep to the template as exactly as you can"),
    ("user", "\n2 / 2", "2 / 2"),
    ("user", "1 / 2 cup of sugar", "1 / 2 cup of sugar"),
    ("assistant", "It is\n3 / 3", "It is\n3 / 3"),
    ("assistant", "2 / 3\nThe answer.", "The answer."),
    ("assistant", "2 / 2", "2 / 2"),
    ("assistant", "\u200b", ""),
    ("assistant", "a\u200bb\xa0c\ufeff", "ab c"),
    ("assistant", "👨\u200d👩\u200d👧 می\u200cخواهم", "👨\u200d👩\u200d👧 می\u200cخواهم"),
    ("assistant", "a\u200eb \u2066c\u2069", "ab c"),
    ("assistant", "שלום\u200f! \u200eabc", "שלום\u200f! \u200eabc"),
    ("assistant", "Too many requests in 1 hour. Try again later.", ""),
    ("assistant", "The first half of\n\nnetwork error", "The first half of"),
    ("assistant", "A network error is an error of the network.", "A network error is an error of the network."),
    ("assistant", "glsl\nCopy code\nfloat x;", "glsl\nfloat x;"),
    ("assistant", "pythonCopy codeimport os", "python\nimport os"),
    ("assistant", "Copy code from here to there.", "Copy code from here to there."),
    ("assistant", "```\npythonCopy code\nimport os\n```", "```python\nimport os\n```"),
    ("assistant", "```js复制代码const a = 1\n```", "```js\nconst a = 1\n```"),
    ("assistant", "```\nShare Prompt\nCopy code\n```", "```\nShare Prompt\nCopy code\n```"),
    ("assistant", "Use this:\n```\nx\n```\nUse code with caution. Learn more\nBye", "Use this:\n```\nx\n```\nBye"),
    ("assistant", "A.\n\nThis content may violate our content policy. If you believe this to be in error, please "
     "submit your feedback — your input will aid our research in this area.", "A."),
    ("assistant", "正文。\n作者：某人\n链接：https://www.zhihu.com/q/1\n来源：知乎\n"
     "著作权归作者所有。商业转载请联系作者获得授权。", "正文。"),
    ("assistant", "正文。\n————————————————\n版权声明：本文为CSDN博主「x」的原创文章，遵循CC 4.0 BY-SA版权协议。\n"
     "原文链接：https://blog.csdn.net/x", "正文。"),
    ("assistant", "The MIT License:\nCopyright (c) 2023. All rights reserved.", None),
    ("assistant", "\n\n  two lines  \nhere \n", "two lines  \nhere"),
    ("assistant", "    indented code\nwords", "    indented code\nwords"),
]  # fmt: skip


@pytest.mark.parametrize(("role", "text", "meant"), NOISE)
def test_noise(role: Role, text: str, meant: str | None) -> None:
    changes = Counter[str]()
    meant = text if meant is None else meant
    assert cleaned_text(text, role, Rules(), changes) == meant
    assert bool(changes) == (meant != text)
    assert clean(meant, role) == meant


def test_each_rule_is_named() -> None:
    assert without_noise("a\xa0b\u200b\nShare Prompt\n", answer=False)[1] == [
        "invisible characters removed",
        "unusual spaces made plain",
        "buttons removed",
        "blank ends trimmed",
    ]


# -- other makers ----------------------------------------------------------------------------------------------------

OURS = Identity("Milo", "Acme")
ANSWERS = [
    # an answer, what of it speaks as another, what it is rewritten to (None: it cannot be)
    ("I'm ChatGPT, a large language model trained by OpenAI.", "I'm ChatGPT",
     "I'm Milo, a large language model trained by Acme."),
    ("I was created by OpenAI. OpenAI is a company.", "I was created by OpenAI",
     "I was created by Acme. OpenAI is a company."),
    ("I'm Claude, an AI made by Anthropic.", "I'm Claude, an AI made by Anthropic", "I'm Milo, an AI made by Acme."),
    ("As an AI language model, I can't. But it is 4.", "As an AI language model,", "I can't. But it is 4."),
    ("Yes. As an AI language model, it is new to me.", "As an AI language model,", "Yes. It is new to me."),
    ("I'm sorry, but as an AI language model I can't.", "as an AI language model I", "I'm sorry, but I can't."),
    ("I cannot do that as an AI language model.", "I cannot do that as an AI language model", "I cannot do that."),
    ("As a language model trained by OpenAI, I see.", "As a language model trained by OpenAI,", "I see."),
    ("作为一个人工智能语言模型，我无法回答。", "作为一个人工智能语言模型", "我无法回答。"),
    ("很抱歉，作为由OpenAI训练的大型语言模型，我不知道。", "作为由OpenAI训练的大型语言模型，我", "很抱歉，我不知道。"),
    ("这超出了我作为语言模型的能力。", "作为语言模型", "这超出了我的能力。"),
    ("我是由OpenAI开发的ChatGPT-4。OpenAI很有名。", "我是由OpenAI", "我是由Acme开发的Milo。OpenAI很有名。"),
    ("有一个与我作为AI语言模型发展相关的事实。", "作为AI语言模型", None),
    ("As an AI researcher, I think so.", "", None),
    ("作为一名人工智能研究者，我认为如此。", "", None),
    ("As a llama farmer, I love llamas.", "", None),
    ("I am glad that you ask about ChatGPT, made by OpenAI.", "", None),
    ("GPT-3是由OpenAI开发的一种语言模型。", "", None),
    ("A language model is a model of language.", "", None),
    ("```\nI am ChatGPT\n```", "", None),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "found", "said"), ANSWERS)
def test_answers_of_other_assistants(answer: str, found: str, said: str | None) -> None:
    assert speaks_as_another(answer) == found
    if found:
        text, changes = rewritten(answer, OURS)
        if said is None:
            assert speaks_as_another(text)
        else:
            assert (text, bool(changes), speaks_as_another(text)) == (said, True, "")


def test_names_are_replaced_by_those_that_are_given() -> None:
    answer = "I'm ChatGPT, trained by OpenAI."
    assert rewritten(answer, Identity(name="Milo"))[0] == "I'm Milo, trained by OpenAI."
    assert rewritten(answer, Identity(maker="Acme"))[0] == "I'm ChatGPT, trained by Acme."
    assert rewritten(answer, Identity()) == (answer, [])


def test_system_prompts_that_name_another() -> None:
    assert tells_of_another("You are ChatGPT, a large language model trained by OpenAI.")
    assert tells_of_another("A chat with an assistant whose name is Vicuna.")
    assert not tells_of_another("You are a helpful assistant. The user asks about ChatGPT.")
    rules = Rules(vendor="rewrite", identity=OURS)
    assert clean("You are ChatGPT, made by OpenAI.", "system", rules=rules) == "You are Milo, made by Acme."


# -- turns -----------------------------------------------------------------------------------------------------------


def chat(*turns: str) -> dict[str, Any]:
    """A row of turns written `role: text`."""
    return {
        "id": "x",
        "conversations": [dict(zip(("from", "value"), turn.split(": ", 1), strict=True)) for turn in turns],
    }


def cleaned_chat(row: Any, rules: Rules | None = None) -> Cleaned:
    (item,) = read_row(row, Origin("f", 1), [])[1]
    assert isinstance(item, Chat)
    return clean_chat(item, rules or Rules())


def told(cleaned: Cleaned) -> list[str]:
    return [f"{message.role[:1]}: {message.content}" for part in cleaned.parts for message in part]


TURNS = [
    # name, turns in, turns out, removed
    ("as it should be", ["system: s", "human: q", "gpt: a"], ["s: s", "u: q", "a: a"], {}),
    ("begins with an answer", ["gpt: a0", "human: q", "gpt: a"], ["u: q", "a: a"],
     {"an answer without its question": 1}),
    ("ends with a question", ["human: q", "gpt: a", "human: r"], ["u: q", "a: a"],
     {"a question without its answer": 1}),
    ("an empty answer", ["human: q", "gpt: \u200b", "human: r", "gpt: b"], ["u: r", "a: b"],
     {"empty turn": 1, "a question without its answer": 1}),
    ("an empty question", ["human: q", "gpt: a", "human:  ", "gpt: b", "human: r", "gpt: c"],
     ["u: q", "a: a", "u: r", "a: c"], {"empty turn": 1, "an answer without its question": 1}),
    ("two questions", ["human: q", "human: r", "gpt: a"], ["u: q\n\nr", "a: a"], {"joined to the turn before it": 1}),
    ("a question again", ["human: q", "human: q", "gpt: a"], ["u: q", "a: a"], {"repeats the turn before it": 1}),
    ("an answer that was begun", ["human: q", "gpt: one", "gpt: one two"], ["u: q", "a: one two"],
     {"repeats the turn before it": 1}),
    ("two answers", ["human: q", "gpt: a", "gpt: b"], ["u: q", "a: a\n\nb"], {"joined to the turn before it": 1}),
    ("an exchange again", ["human: q", "gpt: a", "human: q", "gpt: a"], ["u: q", "a: a"],
     {"repeats the turn before it": 2}),
    ("the same question, another answer", ["human: more", "gpt: a", "human: more", "gpt: b"],
     ["u: more", "a: a", "u: more", "a: b"], {}),
    ("two system prompts", ["system: s", "system: t", "human: q", "gpt: a"], ["s: s\n\nt", "u: q", "a: a"],
     {"joined to the turn before it": 1}),
    ("a blank system prompt", ["system:  ", "human: q", "gpt: a"], ["u: q", "a: a"], {"empty turn": 1}),
    ("other spellings", ["USER: q", "ChatGPT-4: a", "User_1: r", "Assistant:: b"],
     ["u: q", "a: a", "u: r", "a: b"], {}),
    ("another assistant", ["human: q", "gpt: As an AI language model, I can't.", "human: r", "gpt: b"],
     ["u: r", "a: b"], {"the answer speaks as another assistant": 2}),
    ("a repetition around another assistant",
     ["human: q", "gpt: a", "human: who?", "gpt: I am ChatGPT.", "human: q", "gpt: a"], ["u: q", "a: a"],
     {"the answer speaks as another assistant": 2, "repeats the turn before it": 2}),
    ("another's system prompt", ["system: You are ChatGPT.", "human: q", "gpt: a"], ["u: q", "a: a"],
     {"the system prompt names another assistant": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "turns", "out", "removed"), TURNS, ids=[case[0] for case in TURNS])
def test_turns_in_order(name: str, turns: list[str], out: list[str], removed: dict[str, int]) -> None:
    cleaned = cleaned_chat(chat(*turns))
    assert told(cleaned) == out
    assert cleaned.turns.removed == removed
    assert (cleaned.turns.came, cleaned.turns.went) == (len(turns), len(out))


REJECTED = [
    # name, row, the reason, the details
    ("nobody's role", chat("human: q", "narrator: n", "gpt: a"), "a role is not known", "'narrator'"),
    ("a late system prompt", chat("human: q", "gpt: a", "system: s", "human: r", "gpt: b"),
     "a system prompt within the conversation", ""),
    ("no question", chat("gpt: a"), "an answer without its question", ""),
    ("no answer", chat("human: q"), "a question without its answer", ""),
    ("nothing", chat(), "there is no turn in it", ""),
    ("no text", {"messages": [{"role": "user", "content": 7}, {"role": "assistant", "content": "a"}]},
     "a turn cannot be read", "the content of turn 1 is a number, not text"),
    ("no turn", {"messages": ["q", "a"]},
     "a turn cannot be read", "turn 1 is text, not an object with a role and a content"),
    ("a role that cannot be told",
     {"messages": [{"content": "q"}, {"content": "r"}, {"role": "assistant", "content": "a"}]},
     "a role is not known", "turn 1 has no role"),
    ("only another assistant", chat("human: q", "gpt: I am ChatGPT."), "the answer speaks as another assistant", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "reason", "why"), REJECTED, ids=[case[0] for case in REJECTED])
def test_rejected_with_the_reason_and_all_their_turns(name: str, row: dict[str, Any], reason: str, why: str) -> None:
    cleaned = cleaned_chat(row)
    count = len(row["conversations"] if "conversations" in row else row["messages"])
    assert (cleaned.parts, cleaned.reason, cleaned.why) == ([], reason, why)
    assert cleaned.turns == Turns(count, 0, Counter(), Counter({reason: count}))


def test_roles_and_texts_that_are_missing() -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"content": "a"}, {"role": "user", "content": None},
                        {"role": "assistant", "content": "b"}]}  # fmt: skip
    cleaned = cleaned_chat(row)
    assert told(cleaned) == ["u: q", "a: a"]
    assert cleaned.changes["roles that were missing, told by the turns around them"] == 1
    assert cleaned.turns.removed == {"empty turn": 1, "an answer without its question": 1}


def test_a_system_prompt_that_was_a_field_is_a_turn_more() -> None:
    cleaned = cleaned_chat({**chat("human: q", "gpt: a"), "system": "s"})
    assert told(cleaned) == ["s: s", "u: q", "a: a"]
    assert cleaned.turns == Turns(2, 3, Counter({"system prompts that were a field": 1}), Counter())


def test_calls_of_tools_stay_with_their_results() -> None:
    call = json.dumps({"name": "f", "arguments": {"x": 1}})
    row = {
        **chat("human: <p>q</p>", "gpt: let me see", f"function_call: {call}", "observation: <b>1</b>", "gpt: a<br>b"),
        "tools": [{"name": "f"}],
    }
    cleaned = cleaned_chat(row)
    assert told(cleaned) == ["u: q", "a: let me see", "t: <b>1</b>", "a: a\nb"]
    assert cleaned.parts[0][1].tool_calls[0]["function"] == {"name": "f", "arguments": {"x": 1}}
    assert cleaned.turns.removed == {"calls of tools that stood in turns of their own": 1}
    row["conversations"][4]["value"] = "I am ChatGPT."
    row["conversations"] += chat("human: r", "gpt: b", "human: s")["conversations"]
    cleaned = cleaned_chat(row)
    assert told(cleaned) == ["u: r", "a: b"]
    assert cleaned.turns.removed["the answer speaks as another assistant"] == 4
    assert cleaned.turns.removed["out of order around calls of tools"] == 1


WORDS = st.sampled_from(
    [
        "",
        " ",
        "q",
        "more",
        "<p>x</p>",
        "a\u200b",
        "As an AI language model, I can't.",
        "```\nx\n```",
        "你好",
        "I am ChatGPT.",
    ]
)
ROLES = st.sampled_from(["human", "gpt", "human", "gpt", "system", "narrator", "", "USER"])


@given(
    st.lists(st.tuples(ROLES, WORDS), max_size=9), st.sampled_from(["drop", "rewrite", "keep"]), st.none() | st.just(9)
)
@settings(max_examples=500)
def test_every_turn_goes_out_or_has_a_reason(turns: list[tuple[str, str]], vendor: Any, limit: int | None) -> None:
    rules = Rules(vendor=vendor, identity=OURS, limit=limit)
    row = {"id": "x", "conversations": [{"from": role, "value": words} for role, words in turns]}
    cleaned = cleaned_chat(row, rules)
    cleaned.turns.check()
    assert cleaned.turns.came == len(turns)
    assert cleaned.turns.went == sum(len(part) for part in cleaned.parts)
    assert bool(cleaned.parts) != bool(cleaned.reason)
    for part in cleaned.parts:
        assert whole(part) == tuple(part), "what goes out is sound"
        again = cleaned_chat({"messages": [{"role": one.role, "content": one.content} for one in part]}, rules)
        assert (again.parts, again.turns.removed, again.changes) == ([part], {}, {}), "to clean twice changes nothing"


# -- length ----------------------------------------------------------------------------------------------------------

CONVERSATIONS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12)


@given(CONVERSATIONS, st.integers(0, 5), st.integers(1, 40), st.booleans())
@settings(max_examples=300)
def test_splitting_conserves_every_turn(sizes: list[tuple[int, int]], system: int, limit: int, dearer: bool) -> None:
    head = [Message("system", "s" * system)] if system else []
    body = [
        Message("user" if i % 2 == 0 else "assistant", f"{i}".rjust(size, "."))
        for i, size in enumerate(size for pair in sizes for size in pair)
    ]

    def lengths(messages: Any) -> list[int]:
        """Dearer: the first turns of a conversation take more room there than in the middle of one."""
        counts = characters(messages)
        return [counts[0] + 3, *counts[1:]] if dearer else counts

    parts = split(head + body, limit, lengths)
    assert [message for part, _ in parts for message in part[len(head) :]] == body
    for i, (part, length) in enumerate(parts):
        assert part[: len(head)] == head
        assert length == sum(lengths(part))
        assert length <= limit or len(exchanges_of(part)) == 1
        if i and not dearer:  # nothing fits that was put into the next part
            following = exchanges_of(part)[0]
            more = sum(characters(part[following[0] : following[1]]))
            assert sum(characters(parts[i - 1][0])) + more > limit


# -- language --------------------------------------------------------------------------------------------------------

LANGUAGE = [
    ("How do I sort a list in Python? You can use sorted().", "en", True),
    ("How do I sort a list in Python? You can use sorted().", "zh", False),
    ("怎么用 Python 给列表排序？\n```python\nsorted(items, key=lambda item: item.name)\n```", "zh", True),
    ("怎么用 Python 给列表排序？\n```python\nsorted(items, key=lambda item: item.name)\n```", "en", False),
    ("看看 https://www.example.com/a/very/long/address/that/is/no/english 好吗", "zh", True),
    ("こんにちは。日本の首都は東京です。", "ja", True),
    ("こんにちは。日本の首都は東京です。", "zh", False),
    ("안녕하세요. 무엇을 도와드릴까요?", "ko", True),
    ("Прошу прощения, вот полный код приложения.", "ru", True),
    ("Prøv igen", "en", True),  # too few words to tell
    ("Könnten Sie mir bitte sagen, wie das mit dem Auto und der Ampel ist?", "de", True),
    ("Könnten Sie mir bitte sagen, wie das mit dem Auto und der Ampel ist?", "en", False),
    ("Quelle est la capitale de la France et pour qui est-elle dans les livres ?", "fr", True),
    ("12345 !!!", "en", True),
    ("12345 !!!", "zh", True),
]


@pytest.mark.parametrize(("text", "language", "expected"), LANGUAGE)
def test_language(text: str, language: str, expected: bool) -> None:
    assert is_in(text, language) == expected


def test_conversations_in_another_language_go() -> None:
    english, chinese = chat("human: How are you?", "gpt: Fine, and you?"), chat("human: 你好吗？", "gpt: 很好。")
    rules = Rules(languages=("zh",))
    assert told(cleaned_chat(chinese, rules))
    assert cleaned_chat(english, rules).reason == "is in another language"
    assert told(cleaned_chat(english, Rules(languages=("zh", "en"))))


# -- rows of other forms ---------------------------------------------------------------------------------------------

FORMS = [
    # name, row in, row out (None: dropped), turns in and out
    ("Alpaca", {"instruction": "<p>q</p>", "input": "x\u200b", "output": "a<br>b", "n": 7},
     {"instruction": "q", "input": "x", "output": "a\nb", "n": 7}, (2, 2)),
    ("question and answer", {"question": "qShare Prompt", "answer": "a"}, {"question": "q", "answer": "a"}, (2, 2)),
    ("no history", {"prompt": "q", "response": "a\xa0", "history": []}, {"prompt": "q", "response": "a", "history": []},
     (2, 2)),
    ("Self-Instruct", {"instruction": "q", "instances": [{"input": "", "output": "a\u200b"}]},
     {"instruction": "q", "instances": [{"input": "", "output": "a"}]}, (2, 2)),
    ("preference", {"prompt": "q", "chosen": "<p>a</p>", "rejected": "b"},
     {"prompt": "q", "chosen": "a", "rejected": "b"}, (3, 3)),
    ("preference of turns", {"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a\xa0b"}],
                             "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "c"}]},
     {"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a b"}],
      "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "c"}]}, (3, 3)),
    ("ranked", {"instruction": "q", "output": ["a\u200b", "b"]}, {"instruction": "q", "output": ["a", "b"]}, (3, 3)),
    ("labelled", {"prompt": "q", "completion": "a<br>b", "label": True},
     {"prompt": "q", "completion": "a\nb", "label": True}, (2, 2)),
    ("running text", {"text": "As an AI language model, I am text.<br>b"},
     {"text": "As an AI language model, I am text.\nb"}, (1, 1)),
    ("a tree", {"message_tree_id": "t", "prompt": {"text": "q", "role": "prompter", "replies": [
        {"text": "a\u200b", "role": "assistant", "replies": []},
        {"text": "I am ChatGPT.", "role": "assistant", "replies": [
            {"text": "r", "role": "prompter", "replies": []}]}]}},
     {"message_tree_id": "t", "prompt": {"text": "q", "role": "prompter", "replies": [
         {"text": "a", "role": "assistant", "replies": []}]}}, (4, 2)),
    ("nothing left", {"instruction": "q", "output": "\u200b"}, None, (2, 0)),
    ("another assistant", {"prompt": "q", "chosen": "I am ChatGPT.", "rejected": "b"}, None, (3, 0)),
]  # fmt: skip


def clean_file(folder: Path, rows: list[Any], rules: Rules | None = None) -> list[CleanRow]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    unread = Turns()
    return list(clean_rows(str(path), rules or Rules(), ledger=Ledger(), on_reject=lambda one: None, unread=unread))


@pytest.mark.parametrize(("name", "row", "out", "turns"), FORMS, ids=[case[0] for case in FORMS])
def test_rows_of_other_forms_keep_their_form(
    tmp_path: Path, name: str, row: dict[str, Any], out: dict[str, Any] | None, turns: tuple[int, int]
) -> None:
    (cleaned,) = clean_file(tmp_path, [row])
    assert list(cleaned.rows) == ([] if out is None else [out])
    cleaned.cleaned.turns.check()
    assert (cleaned.cleaned.turns.came, cleaned.cleaned.turns.went) == turns
    if out is not None:
        convert_row(out, Origin("f", 1), [])


def test_nobody_speaks_in_running_text(tmp_path: Path) -> None:
    row = {"text": "As an AI language model, I am text."}
    (cleaned,) = clean_file(tmp_path, [row], Rules(vendor="rewrite", identity=OURS))
    assert list(cleaned.rows) == [row]


def test_rows_of_several_exchanges_become_conversations(tmp_path: Path) -> None:
    alpaca = {"instruction": "q2", "input": "", "output": "a2", "history": [["q1", "a1"]], "system": "s"}
    vicuna = {"input": ["q1", " "], "output": ["a1", "a2"]}
    first, second = clean_file(tmp_path, [alpaca, vicuna])
    assert [turn["content"] for turn in first.rows[0]["messages"]] == ["s", "q1", "a1", "q2", "a2"]
    assert [turn["content"] for turn in second.rows[0]["messages"]] == ["q1", "a1"]
    assert second.cleaned.turns.removed == {"empty turn": 1, "an answer without its question": 1}


def test_parts_are_named_after_their_conversation(tmp_path: Path) -> None:
    row = {**chat("system: s", "human: q1", "gpt: a1", "human: q2", "gpt: a2"), "id": "abc_17"}
    bare = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0}]
    cut, named, copy = clean_file(tmp_path, [row, {"messages": bare, "session_id": "s7"}, bare], Rules(limit=5))
    assert [(one["id"], one["conversation_id"]) for one in cut.rows] == [("abc_17_0", "abc_17"), ("abc_17_1", "abc_17")]
    assert [len(one["messages"]) for one in cut.rows] == [3, 3]
    assert cut.cleaned.turns == Turns(5, 6, Counter({"system prompts, said again to each part": 1}), Counter())
    assert named.rows[0]["session_id"] == "s7"
    assert named.rows[0]["messages"] == bare
    assert re.fullmatch("[0-9a-f]{16}", copy.rows[0]["id"])
    assert copy.rows[0]["id"] == clean_file(tmp_path, [bare, bare])[1].rows[0]["id"], "wherever it stands"


# -- validation ------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9)), min_size=4, max_size=40), st.randoms())
@settings(max_examples=100)
def test_held_out_by_conversation_whatever_the_order(rows: list[tuple[str, int]], random: Any) -> None:
    asked = [(f"Question {number} ?", Origin("f", i, f"{name}_{i}")) for i, (name, number) in enumerate(rows)]
    asked.append(("Alone", Origin("f", len(rows))))  # a series that all rows belong to numbers rows, not parts
    rows = [*rows, ("z", 99)]
    held = {asked[i] for i in held_out(asked, 0.3, 7)}
    groups = {name for (name, _), one in zip(rows, asked, strict=True) if one in held}
    assert not groups & {name for (name, _), one in zip(rows, asked, strict=True) if one not in held}
    questions = {question for question, _ in held}
    assert not questions & {question for question, _ in asked if (question, _) not in held}
    shuffled = asked.copy()
    random.shuffle(shuffled)
    assert {shuffled[i] for i in held_out(shuffled, 0.3, 7)} == held


def test_the_share_that_is_held_out() -> None:
    asked = [(f"Question {i}", Origin("f", i)) for i in range(200)]
    first, second = set(held_out(asked, 0.1, 1)), set(held_out(asked, 0.1, 2))
    assert len(first) == len(second) == 20
    assert first != second
    assert first == set(held_out(asked, 0.1, 1))


# -- real files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sharegpt_en_1k_raw.jsonl", "sharegpt_zh_1k.jsonl"])
def test_real_conversations(shared_data: Path, name: str) -> None:
    """Every code block byte by byte, no HTML but in talk, every turn accounted for."""
    lines = (shared_data / "dialogue" / name).read_text("utf-8").splitlines()
    named, total = 0, Turns()
    for line in lines:
        row = json.loads(line)
        for turn in row["conversations"]:
            text = clean(turn["value"], "assistant" if turn["from"] == "gpt" else "user")
            kept = {match[0] for match in FENCES.finditer(text)}
            assert all(match[0] in kept for match in FENCES.finditer(turn["value"]))
        cleaned = cleaned_chat(row)
        total.count(cleaned.turns)
        for part in cleaned.parts:
            for message in part:
                bare = re.sub(r"`[^`\n]+`", "", FENCES.sub("", message.content))
                named += bool(re.search(r"</?(?:div|p|span|ul|li|table|td|br|pre|h\d|button|svg)\b[^<>]*>", bare))
    total.check()
    assert total.came == sum(len(json.loads(line)["conversations"]) for line in lines)
    assert named <= 3, "what is left are sentences about tags"
