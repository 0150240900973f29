"""The chat page in a real browser: what a person does, and what the server hears of it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from page_browser import Chat
from selenium.webdriver.common.keys import Keys

from camelid.data.records import Conversation
from camelid.data.sources import Ledger, read_records

BETTER = {"tie": "Equal", "right": "B is better", "left": "A is better", "bad": "Both are bad"}


def test_a_question_is_answered(chat: Chat) -> None:
    chat.say("hello **you**")
    assert chat.questions() == ["hello you"]
    assert chat.answers() == ["camelid-tuned heard: hello you"]
    [ask] = chat.server.asks
    assert ask["messages"] == [{"role": "user", "content": "hello **you**"}]
    assert (ask["model"], ask["stream"], ask["stream_options"]) == ("camelid-tuned", True, {"include_usage": True})
    assert not set(ask) - {"model", "messages", "stream", "stream_options"}, "what is at auto is not sent"


def test_the_key_leaves_the_address(chat: Chat) -> None:
    assert "key" not in chat.driver.current_url
    assert chat.js("return sessionStorage.getItem('camelid.key')")
    chat.driver.refresh()
    chat.say("still there")
    assert len(chat.server.asks) == 1


def test_without_a_key_it_is_asked_for(chat: Chat) -> None:
    chat.driver.get("about:blank")
    chat.driver.get(f"{chat.server.origin}/#key=wrong-key")
    chat.one("dialog", "This server asks for a key")
    chat.press(Keys.ESCAPE)
    field = chat.one("dialog input")
    field.send_keys("also-wrong", Keys.ENTER)
    chat.one("dialog", "does not know this key")
    field.clear()
    field.send_keys("key-of-a-test", Keys.ENTER)
    chat.wait(lambda: not chat.all("dialog"), "the dialog closes")
    chat.say("now")
    assert len(chat.server.asks) == 1
    _expect(chat, "status of 401")


def test_an_answer_is_seen_while_it_is_written_and_can_be_stopped(chat: Chat) -> None:
    chat.say("slow one", wait=False)
    chat.wait(lambda: "word5" in chat.text(".answer .prose"), "first words")
    assert chat.js("return document.querySelector('.answer').getAttribute('aria-busy')") == "true"
    assert chat.text("#announcer") == "", "not read out word by word"
    chat.click("[aria-label='Stop']")
    chat.one(".answer .notes", "stopped")
    assert chat.server.hung_up.wait(5), "the server learns of it"
    length = len(chat.answers()[0])
    time.sleep(0.3)
    assert len(chat.answers()[0]) == length < 2000
    assert chat.text("#announcer").startswith("camelid-tuned: word0")


def test_escape_stops(chat: Chat) -> None:
    chat.say("slow one", wait=False)
    chat.wait(lambda: "word2" in chat.text(".answer .prose"), "first words")
    chat.press(Keys.ESCAPE)
    chat.one(".answer .notes", "stopped")


def test_another_answer_and_an_edit_are_branches(chat: Chat) -> None:
    chat.say("first")
    chat.say("second")
    chat.label(".answer", "Another answer").click()
    chat.quiet()
    assert chat.one(".answer .place").text == "2 / 2"
    chat.label(".answer .switcher", "Branch before").click()
    chat.wait(lambda: len(chat.questions()) == 2, "the branch with the second question")
    question = chat.all(".question")[1]
    chat.hover(question)
    question.find_element("css selector", "[aria-label^='Edit']").click()
    editor = chat.one(".editor")
    assert editor.get_attribute("value") == "second"
    editor.send_keys(" thoughts", Keys.ENTER)
    chat.quiet()
    assert chat.questions() == ["first", "second thoughts"]
    assert [m["content"] for m in chat.server.asks[-1]["messages"]][::2] == ["first", "second thoughts"]
    chat.label(".question .switcher", "Branch before").click()
    chat.wait(lambda: chat.questions() == ["first", "second"], "the question as it was")
    chat.driver.refresh()
    chat.click("#sidebar .open", "first")
    chat.wait(lambda: chat.questions() == ["first", "second"], "the tree after a reload")


def test_the_map_of_branches(chat: Chat) -> None:
    chat.say("one")
    chat.say("two")
    chat.label(".answer:last-child", "Another answer").click()
    chat.quiet()
    chat.click("#open-branches")
    spots = chat.all("#branches .board .spot")
    assert len(spots) == 5
    answers = [spot for spot in spots if "heard: two" in (spot.get_attribute("aria-label") or "")]
    assert [spot.get_attribute("aria-pressed") for spot in answers] == ["false", "true"]
    answers[0].click()
    chat.wait(lambda: chat.text(".answer .place") == "1 / 2", "the branch is shown")
    assert chat.js("return document.activeElement.getAttribute('aria-pressed')") == "true", "the focus stays"


def test_a_conversation_while_another_is_answered(chat: Chat) -> None:
    chat.say("slow first", wait=False)
    chat.wait(lambda: "word2" in chat.text(".answer .prose"), "first words")
    chat.click(".new-chat")
    chat.say("second")
    assert chat.answers() == ["camelid-tuned heard: second"]
    chat.click("#sidebar .open", "slow first")
    chat.wait(lambda: "word20" in chat.text(".answer .prose"), "it goes on")
    chat.press(Keys.ESCAPE)


def test_rename_and_delete(chat: Chat) -> None:
    chat.say("to be named")
    chat.hover(chat.one("#sidebar li"))
    chat.label("#sidebar li", "Rename").click()
    field = chat.one("dialog input")
    field.clear()
    field.send_keys("骆驼", Keys.ENTER)
    chat.one("#sidebar .open", "骆驼")
    chat.hover(chat.one("#sidebar li"))
    chat.label("#sidebar li", "Delete").click()
    chat.click("dialog .danger")
    chat.wait(lambda: not chat.all("#sidebar li"), "it is gone")
    chat.driver.refresh()
    chat.one("#sidebar", "Nothing here yet")


def test_languages(chat: Chat) -> None:
    chat.one("h1", "What shall we talk about?")
    chat.click(".language")
    chat.one("h1", "想聊点什么？")
    assert chat.js("return document.documentElement.lang") == "zh-CN"
    assert chat.one("#ask").get_attribute("placeholder") == "随便问点什么……"
    chat.say("slow 你好", wait=False)
    chat.wait(lambda: "word5" in chat.text(".answer .prose"), "an answer begins")
    chat.click(".language")
    length = len(chat.answers()[0])
    chat.wait(lambda: len(chat.answers()[0]) > length, "it goes on through the switch")
    chat.one("[aria-label='Stop']").click()
    chat.click(".language")
    chat.driver.refresh()
    chat.one("h1", "想聊点什么？")


def test_the_browsers_language_comes_first(chat: Chat) -> None:
    chat.driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": "x", "acceptLanguage": "zh-CN"})
    try:
        chat.open()
        chat.one("h1", "想聊点什么？")
    finally:
        chat.driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": "x", "acceptLanguage": "en-US"})


def test_every_text_is_there_in_both_languages(chat: Chat) -> None:
    words = chat.js_async("const { WORDS } = await import('/page/words.js'); return WORDS;")
    used = set()
    for script in Path(__file__).parents[2].joinpath("src/camelid/serve/page").glob("*.js"):
        used |= set(re.findall(r'"([a-z]\w+)"', script.read_text("utf-8")))
    assert set(words) <= used | {f"{name}Help" for name in words}, "words that nothing uses"
    for name, both in words.items():
        assert set(both) == {"en", "zh"}, name
        assert both["en"], name
        assert both["zh"], name
        assert set(re.findall(r"\{\w+\}", both["en"])) == set(re.findall(r"\{\w+\}", both["zh"])), name


def test_dark_and_light(chat: Chat) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    assert chat.js(paper) == "rgb(250, 248, 245)"
    for _ in range(2):
        chat.click(".theme")
    assert chat.js(paper) == "rgb(23, 21, 18)"
    chat.driver.refresh()
    assert chat.js(paper) == "rgb(23, 21, 18)", "kept"
    chat.click(".theme")
    media = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    chat.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    assert chat.js(paper) == "rgb(23, 21, 18)", "as the system has it"
    chat.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize(
    "vote", [*list(BETTER)[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in list(BETTER)[2:])]
)
def test_a_vote_between_two_models(chat: Chat, vote: str) -> None:
    chat.click("#bar .chip", "Compare")
    chat.say("Explain why the sky is blue, for a child of eight")
    assert sorted(ask["model"] for ask in chat.server.asks) == ["camelid-tuned", "smollm2-base"]
    assert chat.texts(".side .name") == ["Answer A", "Answer B"], "blind"
    assert "camelid-tuned" not in chat.text(".duel")
    assert "tokens" not in chat.text(".duel"), "numbers could tell"
    sides = chat.texts(".side .prose")
    chat.click(".vote", BETTER[vote])
    chat.one(".vote-bar", "votes.jsonl")
    names = chat.texts(".side .name")
    assert sorted(names) == ["camelid-tuned", "smollm2-base"]
    [kept] = chat.server.votes
    chosen, rejected = (1, 0) if vote == "right" else (0, 1)
    assert (kept["model_chosen"], kept["model_rejected"]) == (names[chosen], names[rejected])
    assert kept["prompt"] == [{"role": "user", "content": "Explain why the sky is blue, for a child of eight"}]
    assert _starts_alike(kept["chosen"], sides[chosen])
    assert _starts_alike(kept["rejected"], sides[rejected])
    assert (kept["tie"], kept["both_bad"], kept["language"]) == (vote == "tie", vote == "bad", "en")
    chat.click("#bar .chip", "Compare")
    chat.say("and then?")
    assert chat.server.asks[-1]["messages"][1]["content"] == kept["chosen"][0]["content"], "it goes on with the better"
    assert chat.text(".answer .place") == f"{chosen + 1} / 2", "the other is a branch"


def _starts_alike(messages: list[dict[str, str]], shown: str) -> bool:
    return messages[0]["role"] == "assistant" and messages[0]["content"][:12] == shown[:12]


def test_blind_sides_are_shuffled_and_open_ones_are_not(chat: Chat) -> None:
    chat.click("#bar .chip", "Compare")
    order = set()
    for i in range(12):
        chat.say(f"round {i}")
        order.add(chat.texts(".side .prose")[0].split()[0])
        chat.click(".skip")
        chat.one(".vote-bar", "No vote")
        if len(order) == 2:
            break
    assert order == {"camelid-tuned", "smollm2-base"}
    assert chat.server.votes == []
    chat.click("#bar .chip", "Blind")
    for i in range(4):
        chat.say(f"open {i}")
        assert chat.texts(".side .name") == ["camelid-tuned", "smollm2-base"]
        chat.press(Keys.ALT, "3")
        chat.one(".vote-bar", "votes.jsonl")
    assert len(chat.server.votes) == 4


def test_a_vote_that_is_not_kept_can_be_given_again(chat: Chat) -> None:
    chat.server.refuse_votes = True
    chat.click("#bar .chip", "Compare")
    chat.say("Explain why the sky is blue, for a child of eight")
    chat.click(".vote.left")
    chat.one(".vote-bar", "the disk is full")
    assert chat.texts(".side .name") == ["Answer A", "Answer B"]
    chat.server.refuse_votes = False
    chat.click(".vote.left")
    chat.one(".vote-bar", "votes.jsonl")
    _expect(chat, "status of 503")


def test_equal_answers_cannot_be_preferred(chat: Chat) -> None:
    chat.click("#bar .chip", "Compare")
    chat.say("Derive the quadratic formula")
    chat.one(".vote-bar", "Both answers are the same")
    assert [button.is_enabled() for button in chat.all(".vote")] == [False, True, True, False]


def test_the_same_model_with_other_sampling(chat: Chat) -> None:
    chat.click("#bar .chip", "Compare")
    chat.click("#bar .chip", "Blind")
    chat.js(
        "const s = document.querySelectorAll('select.model')[1]; s.value = 'camelid-tuned'; s.dispatchEvent(new Event('change'))"
    )
    chat.click("#open-drawer")
    chat.click(".tab", "Model B")
    chat.one("#knob-temperature").send_keys(Keys.END)
    chat.one("#knob-seed").send_keys("7")
    chat.one("#knob-max_tokens").send_keys("0")
    assert chat.one("#knob-max_tokens").get_attribute("aria-invalid") == "true"
    chat.one("#knob-stop").send_keys("END\n\nstop")
    chat.click(".tab", "Model A")
    chat.one("#knob-top_k").send_keys(Keys.ARROW_RIGHT)
    chat.one("#system-prompt").send_keys("Be brief.")
    chat.say("hi")
    first, second = sorted(chat.server.asks, key=lambda ask: "temperature" in ask)
    assert (first["top_k"], "temperature" in first) == (1, False)
    assert (second["temperature"], second["seed"], second["stop"]) == (2, 7, ["END", "stop"])
    assert "max_tokens" not in second
    assert first["messages"][0] == second["messages"][0] == {"role": "system", "content": "Be brief."}


def test_a_busy_server_is_asked_again(chat: Chat) -> None:
    chat.say("busy now", wait=False)
    chat.one(".notice.wait", "All places are taken. Trying again in 1 s")
    chat.wait(lambda: "heard: busy now" in chat.text(".answer .prose"), "the answer after all")
    assert len(chat.server.asks) == 2
    _expect(chat, "status of 429")


def test_a_full_context_is_said_in_plain_words(chat: Chat) -> None:
    chat.say("full")
    chat.one(".notice.fault", "no longer fits")
    _expect(chat, "status of 400")


def test_a_broken_stream_keeps_what_came_and_can_be_tried_again(chat: Chat) -> None:
    chat.say("broken one")
    chat.one(".notice.fault", "broke before the answer was complete")
    assert chat.answers() == ["camelid-tune"]
    chat.click(".notice button", "Try again")
    chat.wait(lambda: len(chat.server.asks) == 2, "it is asked again")
    chat.one(".notice.fault")
    chat.say("and on")
    assert [m["role"] for m in chat.server.asks[-1]["messages"]] == ["user", "assistant", "user"]


def test_an_empty_answer_is_left_out_with_its_question(chat: Chat) -> None:
    chat.say("empty")
    chat.one(".answer .notes", "(an empty answer)")
    chat.say("next")
    assert chat.server.asks[-1]["messages"] == [{"role": "user", "content": "next"}]


def test_an_export_is_what_camelid_reads(chat: Chat, downloads: Path) -> None:
    chat.click("#open-drawer")
    chat.one("#system-prompt").send_keys("Answer briefly. 简短回答。")
    chat.click("#open-drawer")
    chat.say('你好 "quoted" \\ <|im_end|>')
    chat.say("Write a Python function that finds prime numbers")
    chat.label(".answer:nth-child(4)", "Another answer").click()
    chat.quiet()
    chat.say("slow end", wait=False)
    chat.wait(lambda: "word3" in chat.texts(".answer .prose")[-1], "words")
    chat.press(Keys.ESCAPE)
    chat.quiet()
    path = _conversations(_export(chat, downloads, "exportPath", "camelid-conversation.jsonl"))
    assert [[m.role for m in row.messages] for row in path] == [["system", "user", "assistant", "user", "assistant"]]
    assert path[0].messages[0].content == "Answer briefly. 简短回答。"
    assert path[0].messages[1].content == '你好 "quoted" \\ <|im_end|>'
    assert path[0].messages[4].content == chat.server.answers["prime"]
    branches = _export(chat, downloads, "exportBranches", "camelid-branches.jsonl")
    assert len(_conversations(branches)) == 1, "both answers are the same text"
    rows = [json.loads(line) for line in branches.read_text("utf-8").splitlines()]
    assert all(set(row) == {"messages"} for row in rows)


def test_an_export_does_not_teach_what_lost(chat: Chat, downloads: Path) -> None:
    chat.click("#bar .chip", "Compare")
    chat.say("Explain why the sky is blue, for a child of eight")
    chat.click(".vote", "Both are bad")
    chat.one(".vote-bar", "votes.jsonl")
    chat.click("#bar .chip", "Compare")
    chat.say("again, better")
    [row] = _conversations(_export(chat, downloads, "exportBranches", "camelid-branches.jsonl"))
    assert [m.trained for m in row.messages if m.role == "assistant"] == [False, None]
    chat.click(".new-chat")
    chat.click("#bar .chip", "Compare")
    chat.say("Explain why the sky is blue, for a child of eight")
    chat.click(".vote.right")
    chat.one(".vote-bar", "votes.jsonl")
    [row] = _conversations(_export(chat, downloads, "exportBranches", "camelid-branches.jsonl"))
    assert row.messages[-1].content == chat.server.votes[-1]["chosen"][0]["content"]
    assert len(_conversations(_export(chat, downloads, "exportAll", "camelid-conversations.jsonl"))) == 2


def _export(chat: Chat, downloads: Path, what: str, name: str) -> Path:
    for old in downloads.glob("*"):
        old.unlink()
    chat.click("#open-export")
    chat.click(f"[data-export={what}]")
    chat.wait(lambda: (downloads / name).exists() and not list(downloads.glob("*.crdownload")), f"{name} is written")
    return downloads / name


def _conversations(path: Path) -> list[Conversation]:
    ledger = Ledger()
    records = list(read_records(path, seed=0, ledger=ledger))
    ledger.check(max_rejected=0)
    assert all(isinstance(record, Conversation) for record in records)
    return [record for record in records if isinstance(record, Conversation)]


def _expect(chat: Chat, message: str) -> None:
    """Chromium itself writes each refused request to the console: nothing else may stand there."""
    troubles = chat.troubles()
    assert troubles
    assert all(message in trouble for trouble in troubles), troubles
