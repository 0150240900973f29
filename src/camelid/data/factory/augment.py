"""More rows from those that are there: other words around the question, slips of the hand, other forms, a way round.

All but the last need no model. Only the first question is changed, never an answer: what is learnt stays what it was.
Every new row says in `augmented` which way it was made, so that each way can be left out and its worth measured.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from camelid.data.factory.make.rules import in_language
from camelid.data.factory.rows import Row
from camelid.data.factory.teacher import AskAll
from camelid.data.factory.translate.fields import Path, with_texts
from camelid.data.factory.translate.job import translate_rows
from camelid.data.factory.translate.protect import protect
from camelid.data.records import Origin
from camelid.data.skills.draw import LANGUAGES, Language

Way = Literal["paraphrase", "noise", "format"]
WAYS: tuple[Way, ...] = ("paraphrase", "noise", "format")
BACK = "back-translate"

# {task}: the question as it is; {inner}: an order of English without its capital and full stop
_PARAPHRASES: dict[Language, tuple[str, ...]] = {
    "en": (
        "Please {inner}.",
        "Could you {inner}?",
        "I'd like you to {inner}.",
        "I need help with something: {task}",
        "Your task: {task}",
        "{task} Thanks!",
        "Here is what I need. {task}",
        "Can you help me with this? {task}",
        "Hello! {task}",
    ),
    "zh": (
        "请帮我完成这件事：{task}",
        "麻烦你：{task}",
        "你好，{task}",
        "我有个请求：{task}",
        "{task}谢谢！",
        "任务：{task}",
        "能帮我一下吗？{task}",
        "下面是我的要求。{task}",
    ),
}
_INPUT_FORMS: dict[Language, tuple[str, ...]] = {
    "en": (
        "{input}\n\n{task}",
        "{task}\n\nText:\n{input}",
        '{task}\n\n"""\n{input}\n"""',
        "# Task\n{task}\n\n# Input\n{input}",
        "<input>\n{input}\n</input>\n\n{task}",
    ),
    "zh": (
        "{input}\n\n{task}",
        "{task}\n\n文本：\n{input}",
        "{task}\n\n“{input}”",
        "# 任务\n{task}\n\n# 输入\n{input}",
        "<输入>\n{input}\n</输入>\n\n{task}",
    ),
}
_ORDER = re.compile(
    r"(?:add|analy[sz]e|answer|arrange|build|calculate|choose|classify|come up|compare|compose|compute|convert|create|"
    r"define|describe|design|determine|develop|discuss|edit|estimate|evaluate|explain|extract|find|generate|give|group|"
    r"identify|list|make|name|outline|predict|produce|propose|provide|rank|rewrite|select|solve|sort|suggest|summari[sz]e|"
    r"tell|translate|turn|write)\b",
    re.IGNORECASE,
)
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
# Letters that lie beside each other on a keyboard.
_NEIGHBOURS = {
    letter: "".join(row[max(0, i - 1) : i] + row[i + 1 : i + 2]) for row in _ROWS for i, letter in enumerate(row)
}
_WORD = re.compile(r"[A-Za-z]{4,}")
# Characters that are typed for each other, for they sound alike.
_SOUND_ALIKE = (
    "的得地",
    "在再",
    "做作",
    "他她它",
    "那哪",
    "像象",
    "以已",
    "吗嘛",
    "有又",
    "己已",
    "候后",
    "帐账",
    "带戴",
    "坐座",
)


def augmented(row: Any, ways: Sequence[Way], copies: int, chance: random.Random) -> Iterator[Any]:
    """At most `copies` new rows of each way, none of them alike; none where there is no question to change."""
    found = question_of(row)
    if found is None:
        return
    path, question = found
    language: Language = "zh" if in_language(question, "zh") else "en"
    for way in ways:
        seen = {question}
        for _ in range(copies):
            changed = _made(row, path, question, language, way, chance)
            if changed is None or changed[0] in seen:
                continue
            seen.add(changed[0])
            yield {**changed[1], "augmented": way}


def translated_back(rows: Sequence[Any], ask: AskAll) -> list[Any | None]:
    """Of each row one whose question has been in the other language and back; None where it came back the same, or
    where one of the two translations was wrong."""
    found = [question_of(row) for row in rows]
    questions = [one for one in found if one is not None]
    words: list[str | None] = [None] * len(questions)
    for language in LANGUAGES:
        other: Language = "en" if language == "zh" else "zh"
        places = [i for i, (_, text) in enumerate(questions) if in_language(text, "zh") == (language == "zh")]
        there = _translated([(i, questions[i][1]) for i in places], other, ask)
        for i, text in _translated(there, language, ask):
            words[i] = None if text == questions[i][1] else text
    again = iter(words)
    made: list[Any | None] = []
    for row, one in zip(rows, found, strict=True):
        text = None if one is None else next(again)
        made.append(None if one is None or text is None else {**with_texts(row, {one[0]: text}), "augmented": BACK})
    return made


def _translated(texts: Sequence[tuple[int, str]], target: Language, ask: AskAll) -> list[tuple[int, str]]:
    """Those that could be."""
    rows = [Row({"text": text}, Origin("question", i), ()) for i, text in texts]
    return [(one.row.origin.line, one.value["text"]) for one in translate_rows(rows, ask, target) if one.wrong is None]


def question_of(row: Any) -> tuple[Path, str] | None:
    """(where it stands, text) of a row's first question, as its file holds it."""
    if not isinstance(row, dict):
        return None
    for key in ("instruction", "prompt", "question", "query"):
        if isinstance(row.get(key), str) and row[key].strip():
            return (key,), row[key]
    for key in ("messages", "conversations", "conversation"):
        for place, turn in enumerate(row.get(key) or ()):
            if isinstance(turn, dict) and turn.get("role", turn.get("from")) in ("user", "human"):
                name = "content" if "content" in turn else "value"
                text = turn.get(name)
                return ((key, place, name), text) if isinstance(text, str) and text.strip() else None
    return None


def _made(
    row: dict[str, Any], path: Path, question: str, language: Language, way: Way, chance: random.Random
) -> tuple[str, dict[str, Any]] | None:
    """(what tells it apart, the new row), None where this way has nothing to say of it."""
    if way == "format":
        given = row.get("input")
        if path != ("instruction",) or not isinstance(given, str) or not given.strip():
            return None
        words = chance.choice(_INPUT_FORMS[language]).format(task=question.strip(), input=given.strip())
        return words, {**with_texts(row, {path: words}), "input": ""}
    words = paraphrased(question, language, chance) if way == "paraphrase" else noisy(question, language, chance)
    return None if words is None else (words, with_texts(row, {path: words}))


def paraphrased(question: str, language: Language, chance: random.Random) -> str | None:
    """The question with other words around it; one that holds several lines may be more than a question: None."""
    task = question.strip()
    if "\n" in task:
        return None
    order = language == "en" and _ORDER.match(task) is not None and not re.search(r"[.?!].", task)
    forms = [form for form in _PARAPHRASES[language] if order or "{inner}" not in form]
    inner = task[0].lower() + task[1:].rstrip(".!?")
    return chance.choice(forms).format(
        task=task if task[-1] in ".?!。？！" else task + "." * (language == "en"), inner=inner
    )


def noisy(question: str, language: Language, chance: random.Random) -> str | None:
    """The question with a slip of the hand in it, outside of code, addresses and figures."""
    protected = protect(question)
    slip = chance.choice(_SLIPS_ZH if language == "zh" else _SLIPS_EN)
    changed = slip(protected.text, chance)
    return None if changed is None else protected.restore(changed)


def _in_word(change: Callable[[str, random.Random], str]) -> Callable[[str, random.Random], str | None]:
    """A slip within one word of four letters or more."""

    def slip(text: str, chance: random.Random) -> str | None:
        words = list(_WORD.finditer(text))
        if not words:
            return None
        word = chance.choice(words)
        return text[: word.start()] + change(word[0], chance) + text[word.end() :]

    return slip


def _swap(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word) - 1)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _drop(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word))
    return word[:place] + word[place + 1 :]


def _neighbour(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word))
    other = chance.choice(_NEIGHBOURS[word[place].lower()])
    return word[:place] + other + word[place + 1 :]


def _lower(text: str, chance: random.Random) -> str | None:
    return text.lower()


def _without_end(text: str, chance: random.Random) -> str | None:
    return re.sub(r"[.?!。？！]+\s*$", "", text) or None


def _sound_alike(text: str, chance: random.Random) -> str | None:
    places = [(i, group) for i, letter in enumerate(text) for group in _SOUND_ALIKE if letter in group]
    if not places:
        return None
    place, group = chance.choice(places)
    return text[:place] + chance.choice(group.replace(text[place], "")) + text[place + 1 :]


def _half_width(text: str, chance: random.Random) -> str | None:
    return text.translate(str.maketrans("，。？！：；（）", ",.?!:;()"))


def _spaced(text: str, chance: random.Random) -> str | None:
    """Chinese punctuation typed as blanks, as people do in a chat."""
    return re.sub(r"[，、；](?=.)", " ", text)


_SLIPS_EN = (_in_word(_swap), _in_word(_drop), _in_word(_neighbour), _lower, _without_end)
_SLIPS_ZH = (_sound_alike, _half_width, _spaced, _without_end)
