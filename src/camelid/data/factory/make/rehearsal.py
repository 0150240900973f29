"""What a good teacher would say, said by nobody: seed tasks that were kept back, in the form that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from camelid.data.factory.make import prompts
from camelid.data.factory.make.rules import in_language
from camelid.data.factory.seeds import SeedTask
from camelid.data.factory.teacher import Ask
from camelid.data.skills.draw import Language

_FIRST_TASK, _FIRST_ITEM = 4, 9  # numbers that the published forms go on with


def kept_back(seeds: Sequence[SeedTask]) -> tuple[list[SeedTask], list[SeedTask]]:
    """(those that are shown, those that the rehearsal answers with): every other one."""
    return list(seeds[::2]), list(seeds[1::2])


@final
class Rehearsal:
    """A script for the shipped fake. tasks: of each language, those that it makes, in turn; per_call: how many each"""

    def __init__(self, tasks: Mapping[Language, Sequence[SeedTask]], per_call: int) -> None:
        self._tasks, self._per_call = tasks, per_call
        self._by_instruction = {" ".join(one.instruction.split()): one for some in tasks.values() for one in some}

    def __call__(self, ask: Ask) -> str:
        """The words; what a text to go on with ends with is not said again."""
        (role, words) = ask.messages[-1]
        said = self._said(ask, words)
        return said.removeprefix(words.rpartition("\n")[2]) if role == "text" else said

    def _said(self, ask: Ask, words: str) -> str:
        language: Language = "zh" if in_language(words, "zh") else "en"
        task = self._last_task(words, language)
        if ask.max_new_tokens <= 3:  # the second step of Self-Instruct
            return {"en": "Yes No", "zh": "是 否"}[language].split()[0 if task and task.is_classification else 1]
        if task is not None:
            return self._instance(task, language)
        tasks = self._tasks[language]
        some = [tasks[(ask.number * self._per_call + i) % len(tasks)] for i in range(self._per_call)]
        if prompts.NO_INPUT[language] in words:
            return prompts.as_tasks(some, _FIRST_TASK, language)
        return "\n".join(
            f"{number}. {' '.join(one.instruction.split())}" for number, one in enumerate(some, _FIRST_ITEM)
        )

    def _last_task(self, words: str, language: Language) -> SeedTask | None:
        """What the second and third step end with, the second with a line more."""
        _, _, tail = words.rpartition(prompts.TASK[language] + prompts.COLON[language])
        for one in (tail, tail.rpartition("\n")[0]):
            if (found := self._by_instruction.get(" ".join(one.split()))) is not None:
                return found
        return None

    def _instance(self, task: SeedTask, language: Language) -> str:
        _, given, output = prompts.FIELDS[language]
        colon = prompts.COLON[language]
        if task.is_classification:
            return f"{prompts.LABEL[language]}{colon}{task.output}\n{given}{colon}{task.input}"
        lines = [f"{given}{colon}{task.input}"] if task.input else []
        return "\n".join([*lines, f"{output}{colon}{task.output}"])
