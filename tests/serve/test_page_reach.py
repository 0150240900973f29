"""The page for everyone: without a mouse, with a screen reader, with an input method, on a phone, in both colours."""

from __future__ import annotations

import pytest
from page_browser import Chat
from selenium.webdriver.common.keys import Keys

LONG = "Write a Python function that finds prime numbers"

# Elements that reach over the right edge and are not in a box of their own that scrolls.
OVERFLOW = """
const width = document.documentElement.clientWidth;
const scrolls = (node) => node.closest('.code pre, .table-box, .formula, .board, .unseen, .dunes, .skip-link') !== null;
const wide = [...document.body.querySelectorAll('*')].filter((node) => node.getClientRects().length && !scrolls(node) &&
  (node.getBoundingClientRect().right > width + 1 || node.getBoundingClientRect().left < -1) &&
  getComputedStyle(node).visibility !== 'hidden' && node.getBoundingClientRect().right > 0);
return [document.scrollingElement.scrollWidth > width, ...wide.map((node) => node.localName + '.' + node.className)];
"""

# Texts whose contrast with what is behind them is below 4.5 to 1 (WCAG AA); what is disabled is exempt.
CONTRAST = """
const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (node) => { for (let at = node; at; at = at.parentElement) { const colour = rgba(getComputedStyle(at).backgroundColor); if (colour[3] === 255) return colour; } return rgba('white'); };
const faint = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !node.getClientRects().length || node.closest(':disabled, .unseen, noscript, option')) continue;
  const [a, b] = [light(rgba(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) faint.push(walker.currentNode.data.slice(0, 30) + ' ' + ratio.toFixed(2));
}
return faint;
"""


def _compare(chat: Chat) -> None:
    chat.js("document.querySelector('[data-label=compareHelp]').click()")


def test_an_input_methods_enter_sends_nothing(chat: Chat) -> None:
    field = chat.one("#ask")
    field.click()
    cdp = chat.driver.execute_cdp_cmd
    composing = {"text": "ni hao", "selectionStart": 6, "selectionEnd": 6}
    cdp("Input.imeSetComposition", composing)
    for kind in ("rawKeyDown", "keyUp"):
        cdp("Input.dispatchKeyEvent", {"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229})
    # Safari's order: the composition has ended, and Enter comes with its key code alone.
    chat.js(
        "arguments[0].dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))",
        field,
    )
    assert chat.server.asks == []
    cdp("Input.insertText", {"text": "你好"})
    assert field.get_attribute("value") == "你好"
    assert chat.server.asks == []
    chat.press(Keys.ENTER)
    chat.wait(lambda: chat.server.asks, "then it is sent")
    chat.quiet()
    assert chat.server.asks[0]["messages"] == [{"role": "user", "content": "你好"}]


def test_lines_and_short_cuts(chat: Chat) -> None:
    field = chat.one("#ask")
    field.send_keys("one")
    chat.press(Keys.SHIFT, Keys.ENTER)
    field.send_keys("two", Keys.ENTER)
    chat.wait(lambda: chat.server.asks, "it is sent")
    chat.quiet()
    assert chat.server.asks[0]["messages"][0]["content"] == "one\ntwo"
    chat.press(Keys.ARROW_UP)
    assert chat.one(".editor").get_attribute("value") == "one\ntwo"
    chat.press(Keys.ESCAPE)
    assert not chat.all(".editor")
    chat.js("document.activeElement.blur()")
    chat.press("/")
    assert chat.js("return document.activeElement.id") == "ask"
    chat.press("/")
    assert field.get_attribute("value") == "/", "in a field it is a character"
    chat.js("document.activeElement.blur()")
    chat.press("?")
    chat.one("dialog", "Keyboard")
    chat.press(Keys.ESCAPE)
    chat.wait(lambda: not chat.all("dialog"), "it closes")


def test_all_by_keyboard(chat: Chat) -> None:
    """Everything is reached by Tab, is seen to be reached, and has a name."""
    chat.say("hello")
    chat.js("document.activeElement.blur(); document.getElementById('scroller').focus()")
    reached = []
    for _ in range(40):
        chat.press(Keys.TAB)
        name, outline, again = chat.js(
            "const e = document.activeElement; const again = 'reached' in e.dataset; e.dataset.reached = '';"
            "return [e.getAttribute('aria-label') || e.innerText || e.id, getComputedStyle(e).outlineStyle, again]"
        )
        if chat.js("return document.activeElement === document.body"):
            continue
        if again:
            break
        reached.append(name)
        assert name
        assert outline != "none" or chat.js("return document.activeElement.id") == "ask", f"{name}: no ring"
    for wanted in (
        "New chat",
        "Another answer",
        "Copy",
        "Settings",
        "Branches",
        "Your message",
        "Export as training data",
    ):
        assert any(name.startswith(wanted) for name in reached), f"{wanted} is not reached: {reached}"


def test_settings_and_dialogs_keep_the_focus(chat: Chat) -> None:
    chat.one("#open-drawer").send_keys(Keys.ENTER)
    assert chat.js("return document.getElementById('drawer').contains(document.activeElement)")
    assert chat.one("#open-drawer").get_attribute("aria-expanded") == "true"
    chat.press(Keys.ESCAPE)
    assert not chat.all("#drawer")
    assert chat.js("return document.activeElement.id") == "open-drawer"


def test_what_a_screen_reader_hears(chat: Chat) -> None:
    chat.say(LONG)
    assert chat.text("#announcer").startswith("camelid-tuned: A **sieve**")
    _compare(chat)
    chat.say("next")
    chat.click("#open-drawer")
    named = {"button", "textbox", "combobox", "slider", "spinbutton", "link", "checkbox", "meter"}
    nodes = chat.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    assert [role for role, name in roles if role in named and not name.strip()] == []
    assert {"main", "navigation", "complementary", "article"} <= {role for role, _ in roles}
    assert [name for role, name in roles if role == "heading"][:1]


@pytest.mark.parametrize("width", [360, 820])
def test_narrow(chat: Chat, width: int) -> None:
    chat.size(width, 740, mobile=True)
    chat.open(fresh=False)
    assert chat.js(OVERFLOW) == [False], "the beginning"
    chat.say(LONG)
    chat.say("https://a.example/" + "x" * 300 + " `" + "y" * 200 + "`")
    assert chat.js(OVERFLOW) == [False], "a chat"
    _compare(chat)
    chat.say("Explain why the sky is blue, for a child of eight")
    assert chat.js(OVERFLOW) == [False], "a comparison"
    chat.click(".vote.tie")
    chat.one(".vote-bar", "votes.jsonl")
    for panel in ("drawer", "branches"):
        chat.click(f"#open-{panel}")
        assert chat.js(OVERFLOW) == [False], panel
        chat.press(Keys.ESCAPE)
    chat.click("#open-export")
    assert chat.js(OVERFLOW) == [False], "the export"
    chat.press(Keys.ESCAPE)
    chat.wait(lambda: not chat.all("dialog"), "it closes")
    chat.click("#open-list")
    chat.click("#sidebar .open", LONG[:20])
    chat.wait(lambda: not chat.all("#sidebar"), "the list makes way")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_contrast(chat: Chat, colours: str) -> None:
    chat.js("localStorage.setItem('camelid.settings', JSON.stringify({ theme: arguments[0] }))", colours)
    chat.open(fresh=False)
    assert chat.js(CONTRAST) == []
    chat.say(LONG)
    chat.say("full")
    chat.click("#open-drawer")
    assert chat.js(CONTRAST) == []
    _compare(chat)
    chat.say("Explain why the sky is blue, for a child of eight")
    chat.click(".vote.left")
    chat.one(".vote-bar", "votes.jsonl")
    assert chat.js(CONTRAST) == []
    chat.click("#open-branches")
    assert chat.js(CONTRAST) == []
    assert all("status of 400" in trouble for trouble in chat.troubles())


def test_less_motion(chat: Chat) -> None:
    media = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    chat.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    chat.say("slow", wait=False)
    chat.wait(lambda: "word2" in chat.text(".answer .prose"), "words")
    moving = chat.js("return document.getAnimations().filter((each) => each.playState === 'running').length")
    chat.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chat.press(Keys.ESCAPE)
    assert moving == 0
