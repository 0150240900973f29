"""Cleaning a text: HTML, noise, other makers' words; code is never touched."""

from __future__ import annotations

import html
import re
from collections import Counter

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from camelid.data.factory.clean.markdown import fence, segments, span
from camelid.data.factory.clean.markup import tags_left, without_html
from camelid.data.factory.clean.noise import without_noise
from camelid.data.factory.clean.text import Rules, cleaned_text
from camelid.data.factory.clean.vendor import Identity, rewritten, speaks_as_another, tells_of_another
from camelid.data.records import Role


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
PLAIN = '<p>before</p><pre><code class="python">{}</code></pre><button class="copy">Copy code</button><p>after</p>'
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
    # the site's own buttons, where no rendering names its classes
    ("assistant", "<pre><code>a &lt; b\n</code></pre><button>Copy code</button>", "", "```\na < b\n```"),
    ("assistant", "<pre><div>sql<button><svg></svg>Copy</button></div><code>x\n</code></pre>", "", "```sql\nx\n```"),
    ("assistant", "<button>复制</button>\n你好", "", "你好"),
    ("assistant", "<pre><code><button>Copy</button>\n</code></pre>", "How do I write a button in HTML?",
     "```html\n<pre><code><button>Copy</button>\n</code></pre>\n```"),
    ("assistant", "<div>\n<button>Copy</button>\n</div>", "Write HTML with a button.",
     "```html\n<div>\n<button>Copy</button>\n</div>\n```"),
    # source is fenced from where its pre begins
    ("user", 'Why?\n<pre class="x"><code>def f(x):\n    return 1\n</code></pre>\nthanks', "",
     'Why?\n```html\n<pre class="x"><code>def f(x):\n    return 1\n</code></pre>\n```\nthanks'),
    # what stands in code says nothing of its page
    ("assistant", "<p>React:</p><pre><code>&lt;a b={c}&gt;</code></pre>", "", "React:\n\n```\n<a b={c}>\n```"),
    ("assistant", "Twig:\n<pre>{{ x }}</pre>", "Write a template.", "Twig:\n```html\n<pre>{{ x }}</pre>\n```"),
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


@given(CODES, st.booleans(), st.booleans(), st.sampled_from(["", "Write the code of a page in HTML."]))
@settings(max_examples=300)
@example(code="d={'a': 1}\nprint(f'{{d}}')", highlighted=False, plain=True, asked="")
def test_code_of_a_page_keeps_every_byte(code: str, highlighted: bool, plain: bool, asked: str) -> None:
    assume(code.strip() and not code.startswith("\n"))
    escaped = html.escape(code)
    if highlighted:
        escaped = "".join(f'<span class="hljs-x">{html.escape(one)}</span>' for one in code)
    page = PLAIN.format(escaped) if plain else PAGE.format(f"<p>before</p>{CODE_BLOCK.format(escaped)}<p>after</p>")
    text = clean(page, asked=asked)
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
    "unit",
    [
        "\n",
        " ",
        "<p>",
        "<b>\n",
        "<!--",
        "<a b='",
        "`",
        "```x\n",
        "as an AI ",
        "作为",
        "<td>",
        "<pre><button>",
        "<pre>\n",
    ],
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
