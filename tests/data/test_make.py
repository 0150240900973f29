"""Making tasks: what a teacher writes is read, judged by the published rules, and every candidate is accounted for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.data.factory.make import prompts
from camelid.data.factory.make.parsing import instances_in, items_in, tasks_in
from camelid.data.factory.make.rehearsal import Rehearsal, kept_back
from camelid.data.factory.make.rules import Task, in_language, instruction_fault, repeated, task_fault
from camelid.data.factory.make.strategies import STRATEGIES, Alpaca, SelfInstruct
from camelid.data.factory.make.waves import Candidate, make_tasks
from camelid.data.factory.scripted import ScriptedTeacher
from camelid.data.factory.seeds import SeedTask, load_seeds
from camelid.data.factory.teacher import Answer, Ask, Asking, Journal, LimitReached, Teacher
from camelid.data.skills.draw import LANGUAGES, Language

SEEDS = {language: load_seeds(language) for language in LANGUAGES}


def _made(
    strategy: Alpaca | SelfInstruct,
    teacher: Teacher,
    folder: Path,
    *,
    count: int = 1000,
    languages: tuple[Language, ...] = ("en",),
    seeds: dict[Language, tuple[SeedTask, ...]] | None = None,
) -> list[Candidate]:
    given = seeds or {language: SEEDS[language] for language in languages}
    with Journal(folder / "journal.jsonl", "it") as journal:
        ask = Asking(journal, teacher)
        return list(make_tasks(strategy, ask, given, seed=7, count=count, ended=lambda: bool(ask.ended)))


# --- an answer with a fault of every kind ---

PLANTED = """\
4. Instruction: Explain to a child why the moon changes its shape.
4. Input: <noinput>
4. Output: The sun lights one half of the moon, and we see more or less of that half.
###
5. Instruction: Explain to a child why the moon changes her shape.
5. Input: <noinput>
5. Output: It is lit from one side.
###
6. Instruction: Draw a picture of a horse that jumps over a fence.
6. Input: <noinput>
6. Output: Here it is.
###
7. Instruction: Be brief.
7. Input: <noinput>
7. Output: Yes.
###
8. Instruction: Tell me tomorrow's price of gold at the exchange in London.
8. Input: <noinput>
8. Output: I'm sorry, but I cannot predict prices.
###
9. Instruction: Say who made you and what you were trained on, in one sentence.
9. Input: <noinput>
9. Output: I am ChatGPT, a model trained by OpenAI.
###
10. Instruction: Count the vowels of the given word and say the number only.
11. Input: banana
11. Output: 3
###
12. Instruction: Translate the sentence into German and keep its tone.
12. Input: See you tomorrow!
12. Output:
###
13. Instruction: Repeat the sentence in other words that mean the same.
13. Input: The bridge is closed.
13. Output: The bridge is closed.
###
14. Instruction: Name three rivers that flow through more than two countries.
14. Input: <noinput>
14. Output: Three such rivers are:
###
15. Instruction: Write a chant for a team of rowers on a lake.
15. Input: <noinput>
15. Output: Row now row now row now row now row now row now row now row now row now
###
16. Instruction: ...and so on for as long as you like it to go.
16. Input: <noinput>
16. Output: Fine.
###
17. Instruction: 请用一句话说明为什么天空是蓝色的。
17. Input: <noinput>
17. Output: 因为蓝光散射得更多。
###
18. Instruction: Say which of the two numbers is larger, and by how much.
18. Input: 17 and 12
18. Output: 17 is larger, by 5.
###
19. Instruction: Describe the smell of rain on dry ground in\x07 one line.
19. Input: <noinput>
19. Output: Warm dust, waking.
###
20. Instruction: Give a rule of thumb for how long an egg has to be boiled, in 2"""
RULES = [
    *("", "like an earlier task", "asks for what text cannot be", "too short", "the answer declines"),
    *("the answer speaks as another assistant", "its fields are missing, doubled or misnumbered", "no answer"),
    *("the answer repeats what is asked", "ends with a colon", "repeats itself", "begins with punctuation"),
    *("is in another language", "", "broken characters", "cut off"),
]
PLANTED_ZH = """\
4. 指令：用一句话向孩子解释月亮为什么会有圆缺。
4. 输入：<无>
4. 输出：太阳只照亮月亮的一半，我们看到的亮面有多有少。
###
5. 指令：用一句话向小孩解释月亮为什么会有圆缺。
5. 输入：<无>
5. 输出：因为照亮的角度在变。
###
6. 指令：请根据下面的图片写一段描述。
6. 输入：一张图片
6. 输出：一只猫。
###
7. 指令：继续。
7. 输入：无
7. 输出：好的。
###
8. 指令：预测明天上海的气温是多少度。
8. 输入：<无>
8. 输出：抱歉，我无法预测天气。
###
9. 指令：说说你是谁，由哪家公司训练而成。
9. 输入：<无>
9. 输出：我是由OpenAI训练的ChatGPT。
###
10. 指令：把句子翻译成英文，语气保持不变。
11. 输入：明天见！
11. 输出：See you tomorrow!
###
12. 指令：列出三条流经两个以上国家的河流。
12. 输入：无输入
12. 输出：
###
13. 指令：Explain in one sentence why the sky is blue.
13. 输入：<无>
13. 输出：蓝光散射得多。
###
14. 指令：比较两个数的大小，说出相差多少。
14. 输入：17 和 12
14. 输出：17 大，大 5。"""
RULES_ZH = [
    *("", "like an earlier task", "asks for what text cannot be", "too short", "the answer declines"),
    *("the answer speaks as another assistant", "its fields are missing, doubled or misnumbered", "no answer"),
    *("is in another language", ""),
]


@pytest.mark.parametrize(("language", "planted", "rules"), [("en", PLANTED, RULES), ("zh", PLANTED_ZH, RULES_ZH)])
def test_the_ledger_of_planted_faults_is_exact(
    language: Language, planted: str, rules: list[str], tmp_path: Path
) -> None:
    """One candidate for each planted task, each with its rule; the second wave's copies are like the first's."""
    length = "length" if rules[-1] == "cut off" else "stop"
    answers = iter([Answer(planted, length, 1, 1), Answer("\n", "stop", 1, 1), Answer("What?", "stop", 1, 1)])
    again = Answer(planted, length, 1, 1)
    teacher = ScriptedTeacher(lambda ask: next(answers, again))
    made = _made(Alpaca(), teacher, tmp_path, languages=(language,))
    first = [one for one in made if one.wave == 1]
    assert [one.verdict.fault.rule if one.verdict.fault else "" for one in first] == rules
    near = first[1].verdict.nearest
    assert near is not None
    assert near.instruction == (first[0].verdict.task or Task("", "", "")).instruction
    assert near.score > 0.7
    second = [one.verdict.fault.rule for one in made if one.wave == 2 and one.verdict.fault]
    assert second == ["an empty answer", "no task in it"]
    third = [one.verdict.fault.rule if one.verdict.fault else "kept" for one in made if one.wave == 3]
    copies = [rule or "like an earlier task" for rule in rules]
    assert third == copies * 4, "what was kept comes again four times, and is dropped for that alone"


def test_duplicates_in_both_languages_and_mixed_are_dropped_across_waves(tmp_path: Path) -> None:
    tasks = ["用 Python 写一个函数判断一个数是不是质数", "用 Python 写一个函数判断一个数是否为质数"]

    def say(ask: Ask) -> str:
        chinese = prompts.NO_INPUT["zh"] in ask.messages[0][1]
        name, given, output = prompts.FIELDS["zh" if chinese else "en"]
        words = tasks[ask.number % 2] if chinese else "Why is the grass green in spring?"
        return f"4. {name}: {words}\n4. {given}: 无\n4. {output}: {'因为' if chinese else 'Because.'}"

    made = _made(Alpaca(), ScriptedTeacher(say), tmp_path, languages=("en", "zh"))
    kept = [one for one in made if one.verdict.fault is None]
    assert [(one.wave, one.language) for one in kept] == [(1, "en"), (2, "zh")]
    assert {one.verdict.fault.rule for one in made if one.verdict.fault} == {"like an earlier task"}
    assert max(one.wave for one in made) == 2 + 16, "eight waves of each language that made nothing, and it ends"


def test_a_seed_is_not_made_again(tmp_path: Path) -> None:
    some = SEEDS["en"][17]
    words = prompts.as_tasks([some], 4, "en")
    (first, *_) = _made(Alpaca(), ScriptedTeacher(lambda ask: words), tmp_path)
    assert first.verdict.nearest is not None
    assert (first.verdict.nearest.instruction, first.verdict.nearest.score) == (some.instruction, 1.0)


# --- what a rule says ---

CASES: list[tuple[str, Language, str]] = [
    ("Name the capital of France.", "en", ""),
    ("Say it again", "en", "too short"),
    ("Say it once again", "en", ""),
    (" ".join(["word"] * 150), "en", ""),
    (" ".join(["word"] * 151), "en", "too long"),
    ("Write a program that sorts numbers.", "en", "asks for a program"),
    ("Describe the program of a music festival.", "en", "asks for what text cannot be"),
    ("Explain what a profile of a city tells.", "en", ""),
    ("(Briefly) explain what inflation is to me.", "en", ""),
    ("- explain what inflation is to me", "en", "begins with punctuation"),
    ("Élan is a word: explain it briefly.", "en", "is in another language"),
    ("写首诗", "zh", "too short"),
    ("写一首诗", "zh", ""),
    ("写" * 250, "zh", ""),
    ("写" * 251, "zh", "too long"),
    ("编写一个程序，输出前十个质数。", "zh", "asks for a program"),
    ("用 Python 实现 quicksort 并解释。", "zh", ""),
    ("Implement quicksort in Python 吧", "zh", "is in another language"),
    ("“知之为知之”是什么意思？", "zh", ""),
    ("、先说结论，再说理由。", "zh", "begins with punctuation"),
    ("画一张北京的地铁线路。", "zh", "asks for what text cannot be"),
    ("2 + 2 = ?", "zh", ""),
    ("", "zh", "no instruction"),
]


@pytest.mark.parametrize(("text", "language", "rule"), CASES)
def test_rules_of_instructions(text: str, language: Language, rule: str) -> None:
    fault = instruction_fault(text, language)
    assert (fault.rule if fault else "") == rule


ANSWERS: list[tuple[str, str]] = [
    ("Paris.", ""),
    ("Unfortunately, the road is closed, but the path is open.", ""),
    ("I'm sorry to hear that you were ill. Rest well.", ""),
    ("Sorry, I can't do that.", "the answer declines"),
    ("As an AI language model, I do not have opinions.", "the answer declines"),
    ("Well, as an AI language model, my view is none.", "the answer speaks as another assistant"),
    ("I am a language model, and nobody gave me a name.", ""),
    ("很抱歉，我无法完成这个请求。", "the answer declines"),
    ("很抱歉给您带来不便，我们会尽快补发。", ""),
    ("作为人工智能语言模型，看法因人而异。", "the answer speaks as another assistant"),
    ("作为一个老师，我认为应当鼓励。", ""),
    ("OpenAI released a model in 2022.", ""),
    ("I was trained by OpenAI.", "the answer speaks as another assistant"),
    ("| a | b |\n|---|---|\n|---|---|\n" + "-" * 60, ""),
    ("ha " * 20, "repeats itself"),
    ("好的好的好的好的好的好的好的好的", "repeats itself"),
    ("0000000000000000000000", ""),
    ("\n".join(f"{i}. Eat well, sleep well, and move your body each day." for i in range(1, 9)), "repeats itself"),
    ("It is a truth that nobody in this whole wide world would deny. " * 7, "repeats itself"),
    ("It is a truth that nobody in this whole wide world would deny. " * 6, ""),
    (" ".join(f"{i}、好好学习，天天向上。" for i in range(1, 8)), "repeats itself"),
    ("\n".join(f"{i}. {'Yes' if i % 2 else 'No'}" for i in range(1, 20)), ""),
    ("\n".join(f"{i}. No" for i in range(1, 20)), ""),
    ("The list:", "ends with a colon"),
]


@pytest.mark.parametrize(("answer", "rule"), ANSWERS)
def test_rules_of_answers(answer: str, rule: str) -> None:
    fault = task_fault(Task("x", "", answer.strip()))
    assert (fault.rule if fault else "") == rule


def test_most_shipped_seeds_pass_every_rule() -> None:
    """The published lists forbid a few words that are innocent here (the plot of a story); nothing else is dropped."""
    for language in LANGUAGES:
        faults = Counter()
        for seed in SEEDS[language]:
            fault = instruction_fault(seed.instruction, language) or task_fault(
                Task(seed.instruction, seed.input, seed.output)
            )
            if fault:
                faults[fault.rule] += 1
        assert set(faults) <= {"asks for what text cannot be", "too long", "begins with punctuation"}, faults
        assert faults.total() <= 0.1 * len(SEEDS[language])


@given(st.text(max_size=200))
def test_any_text_can_be_judged(text: str) -> None:
    for language in LANGUAGES:
        instruction_fault(text, language)
        in_language(text, language)
    task_fault(Task("x", text, text))
    found = repeated(text)
    assert not found or found * 7 in text


# --- reading ---


@given(st.data())
def test_what_is_written_in_the_form_is_read_from_it(data: st.DataObject) -> None:
    language = data.draw(st.sampled_from(LANGUAGES))
    tasks = data.draw(st.lists(st.sampled_from(SEEDS[language]), min_size=1, max_size=5, unique_by=lambda one: one.id))
    first = data.draw(st.integers(1, 90))
    found = tasks_in(prompts.as_tasks(tasks, first, language), cut=False)
    wanted = [Task(one.instruction.strip(), one.input.strip(), one.output.strip()) for one in tasks]
    assert [one.task for one in found] == wanted


@given(st.text(alphabet="1234. \n:：#*-指令输入出InstructionIpuO<>无", max_size=120), st.booleans())
def test_any_text_can_be_read(text: str, cut: bool) -> None:
    """Nothing is read twice, nothing comes out that was not there, and what was cut ends in a candidate cut off."""
    for parse in (tasks_in, items_in, lambda text, cut: instances_in(text, "x", cut=cut)):
        found = parse(text, cut=cut)
        assert bool(found) <= bool(text.strip())
        letters = Counter(text)
        for one in found:
            letters.subtract("".join(one.text.split()))
        assert all(count >= 0 for letter, count in letters.items() if not letter.isspace())
        if cut and found:
            assert found[-1].task is None


FORMS: list[tuple[str, list[tuple[str, str, str] | None]]] = [
    ("**4. Instruction:** Do it\n**4. Input:** None\n**4. Output:** Done", [("Do it", "", "Done")]),
    (
        "4) instruction: Do it\n4) output: Done in 2020.\n20. is a number",
        [("Do it", "", "Done in 2020.\n20. is a number")],
    ),
    ("Instruction: Do it\nInput: a\nb\nOutput: c", [("Do it", "a\nb", "c")]),
    # an answer that holds such a line itself: only the task's own number makes a field
    (
        "4. Instruction: Show a form\n4. Input: n/a\n4. Output: Input: 3\nOutput: 4",
        [("Show a form", "", "Input: 3\nOutput: 4")],
    ),
    ("4. Instruction: a\n4. Output: b\n4. Output: c", [None]),
    ("4. Instruction: a\n5. Instruction: b\n5. Input:\n5. Output: c", [None, ("b", "", "c")]),
    ("4、指令：写诗\n4、输入：<无>\n4、输出：春眠", [("写诗", "", "春眠")]),
]


@pytest.mark.parametrize(("text", "wanted"), FORMS)
def test_forms_that_teachers_use(text: str, wanted: list[tuple[str, str, str] | None]) -> None:
    found = tasks_in(text, cut=False)
    assert [one.task for one in found] == [None if one is None else Task(*one) for one in wanted]


INSTANCES: list[tuple[str, list[tuple[str, str] | None]]] = [
    ("Example 1\nInput: a\nOutput: b\n\nExample 2\nInput: c\nOutput: d", [("a", "b"), ("c", "d")]),
    ("Output: just this\nover two lines", [("", "just this\nover two lines")]),
    ("Just this.", [("", "Just this.")]),
    ("Class label: good\nInput: nice\nClass label: bad\nInput: poor", [("nice", "good"), ("poor", "bad")]),
    ("类别：好\n输入：不错\n\n类别：坏\n输入：很差", [("不错", "好"), ("很差", "坏")]),
    ("例 1\n输入：甲\n输出：乙", [("甲", "乙")]),
    ("Input: a\nInput: b\nOutput: c", [None, ("b", "c")]),
    ("Class label: good", [None]),
    ("Input: <noinput>\nOutput: Answer: 4", [("", "Answer: 4")]),
]


@pytest.mark.parametrize(("text", "wanted"), INSTANCES)
def test_instances_are_read_in_either_order(text: str, wanted: list[tuple[str, str] | None]) -> None:
    found = instances_in(text, "x", cut=False)
    assert [one.task for one in found] == [None if one is None else Task("x", *one) for one in wanted]


# --- Self-Instruct's three steps ---


def test_self_instruct_asks_as_published(tmp_path: Path) -> None:
    """Six seeds and two made ones in a prompt, a classification's labels first, differing answers dropped together."""
    listed = "9. Decide whether the review is good or bad.\n10. Give a synonym of the given word, one only."

    def say(ask: Ask) -> str:
        words = ask.messages[0][1]
        if ask.max_new_tokens == 3:
            return (
                "Yes" if words.endswith("Task: Decide whether the review is good or bad.\nClassification:") else "No."
            )
        if "Class label" in words:
            bad = "Class label: bad\nInput: I slept."
            return f"Class label: good\nInput: I loved it.\n{bad}\n{bad}"
        if words.endswith("Task: Give a synonym of the given word, one only."):
            return "Input: big\nOutput: large\nInput: big\nOutput: huge\nInput: small\nOutput: little"
        return listed

    teacher = ScriptedTeacher(say)
    made = _made(SelfInstruct(), teacher, tmp_path, count=3)
    told = [
        (one.verdict.task.input if one.verdict.task else "", one.verdict.fault.rule if one.verdict.fault else "")
        for one in made
    ]
    assert told == [
        ("I loved it.", ""),
        ("I slept.", ""),
        ("I slept.", "the same instance again"),
        ("big", "other answers to the same input"),
        ("big", "other answers to the same input"),
        ("small", ""),
    ]
    assert [one.verdict.is_classification for one in made] == [True] * 3 + [False] * 3
    lists = [ask for ask in teacher.asked if ask.max_new_tokens == 1024]
    assert [(ask.temperature, ask.top_p, ask.presence_penalty) for ask in lists] == [(0.7, 0.5, 2.0)]
    shown = items_in(lists[0].messages[0][1], cut=False)
    assert len(shown) == 8
    assert {ask.presence_penalty for ask in teacher.asked if ask.max_new_tokens == 350} == {1.5}
    more = _made(SelfInstruct(), teacher, tmp_path, count=4)
    assert more[: len(made)] == made, "from the journal, the same"
    second = [ask for ask in teacher.asked if ask.max_new_tokens == 1024][1]
    shown_then = [one.text for one in items_in(second.messages[0][1], cut=False)][:8]
    assert {"Decide whether the review is good or bad.", "Give a synonym of the given word, one only."} <= set(
        shown_then
    )


@pytest.mark.parametrize("form", ["chat", "text"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_that_ended_goes_on_as_if_it_had_not(name: str, form: str, tmp_path: Path) -> None:
    """After any number of answers; what was judged before the end is judged the same, and nothing is asked twice."""
    strategy = STRATEGIES[name](form=form, tasks_per_call=2)  # type: ignore[arg-type]
    shown: dict[Language, tuple[SeedTask, ...]] = {}
    back: dict[Language, list[SeedTask]] = {}
    for language in LANGUAGES:
        first, back[language] = kept_back(SEEDS[language])
        shown[language] = tuple(first)
    script = Rehearsal(back, 2)
    (tmp_path / "whole").mkdir()
    whole = _made(strategy, ScriptedTeacher(script), tmp_path / "whole", count=30, seeds=shown)
    kept = [one for one in whole if one.verdict.fault is None]
    assert len(kept) == 30
    assert {one.language for one in kept} == {"en", "zh"}
    chance = random.Random(3)
    asked: list[Ask] = []
    for _ in range(200):
        part = _made(strategy, _stopping(script, chance.randrange(1, 9), asked), tmp_path, count=30, seeds=shown)
        if part == whole:
            break
        last = part[-1].wave if part else 0
        assert [one for one in part if one.wave < last] == [one for one in whole if one.wave < last]
    assert part == whole
    assert len(asked) == len({ask.name("it") for ask in asked}) > 10


def _stopping(script: Callable[[Ask], str], count: int, asked: list[Ask]) -> Teacher:
    """Answers so many and then says that it is enough."""
    left = [count]

    def teacher(asks, hear) -> None:
        for place, ask in enumerate(asks):
            if not left[0]:
                raise LimitReached("enough")
            left[0] -= 1
            asked.append(ask)
            hear(place, Answer(script(ask), "stop", 1, 1))

    return teacher
