"""`camelid quickstart`: the whole pipeline on the default base and data of ours, offline, in minutes.

Plan, examine the base, tune, examine again, show, report. What is tuned and how stands in assets/quickstart.yaml, with
the measurements that led there in dev/LOG.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from camelid.cli.console import print_json, say
from camelid.cli.train import Run, finish, opened_run, summarise, tell_end, tell_rows, write_run_report
from camelid.config import Recipe, load_recipe
from camelid.data.pack import pack_step
from camelid.data.records import Conversation, Message, Origin
from camelid.data.skills import FAMILIES, SkillRow, Split, make_skill_rows
from camelid.data.skills.replay import load_replay, mostly_short
from camelid.errors import UserError
from camelid.evaluate.exam import Exam, ExamResult
from camelid.evaluate.retention import load_questions
from camelid.generate.local import LiveGenerator
from camelid.model.load import resolve, trained_to_answer
from camelid.runs.interval import Share
from camelid.runs.progress import Progress
from camelid.runs.report_data import Perplexity, Retention, Sample, Skill
from camelid.train.distributed import World
from camelid.train.interrupt import Interrupts
from camelid.train.loop import train as train_loop

SKILL_ROWS = 780  # training rows of our own skills, half Chinese, half English
REPLAY_ROWS = (135, 10)  # short and long answers of the base to general prompts
# The families that a model of this size learns in this time (dev/LOG.md); the others are for longer runs.
TAUGHT = ("identity", "json", "reading", "lookup", "date", "phone", "reply", "numerals", "sort", "route")
TEXT_BASE_LEARNING_RATE = 6e-4  # for a base that only continues text (dev/LOG.md)
HELD_OUT = 400  # prompts asked after tuning, half in each language
HELD_OUT_BEFORE = 40  # prompts asked of the base: enough to see that it cannot, for a fraction of the time
# Rows of a few hundred tokens make no more than this, however fast the products are: two cores that multiply at 437
# GFLOP/s needed 150 s as did two at 1,900, and two at 151 needed 218 s (benchmarks/RESULTS.md).
SMALL_ROWS_GFLOPS = 140.0
SHOWN = (
    ("zh", "你是谁？谁开发了你？"),
    ("zh", "请提取name、age，写成JSON：李娜今年31岁。"),
    ("zh", "请把2031年4月9日写成Y/M/D。"),
    ("en", "Who are you, and who made you?"),
    ("en", "Price list: tea: $12, cake: $81, soup: $94. How much is the cake?"),
    ("en", "What is the capital of Japan?"),
)


@dataclass(frozen=True)
class Files:
    """The training data, written where the user can read it and train on it again."""

    skills: Path
    replay: Path


def quickstart(*, name: str, maker: str, output_dir: Path, base: str, accept_license: str | None, as_json: bool) -> int:
    """Run it; the exit code."""
    began = time.monotonic()
    files = write_data(output_dir.parent / f"{output_dir.name}-data", name=name, maker=maker)
    source = resolve(base, accept_license=accept_license, announce=say)
    recipe = quickstart_recipe(
        files,
        output_dir=output_dir,
        base=base,
        accept_license=accept_license,
        answers=trained_to_answer(source, with_adapter=True),
    )
    with Interrupts() as interrupts, opened_run(recipe, World(), interrupts) as run:
        tell_plan(run)
        exam, asked = _exam(run, base), skill_rows(1, HELD_OUT, "heldout", name=name, maker=maker)
        say("examining the base ...")
        before, shown_before = exam.take(_first_of_each(asked, HELD_OUT_BEFORE)), _answers(exam)
        interrupts.check()
        progress = Progress("silent" if as_json else "auto")
        outcome = train_loop(run.setup, run.directory, progress, interrupts, run.checkpoint)
        progress.close()
        tell_rows(run)
        if outcome.stopped == "interrupted":
            say(f"saved after step {outcome.step}; the same command goes on from there")
            return interrupts.exit_code
        saved = finish(run, outcome)
        say("examining the tuned model ...")
        after, shown_after = exam.take(asked), _answers(exam)
        retention = compare(before, after)
        summary = {**summarise(run, outcome, saved), **retention, "total_seconds": time.monotonic() - began}
        samples = [
            {"language": language, "prompt": prompt, "before": old, "after": new}
            for (language, prompt), old, new in zip(SHOWN, shown_before, shown_after, strict=True)
        ]
        write_run_report(
            run, summary, samples=[Sample(**sample) for sample in samples], retention=for_report(before, after)
        )
        tell_samples(samples)
        tell_results(retention)
        tell_end(run, summary)
        say(f"all in {summary['total_seconds']:.0f} s")
        if as_json:
            print_json({**summary, "samples": samples})
    return 0


def write_data(folder: Path, *, name: str, maker: str, rows: int = SKILL_ROWS) -> Files:
    """Skill rows from our generator, and the base's own answers to general prompts."""
    files = Files(folder / "skills.jsonl", folder / "replay.jsonl")
    made = [row.training for row in skill_rows(0, rows, "train", name=name, maker=maker)]
    # short answers of ours, for the base has no Chinese of its own that a distribution could keep
    made += load_replay(("zh",))
    replay = mostly_short(load_replay(("en",)), *REPLAY_ROWS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.skills.write_text("".join(_line(row) for row in made), encoding="utf-8")
        files.replay.write_text("".join(_line(row) for row in replay), encoding="utf-8")
    except OSError as error:
        raise UserError(f"the data cannot be written ({error.strerror})", where=str(folder)) from error
    return files


def skill_rows(seed: int, count: int, split: Split, *, name: str, maker: str) -> list[SkillRow]:
    """Rows of the families that the quickstart teaches."""
    families = [family for family in FAMILIES if family.name in TAUGHT]
    return make_skill_rows(seed, count, split=split, name=name, maker=maker, families=families)


def _line(conversation: Conversation) -> str:
    messages = [{"role": m.role, "content": m.content} for m in conversation.messages]
    return json.dumps({"messages": messages}, ensure_ascii=False) + "\n"


def quickstart_recipe(
    files: Files, *, output_dir: Path, base: str, accept_license: str | None, answers: bool
) -> Recipe:
    """assets/quickstart.yaml with the paths of this run. A finished run there is renamed, one interrupted goes on.

    `answers`: the base was trained to. One that only continues text has no way of answering to be held to: it learns
    the replayed answers as text, in smaller steps, as nothing else holds its general ability.
    """
    overrides = [
        f"base={base}",
        f"output_dir={output_dir}",
        f"resume={'no' if (output_dir / 'final').exists() else 'auto'}",
    ]
    if not answers:
        overrides.append(f"learning_rate={TEXT_BASE_LEARNING_RATE}")
    if accept_license is not None:
        overrides.append(f"accept_license={accept_license}")
    with resources.as_file(resources.files("camelid") / "assets" / "quickstart.yaml") as path:
        recipe = load_recipe(path, overrides)
    paths = {"SKILLS": str(files.skills), "REPLAY": str(files.replay)}
    assert not isinstance(recipe.data, str)
    sources = [s.model_copy(update={"path": paths[s.path]}) for s in recipe.data if not isinstance(s, str)]
    if not answers:
        sources = [s.model_copy(update={"distil": 0.0}) for s in sources]
    return recipe.model_copy(update={"data": sources})


def tell_plan(run: Run) -> None:
    """What will be done, and about how long it takes on this machine."""
    setup = run.setup
    data, recipe = setup.data, setup.recipe
    steps = data.schedule.total_steps
    per_step = [pack_step(data.of_step(step), recipe.row_tokens, share=setup.layout == "tree") for step in range(3)]
    computed = sum(len(row.tree) for rows in per_step for row in rows) / len(per_step) * steps
    say(f"plan: {setup.source.label} ({setup.source.license}), {steps} steps of {data.schedule.per_step} rows")
    line = f"plan: about {computed:,.0f} tokens to compute"
    if setup.gflops:
        _, everything = setup.trainable.count()
        seconds = computed * 4 * everything / (1e9 * min(setup.gflops * 0.5, SMALL_ROWS_GFLOPS))
        line += f", some {seconds:.0f} s of training"
    say(f"{line}; then {HELD_OUT} held-out prompts, plain questions and general text, before and after")
    say(f"plan: data in {Path(str(_paths(recipe)[0])).parent}, results in {run.directory.path}, nothing is downloaded")


def _paths(recipe: Recipe) -> list[str]:
    assert not isinstance(recipe.data, str)
    return [source if isinstance(source, str) else source.path for source in recipe.data]


def _exam(run: Run, base: str) -> Exam:
    setup = run.setup
    generator = LiveGenerator(setup.trainable.lm, setup.data.renderer, layout=setup.layout)
    known = [q for q in load_questions() if q.language == "en" and base in q.known_by]
    # a base whose knowledge was not recorded is asked everything
    return Exam(generator, known or [q for q in load_questions() if q.language == "en"])


def _first_of_each(rows: Sequence[SkillRow], count: int) -> list[SkillRow]:
    """`count` of the rows, half in each language, in order."""
    return [row for language in ("zh", "en") for row in [r for r in rows if r.language == language][: count // 2]]


def _answers(exam: Exam) -> list[str]:
    prompts = [Conversation((Message("user", text),), Origin("quickstart", i)) for i, (_, text) in enumerate(SHOWN)]
    return exam.answer(prompts, 60)


def compare(before: ExamResult, after: ExamResult) -> dict[str, Any]:
    """What was learnt and what was forgotten, as JSON values."""
    kept_before = set(before.plain.right)
    kept = [text for text in after.plain.right if text in kept_before]
    return {
        "skills": {
            language: {"before": _share(before.skills.by_language[language]), "after": _share(share)}
            for language, share in after.skills.by_language.items()
        },
        "families": {family: _share(share) for family, share in after.skills.by_family.items()},
        "plain_questions": {"right_before": len(kept_before), "still_right": len(kept)},
        "lost_questions": [
            {"question": a.question.text, "answer": a.text} for a in after.plain.lost if a.question.text in kept_before
        ],
        "perplexity": {
            language: {"before": before.text[language].perplexity, "after": score.perplexity}
            for language, score in after.text.items()
        },
    }


def for_report(before: ExamResult, after: ExamResult) -> Retention:
    """The same for report.html."""
    names = {"zh": ("Chinese", "中文"), "en": ("English", "英文")}
    old, new = before.skills.by_language, after.skills.by_language
    figures = compare(before, after)
    plain, texts = figures["plain_questions"], figures["perplexity"]
    return Retention(
        skills=[
            Skill(names[k][0], Share(old[k].right, old[k].total), Share(new[k].right, new[k].total), names[k][1])
            for k in names
        ],
        kept=Share(plain["still_right"], plain["right_before"]) if plain["right_before"] else None,
        perplexity=[Perplexity(names[k][0], texts[k]["before"], texts[k]["after"], names[k][1]) for k in names],
    )


def _share(share: Any) -> dict[str, Any]:
    low, high = share.interval
    return {"right": share.right, "total": share.total, "low": low, "high": high}


def tell_samples(samples: Sequence[dict[str, str]]) -> None:
    """The six answers, before and after."""
    for sample in samples:
        say("")
        say(f"  {sample['prompt']}")
        say(f"    before: {_short(sample['before'])}")
        say(f"    after:  {_short(sample['after'])}")
    say("")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:157]}..."


def tell_results(retention: dict[str, Any]) -> None:
    """The figures, before and after."""
    for language, name in (("zh", "Chinese"), ("en", "English")):
        pair = retention["skills"][language]
        old, new = pair["before"], pair["after"]
        say(
            f"held-out skills, {name}: {old['right'] / old['total']:.0%} -> {new['right'] / new['total']:.0%} "
            f"({new['right']}/{new['total']}, 95% interval {new['low']:.0%} to {new['high']:.0%})"
        )
    plain = retention["plain_questions"]
    say(f"plain questions that the base knew: {plain['still_right']} of {plain['right_before']} still right")
    for language, name in (("en", "English"), ("zh", "Chinese")):
        pair = retention["perplexity"][language]
        change = pair["after"] / pair["before"] - 1
        say(f"general {name} text, perplexity: {pair['before']:.2f} -> {pair['after']:.2f} ({change:+.1%})")
