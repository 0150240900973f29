"""The two published ways to make tasks with a teacher, each with its published settings.

A wave is what is asked from one state of the pool: prompts of a wave do not depend on each other's answers, so they
are asked together, and its candidates are judged in the order of the prompts, however the answers come.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, final

from camelid.data.factory.faults import NOT_ASKED, Fault, answer_fault
from camelid.data.factory.make import prompts
from camelid.data.factory.make.parsing import Found, instances_in, items_in, tasks_in
from camelid.data.factory.make.pool import Nearest, TaskPool
from camelid.data.factory.make.rules import Task, instruction_fault, task_fault
from camelid.data.factory.seeds import SeedTask
from camelid.data.factory.teacher import Answer, Ask, AskAll
from camelid.data.skills.draw import Language

LIKE = "like an earlier task"
Form = Literal["chat", "text"]  # a request to a chat model, or text to go on with, as GPT-3 was asked


@dataclass(frozen=True, slots=True)
class Verdict:
    """A candidate and what became of it. text: as the teacher wrote it; fault: None where it was kept."""

    text: str
    task: Task | None
    fault: Fault | None
    nearest: Nearest | None = None
    is_classification: bool | None = None  # where the strategy asks that


@dataclass(frozen=True, slots=True)
class Wave:
    """What a strategy makes from. prompts: how many; first: the number of the first; made: the instructions so far"""

    prompts: int
    first: int
    chance: random.Random
    language: Language
    seeds: Sequence[SeedTask]
    made: Sequence[str]
    pool: TaskPool
    ask: AskAll


class Strategy(Protocol):
    """A way to make tasks."""

    @property
    def name(self) -> str: ...

    def wave(self, wave: Wave) -> Iterator[Verdict]:
        """The candidates of one wave, judged; those kept are in the pool."""
        ...


@final
@dataclass(frozen=True)
class Alpaca:
    """Alpaca's (Taori et al. 2023): three seeds a prompt, twenty tasks a call, inputs and answers included.

    Its stop strings "20." and "\\n20" are left out: they cut every answer that ends a sentence with "in 2020.".
    """

    name: str = field(default="alpaca", init=False)
    tasks_per_call: int = 20
    seeds_per_prompt: int = 3
    max_new_tokens: int = 3072
    temperature: float = 1.0
    top_p: float = 1.0
    form: Form = "chat"

    def wave(self, wave: Wave) -> Iterator[Verdict]:
        """Ask, parse, judge."""
        asks = []
        for number in range(wave.first, wave.first + wave.prompts):
            shown = wave.chance.sample(wave.seeds, self.seeds_per_prompt)
            if self.form == "text":
                message = ("text", prompts.tasks_to_go_on(shown, wave.language))
                stop = ("\n" + prompts.lead(self.tasks_per_call + 1, wave.language),)
            else:
                message, stop = ("user", prompts.twenty_tasks(shown, self.tasks_per_call, wave.language)), ()
            asks.append(Ask((message,), self.max_new_tokens, self.temperature, self.top_p, stop=stop, number=number))
        lead = prompts.lead(self.seeds_per_prompt + 1, wave.language) if self.form == "text" else ""
        found = []
        for answer in wave.ask(asks):
            found += _read(answer, tasks_in, lead)
        yield from _judged(found, wave, whole=True)


@final
@dataclass(frozen=True)
class SelfInstruct:
    """Self-Instruct's (Wang et al. 2022): instructions, then whether each is a classification, then its instances.

    Six human seeds and two tasks that were made before in a prompt, eight new ones to be written; classifications get
    their labels before the inputs. Answers to one input that differ are dropped together.
    """

    name: str = field(default="self-instruct", init=False)
    seeds_per_prompt: int = 6
    made_per_prompt: int = 2
    tasks_per_call: int = 8
    instances: int = 5
    max_new_tokens: int = 1024
    temperature: float = 0.7
    top_p: float = 0.5
    presence_penalty: float = 2.0
    instance_tokens: int = 350
    instance_penalty: float = 1.5
    form: Form = "chat"

    def wave(self, wave: Wave) -> Iterator[Verdict]:
        """Three questions for each instruction that passes."""
        asks = [self._list_ask(wave, number) for number in range(wave.first, wave.first + wave.prompts)]
        found = []
        lead = f"{self.seeds_per_prompt + self.made_per_prompt + 1}." if self.form == "text" else ""
        for answer in wave.ask(asks):
            found += _read(answer, items_in, lead)
        new: list[Task] = []
        for verdict in _judged(found, wave, whole=False):
            if verdict.fault is None and verdict.task is not None:
                new.append(verdict.task)
            else:
                yield verdict
        kinds = self._kinds(wave, new)
        asks = [
            self._instance_ask(wave, task, bool(kind))
            for task, kind in zip(new, kinds, strict=True)
            if kind is not None
        ]
        answers = iter(wave.ask(asks))
        for task, kind in zip(new, kinds, strict=True):
            answer = None if kind is None else next(answers)
            yield from self._instances(task, bool(kind), answer, wave.language)

    def _list_ask(self, wave: Wave, number: int) -> Ask:
        made = wave.chance.sample(wave.made, min(self.made_per_prompt, len(wave.made)))
        count = self.seeds_per_prompt + self.made_per_prompt
        human = [seed.instruction for seed in wave.chance.sample(wave.seeds, count - len(made))]
        shown = human + made
        wave.chance.shuffle(shown)
        last = count + self.tasks_per_call
        stop: tuple[str, ...] = ()
        if self.form == "text":
            message = ("text", prompts.instructions_to_go_on(shown, wave.language))
            stop = ("\n\n", f"\n{last + 1}.")
        else:
            message = ("user", prompts.more_instructions(shown, last, wave.language))
        settings = (self.max_new_tokens, self.temperature, self.top_p, self.presence_penalty)
        return Ask((message,), *settings, stop=stop, number=number)

    def _kinds(self, wave: Wave, tasks: Sequence[Task]) -> list[bool | None]:
        """Whether each is a classification; None where there was no answer."""
        yes = [seed for seed in wave.seeds if seed.is_classification]
        no = [seed for seed in wave.seeds if not seed.is_classification]
        shown = [seed for pair in zip(yes, no[:: max(1, len(no) // 6)], strict=False) for seed in pair][:12]
        role = "text" if self.form == "text" else "user"
        asks = [Ask(((role, prompts.is_classification(shown, task.instruction, wave.language)),), 3) for task in tasks]
        return [None if one is None else prompts.says_yes(one.text, wave.language) for one in wave.ask(asks)]

    def _instance_ask(self, wave: Wave, task: Task, labels: bool) -> Ask:
        if labels:
            shown = [seed for seed in wave.seeds if seed.is_classification and seed.input][:4]
            words = prompts.labelled_instances(shown, task.instruction, self.instances, wave.language)
        else:
            short = [seed for seed in wave.seeds if not seed.is_classification and len(seed.output) < 200]
            shown = [seed for seed in short if seed.input][:3] + [seed for seed in short if not seed.input][:2]
            words = prompts.instances(shown, task.instruction, self.instances, wave.language)
        if self.form == "text":
            message, stop = ("text", words + "\n"), ("\n" + prompts.TASK[wave.language] + prompts.COLON[wave.language],)
        else:
            message, stop = ("user", words), ()
        return Ask((message,), self.instance_tokens, presence_penalty=self.instance_penalty, stop=stop)

    def _instances(self, task: Task, labels: bool, answer: Answer | None, language: Language) -> Iterator[Verdict]:
        if answer is None:
            yield Verdict(task.instruction, task, NOT_ASKED)
            return
        found = _read(answer, lambda text, cut: instances_in(text, task.instruction, cut=cut))
        verdicts = [_instance_verdict(one, place, self.instances, language) for place, one in enumerate(found)]
        answers: dict[str, set[str]] = {}
        for one in verdicts:
            if one.fault is None and one.task is not None:
                answers.setdefault(one.task.input, set()).add(one.task.output)
        seen: set[str] = set()
        for one in verdicts:
            fault = one.fault
            if fault is None and one.task is not None:
                if len(answers[one.task.input]) > 1:
                    fault = Fault("other answers to the same input")
                elif one.task.input in seen:
                    fault = Fault("the same instance again")
                seen.add(one.task.input)
            yield Verdict(one.text, one.task, fault, is_classification=labels)


def _read(answer: Answer | None, parse: Callable[..., list[Found]], lead: str = "") -> list[Found]:
    """The candidates of an answer; what was refused is one. lead: what of it stood in the prompt already"""
    if answer is None:
        return []
    if answer.ended == "refused":
        return [Found("", None, answer_fault(answer))]
    found = parse(lead + answer.text, cut=answer.ended == "length")
    return found or [Found("", None, Fault("an empty answer"))]


def _judged(found: Sequence[Found], wave: Wave, *, whole: bool) -> Iterator[Verdict]:
    """Rules first, then likeness to what is there. whole: with answers, which are judged, too."""
    faults = []
    for one in found:
        if one.task is None:
            faults.append(one.fault)
            continue
        fault = instruction_fault(one.task.instruction, wave.language)
        faults.append(fault or (task_fault(one.task) if whole else None))
    good = [one.task.instruction for one, fault in zip(found, faults, strict=True) if fault is None and one.task]
    nearest = iter(wave.pool.admit(good))
    for one, fault in zip(found, faults, strict=True):
        near = next(nearest) if fault is None else None
        yield Verdict(one.text, one.task, fault if near is None else Fault(LIKE), near)


def _instance_verdict(one: Found, place: int, most: int, language: Language) -> Verdict:
    if one.task is None:
        return Verdict(one.text, None, one.fault)
    if place >= most:
        return Verdict(one.text, one.task, Fault("more instances than were asked for"))
    return Verdict(one.text, one.task, task_fault(one.task))


STRATEGIES: dict[str, type[Alpaca] | type[SelfInstruct]] = {"alpaca": Alpaca, "self-instruct": SelfInstruct}
