"""What a teacher is asked, in the language of the tasks that it is to make: our words in the published forms.

Each is one message of the user: a chat model reads it as a request, and a list that is begun is a list to go on with.
"""

from __future__ import annotations

from collections.abc import Sequence

from camelid.data.factory.seeds import SeedTask
from camelid.data.skills.draw import Language

FIELDS: dict[Language, tuple[str, str, str]] = {
    "en": ("Instruction", "Input", "Output"),
    "zh": ("指令", "输入", "输出"),
}
NO_INPUT: dict[Language, str] = {"en": "<noinput>", "zh": "<无>"}

_TWENTY: dict[Language, str] = {
    "en": """\
Write {count} different tasks that somebody might give to an assistant which answers in text only, and answer each.

1. Do not begin two instructions with the same verb, and vary how they are put: questions, requests, orders.
2. Vary what is asked for: open questions, classification, editing, extraction, planning, writing, maths, code.
3. The assistant sees text only and makes text only: nothing to look at, hear, draw, open or fetch.
4. English. An instruction is one or two sentences.
5. Where a task needs material, the input holds it: real text of its own, at most 100 words, no placeholder.
Where it needs none, the input is {none}.
6. The output is a right and complete answer, under 100 words where that suffices.

Each task has the three fields and its number, and ### between two tasks:
""",
    "zh": """\
请写出 {count} 个各不相同的任务，它们是人们可能交给一个只用文字作答的助手的，并逐一作答。

1. 任何两条指令不要用同一个动词开头，说法也要有变化：提问、请求、命令都要有。
2. 内容要多样：开放问题、分类、改写、信息抽取、规划、解释、写作、数学、代码都要有。
3. 助手只能读文字、写文字：不要让它看、听、画、打开或查询任何东西。
4. 用简体中文。一条指令一到两句话。
5. 任务需要材料时，把材料写在输入里：要真实具体，不超过 150 字，不要用占位符；不需要材料时，输入写 {none}。
6. 输出是正确而完整的回答，够用即可，一般不超过 150 字。

每个任务都有三个字段和它的编号，两个任务之间用 ### 隔开：
""",
}
_ITEMS: dict[Language, tuple[str, str]] = {
    "en": (
        "Here are {shown} tasks that people gave to an assistant which answers in text only:",
        "Go on with the list: write tasks {first} to {last}, each in one line with its number, each of another kind"
        " than those above. Only the list.",
    ),
    "zh": (
        "下面是人们交给一个只用文字作答的助手的 {shown} 个任务：",
        "请把列表接着写下去：写出第 {first} 到第 {last} 个任务，每个占一行并带编号，种类要和上面的不同。只写列表。",
    ),
}
_KIND: dict[Language, tuple[str, str, str, str]] = {
    "en": (
        "Can the task be seen as a classification, with few possible answers? Say Yes or No.",
        "Task: {task}\nClassification:",
        "Yes",
        "No",
    ),
    "zh": ("下面的任务能不能看作答案只有少数几种的分类任务？只答“是”或“否”。", "任务：{task}\n分类：", "是", "否"),
}
_INSTANCES: dict[Language, str] = {
    "en": "Think of up to {count} different inputs for the last task and answer each, as in the examples. A task"
    " that needs no input has one output only. Nothing else.",
    "zh": "请仿照例子，为最后一个任务想出至多 {count} 个不同的输入并逐一作答。"
    "不需要输入的任务只写一个输出。不要写别的。",
}
_LABELS: dict[Language, str] = {
    "en": "The last task is a classification. For each of its possible labels, at most {count}, write the label and an"
    " input that has this label, as in the examples. Nothing else.",
    "zh": "最后一个任务是分类任务。请仿照例子，为每个可能的类别（至多 {count} 个）"
    "写出类别和属于该类别的一个输入。不要写别的。",
}
EXAMPLE: dict[Language, str] = {"en": "Example", "zh": "例"}
LABEL: dict[Language, str] = {"en": "Class label", "zh": "类别"}
TASK: dict[Language, str] = {"en": "Task", "zh": "任务"}
COLON: dict[Language, str] = {"en": ": ", "zh": "："}


def twenty_tasks(shown: Sequence[SeedTask], count: int, language: Language) -> str:
    """Alpaca's form: how it is to be done, and `count` tasks, of which the first are there."""
    how = _TWENTY[language].format(count=count, none=NO_INPUT[language])
    rest = {"en": "Go on from task {n} to task {count}.", "zh": "请从第 {n} 个任务写到第 {count} 个。"}[language]
    return "\n".join([how, as_tasks(shown, 1, language), rest.format(n=len(shown) + 1, count=count)])


def tasks_to_go_on(shown: Sequence[SeedTask], language: Language) -> str:
    """The same for a model that goes on with text better than it does as it is told."""
    head = {"en": "Various tasks and their answers:", "zh": "各种任务和它们的回答："}[language]
    return "\n".join([head, "", as_tasks(shown, 1, language), lead(len(shown) + 1, language)])


def lead(number: int, language: Language) -> str:
    """What the next task begins with."""
    return f"{number}. {FIELDS[language][0]}{COLON[language].rstrip()}"


def as_tasks(tasks: Sequence[SeedTask], first: int, language: Language) -> str:
    """Tasks in Alpaca's form, numbered from `first`."""
    parts = []
    for number, task in enumerate(tasks, first):
        values = (task.instruction, task.input or NO_INPUT[language], task.output)
        fields = zip(FIELDS[language], values, strict=True)
        parts.append("\n".join(f"{number}. {name}{COLON[language]}{value}" for name, value in fields) + "\n###")
    return "\n".join(parts)


def more_instructions(shown: Sequence[str], last: int, language: Language) -> str:
    """Self-Instruct's first step: a list of instructions to go on with."""
    head, tail = _ITEMS[language]
    lines = [f"{number}. {' '.join(one.split())}" for number, one in enumerate(shown, 1)]
    return "\n".join(
        [head.format(shown=len(shown)), *lines, "", tail.format(first=len(shown) + 1, last=last)],
    )


def instructions_to_go_on(shown: Sequence[str], language: Language) -> str:
    """The published form of it, for a model that goes on with text."""
    head = {"en": "Come up with a series of tasks:", "zh": "想出一系列任务："}[language]
    lines = [f"{number}. {' '.join(one.split())}" for number, one in enumerate(shown, 1)]
    return "\n".join([head, "", *lines, f"{len(shown) + 1}."])


def is_classification(shown: Sequence[SeedTask], instruction: str, language: Language) -> str:
    """Self-Instruct's second step."""
    question, line, yes, no = _KIND[language]
    examples = [f"{line.format(task=one.instruction)} {yes if one.is_classification else no}" for one in shown]
    return "\n\n".join([question, *examples, line.format(task=instruction)])


def says_yes(answer: str, language: Language) -> bool:
    """Whether the second step's answer is yes."""
    return answer.strip().lower().startswith(_KIND[language][2].lower())


def instances(shown: Sequence[SeedTask], instruction: str, count: int, language: Language) -> str:
    """Self-Instruct's third step, input first."""
    task, colon = TASK[language], COLON[language]
    _, given, output = FIELDS[language]
    parts: list[str] = []
    for seed in shown:
        head = f"{task}{colon}{seed.instruction}\n"
        if seed.input:
            head += f"{EXAMPLE[language]} 1\n{given}{colon}{seed.input}\n"
        parts.append(f"{head}{output}{colon}{seed.output}")
    parts += [_INSTANCES[language].format(count=count), f"{task}{colon}{instruction}"]
    return "\n\n".join(parts)


def labelled_instances(shown: Sequence[SeedTask], instruction: str, count: int, language: Language) -> str:
    """Self-Instruct's third step for a classification, output first: who invents inputs first picks one class."""
    task, colon = TASK[language], COLON[language]
    given, label = FIELDS[language][1], LABEL[language]
    parts = [
        f"{task}{colon}{seed.instruction}\n{label}{colon}{seed.output}\n"
        f"{given}{colon}{seed.input or NO_INPUT[language]}"
        for seed in shown
    ]
    parts += [_LABELS[language].format(count=count), f"{task}{colon}{instruction}"]
    return "\n\n".join(parts)
