"""How an answer is made: loops, echoes, lists, lengths."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from camelid.data.factory.lint.patterns import ABOUT_CODE, HAN, either
from camelid.data.factory.lint.sample import Exchange, Sample, Turn, around, ending

_PERIODS_TRIED = 6
_CHARACTERS_A_WORD = 12
_SENTENCE = re.compile(r"[.!?。！？\n]+")
_ABOUT_LOOPS = either(
    r"repeat|song|lyric|poem|chorus|rap\b|rhyme|times|chant|loop|pattern|tongue twister|sequence|ascii|string",
    "重复|歌|诗|遍|次|绕口令|循环",
)


def repetition_loop(sample: Sample) -> str | None:
    """A text that says the same over and over: a model that could not stop."""
    for turn in sample.turns:
        if turn.role in ("assistant", "text") and len(turn.text) >= 14 and (found := _loop(turn)):
            questions = [other.text for other in sample.turns if other.role == "user"]
            asked = any(_ABOUT_LOOPS.search(text) or ABOUT_CODE.search(text) for text in questions)
            return None if asked else found
    return None


def _loop(turn: Turn) -> str | None:
    text = turn.text
    words = text.split()
    if _CHARACTERS_A_WORD * len(words) > len(text):  # written with blanks
        if len(words) - len(set(pairwise(words))) < 5:
            return None
        unit = _period(words, words=True)
    else:
        unit = _period(list("".join(words)), words=False)
    if turn.code:
        return None
    if unit:
        return around(text, max(0, text.find(unit)))
    sentence, count = Counter(one.strip() for one in _SENTENCE.split(text)).most_common(1)[0]
    if (
        count >= 4
        and (len(sentence) >= 12 or len(HAN.findall(sentence)) >= 6)
        and 5 * count * len(sentence) >= 2 * len(text)
    ):
        return around(text, text.find(sentence))
    return None


def _enough(period: int, *, words: bool) -> int:
    """How many tokens must repeat for a loop of that period. Short ones may be emphasis or laughter."""
    short, middle = (3, 8) if words else (4, 16)
    return period * (6 if period < short else 4 if period < middle else 2)


def _period(tokens: list[str], *, words: bool) -> str:
    """What follows itself so often that it is a loop, "" if nothing does.

    In a loop some token comes once a period: the distances between equal tokens are the periods to try. Rules, dots,
    blanks and figures may repeat: a table's border, a line to fill in.
    """
    last: dict[str, int] = {}
    distances: Counter[int] = Counter()
    for i, token in enumerate(tokens):
        if token in last:
            distances[i - last[token]] += 1
        last[token] = i
    for period, times in distances.most_common(_PERIODS_TRIED):
        enough = _enough(period, words=words)
        if times * period < enough or enough + period > len(tokens):
            continue
        run = 0
        for i in range(period, len(tokens)):
            run = run + 1 if tokens[i] == tokens[i - period] else 0
            if run >= enough:
                unit = (" " if words else "").join(tokens[i - period + 1 : i + 1])
                if len({character for character in unit.lower() if character.isalpha()}) >= 2:
                    return unit
                break
    return ""


_MAY_BE_SAME = either(
    r"correct|proofread|grammar|spell|punctuat|edit\b|check|repeat|copy|echo|identif|extract|find|sort|order|arrange",
    r"capital|case\b|fix|error|mistake|if (?:needed|necessary|any)|convert|transform|format|round|simplif|reduce|quote",
    r"transcribe|read|pick|choose|select|classif|which|remove|delete|translat|replace|change|improve|categor",
    "改正|纠正|修改|校对|检查|错误|重复|复制|提取|抽取|找出|排序|翻译|选择|替换|删除|分类|识别|断句|标点|转换",
)
_ASKS_FOR_ECHO = either("repeat|echo|copy|after me|say the same|重复|复述|复读|跟我说|照抄|抄写")
_MARKS = ".?!。？！ "


def echoes(exchange: Exchange) -> str | None:
    """An answer that only says again what was asked or given."""
    if len(exchange.answer.text) > len(exchange.question.text) + 8:
        return None
    answer = " ".join(exchange.answer.lower.split()).rstrip(_MARKS)
    if len(answer) < 12 and len(HAN.findall(answer)) < 6:
        return None
    asked = " ".join(exchange.instruction.lower().split()).rstrip(_MARKS)
    same = answer in (asked, " ".join(exchange.question.lower.split()).rstrip(_MARKS))
    # of an input, a capital or a mark may be all that was to be changed
    if not same and exchange.input and exchange.answer.text.split() == exchange.input.split():
        same = not _MAY_BE_SAME.search(exchange.instruction) and not ABOUT_CODE.search(exchange.instruction)
    return around(exchange.answer.text, 0) if same and not _ASKS_FOR_ECHO.search(exchange.question.text) else None


_NUMBERED = re.compile(r"^[ \t]*(\d{1,2})[.)、．](?!\d)[ \t]*(?=\S)", re.MULTILINE)
_ANY_NUMBERED = re.compile(r"(?:^|[\s。；;，,！!？?])(\d{1,2})[.)、．](?!\d)")


def misnumbered(exchange: Exchange) -> str | None:
    """A numbered list that leaves out a number, or has one twice."""
    answer = exchange.answer
    places = list(_NUMBERED.finditer(answer.text))
    numbers = [int(place[1]) for place in places]
    # a list within a list begins anew, and Markdown numbers as it likes; only plain lists are judged
    if len(numbers) < 3 or numbers[0] != 1 or numbers.count(1) != 1 or answer.code:
        return None
    for before, number, place in zip(numbers, numbers[1:], places[1:], strict=False):
        if number != before + 1:
            return around(answer.text, place.start(), place.end())
    return None


_COUNTS = {
    word: number
    for words in ("one two three four five six seven eight nine ten", "一 两 三 四 五 六 七 八 九 十")
    for number, word in enumerate(words.split(), 1)
} | {"二": 2}
_ASKED_COUNT = either(
    r"\b(?:list|name|give(?: me| us)?|provide|generate|write|suggest|create|come up with|identify|describe|state"
    r"|mention"
    r"|brainstorm|what are|outline|find|recommend)(?: of| out| down| the| at least| up to| top| a list of)?"
    r" (?P<en>\d{1,2}|two|three|four|five|six|seven|eight|nine|ten)\b(?! ?(?:%|-|percent|words?\b|sentence|paragraph"
    r"|line"
    r"|letter|digit|year|day|hour|minute|step|or\b|to \d|and\b|character|syllable|verse|stanza|part|number|integer"
    r"|million"
    r"|thousand|hundred|pm|am|different words))",
    "(?:列出|列举|给出|写出|提供|举出|说出|推荐|提出|写|举|生成)(?:至少|最多|以下|前)?"
    r"(?P<zh>\d{1,2}|[两二三四五六七八九十])(?:个|种|条|点|项|款|部|本|位|件|句|首)(?!字)",
)


def too_few_items(exchange: Exchange) -> str | None:
    """A numbered list that is shorter than the one that was asked for."""
    question, text = exchange.instruction, exchange.answer.text
    if len(question) > 400 or ("2." not in text and "2)" not in text and "2、" not in text):
        return None
    match = _ASKED_COUNT.search(question)
    if match is None:
        return None
    asked = match["en"] or match["zh"]
    wanted = int(asked) if asked.isdigit() else _COUNTS[asked.lower()]
    numbers = [int(one[1]) for one in _ANY_NUMBERED.finditer(text)]
    if wanted < 3 or not 2 <= len(numbers) < wanted or numbers != list(range(1, len(numbers) + 1)):
        return None
    return f"{len(numbers)} / {wanted}: {ending(text)}"


_WANTED_WORDS = either(
    r"^(?:please |can you |could you )?(?:write|compose|create|generate"
    r"|draft)\b[^.\n]{0,60}?\b(\d{2,4})[- ]words?\b(?! or (?:less|fewer))",
    r"(?:写|创作|撰写)[^。\n]{0,30}?(?:不少于|至少|约|大约)?(\d{2,4})个?字(?!以内|之内|以下|左右以内)",
)
_AT_MOST = either(
    r"(?:less|fewer|no more|not more|under|within|up to|maximum|max|at most|below|limit)\b[^.\n]{0,20}\d",
    "不超过|以内|之内|不多于|最多|(?<!不)少于",
)


def too_short(exchange: Exchange) -> str | None:
    """An answer of less than a third of the length that was asked for."""
    question = exchange.instruction
    wants = "word" in question or "字" in question
    match = _WANTED_WORDS.search(question) if wants and len(question) < 300 else None
    if match is None or _AT_MOST.search(question):
        return None
    wanted = int(match[1] or match[2])
    text = exchange.answer.text
    have = len(HAN.findall(text)) if match[2] else len(text.split())
    if wanted < 50 or 3 * have >= wanted or (match[1] and not exchange.answer.ascii):
        return None
    return f"{have} / {wanted}: {around(text, 0)}"


_WIDE = re.compile("[⺀-鿿가-힯豈-﫿＀-￯]")
TOKENS_PER_WIDE, TOKENS_PER_NARROW = 0.8, 0.26  # of a tokenizer that knows Chinese


def rough_tokens(text: str) -> int:
    """About how many tokens a text has, where no tokenizer is at hand."""
    wide = 0 if text.isascii() else len(_WIDE.findall(text))
    return round(TOKENS_PER_WIDE * wide + TOKENS_PER_NARROW * (len(text) - wide))
