"""Forgetting, measured by every training run: before its first step (or with the adapter off) and after its last.

What a base can do before is the same in every run, so what took long to measure is kept beside the converted bases and
used again: a comparison of six runs asks the base once.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import camelid
from camelid.cli.console import quiet
from camelid.errors import UserError
from camelid.evaluate.general import Change, General, kept, measure_general, rise, what_is_read
from camelid.generate.local import LiveGenerator
from camelid.model.gguf_convert import cache_directory
from camelid.model.load import trained_to_answer
from camelid.model.quantised import weights_of
from camelid.model.resolve import ADAPTER_FILE
from camelid.runs.directory import RunDirectory
from camelid.runs.durable import write_durably
from camelid.runs.interval import Share
from camelid.runs.manifest import read_manifest
from camelid.runs.report_data import Perplexity, Retention, Skill
from camelid.train.setup import Setup

_BEFORE = "before.json"
_WORTH_KEEPING = 5.0  # seconds
_LANGUAGES = {"en": ("English", "英文"), "zh": ("Chinese", "中文")}
Say = Callable[[str], None]


def measure_before(setup: Setup, directory: RunDirectory, *, fresh: bool, say: Say = quiet) -> General | None:
    """What the base can do; kept in the run directory, for a run that goes on has other weights already."""
    if not setup.recipe.retention or setup.recipe.from_scratch or not setup.world.first:
        return None
    file = directory.path / _BEFORE
    if not fresh and file.is_file():
        try:
            return General.of_json(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"cannot be read: {error}", where=str(file), mend="set retention=false") from error
    if not fresh and not setup.trainable.has_adapter:
        return None  # a run from before this was measured
    before = _of_base(setup, directory, say)
    write_durably(file, json.dumps(before.as_json()).encode())
    return before


def _of_base(setup: Setup, directory: RunDirectory, say: Say) -> General:
    """From the file of an earlier run of this base, or by asking."""
    file = _file_of_base(setup, directory)
    if file.is_file():
        try:
            found = General.of_json(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"WARNING: {file} cannot be read ({error}): the base is asked anew")
        else:
            say(f"general text and plain questions before training: as an earlier run of this base found ({file})")
            return found
    say("measuring general text and plain questions before training ...")
    began = time.monotonic()
    before = _measure(setup, adapter=False)
    if time.monotonic() - began >= _WORTH_KEEPING:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_durably(file, json.dumps(before.as_json()).encode())
        except (OSError, UserError) as error:
            say(f"the next run measures this again, for it could not be kept: {error}")
    return before


def _file_of_base(setup: Setup, directory: RunDirectory) -> Path:
    """Named by all that decides the answers: weights, how they compute, tokens that are read, this version of ours."""
    source, trainable = setup.source, setup.trainable
    weights = read_manifest(directory.manifest_file)["base"]
    digest = hashlib.sha256(camelid.__version__.encode())
    digest.update(json.dumps([[file["sha256"] for file in weights["files"]], weights.get("quantization")]).encode())
    digest.update(json.dumps({name: weight.bits for name, weight in weights_of(trainable.lm).items()}).encode())
    digest.update((source.directory / "config.json").read_bytes())
    if source.adapter_directory is not None:
        digest.update((source.adapter_directory / ADAPTER_FILE).read_bytes())
    how = setup.world.device.type, str(setup.dtype), setup.autocast, setup.layout, setup.recipe.has_head
    digest.update(json.dumps(how).encode())
    generator = LiveGenerator(trainable.lm, setup.data.renderer, layout=setup.layout)
    read = what_is_read(generator, questions=not setup.recipe.has_head, answers=trained_to_answer(source))
    digest.update(json.dumps(read).encode())
    return cache_directory().parent / "measured" / f"{digest.hexdigest()[:16]}.json"


def measure_after(setup: Setup, before: General | None) -> dict[str, Any] | None:
    """The changes as JSON values; None where nothing was measured before."""
    if before is None:
        return None
    return changes(before, _measure(setup, adapter=True))


def changes(before: General, after: General) -> dict[str, Any]:
    """From one to the other, as JSON values."""
    rises = {language: rise(before.text[language], after.text[language]) for language in after.text}
    share = kept(before, after)
    return {
        "perplexity": {language: vars(change) for language, change in rises.items()},
        "passages": after.text,
        "plain_questions": {
            "right_before": share.total,
            "still_right": share.right,
            "asked": before.asked,
            "lost": [question for question in before.right if question not in after.right],
        },
        "skills": {
            language: {"before": before.skills[language][0], "after": right, "asked": asked}
            for language, (right, asked) in after.skills.items()
        },
    }


def _measure(setup: Setup, *, adapter: bool) -> General:
    trainable = setup.trainable
    off = nullcontext() if adapter or not trainable.has_adapter else trainable.without_adapter()
    with off:
        generator = LiveGenerator(trainable.lm, setup.data.renderer, layout=setup.layout)
        answers = trained_to_answer(setup.source)
        return measure_general(generator, questions=not setup.recipe.has_head, answers=answers)


def tell(figures: dict[str, Any], say: Say) -> None:
    """The figures as lines."""
    for language, values in figures["perplexity"].items():
        say(f"general {_LANGUAGES[language][0]} text, perplexity: {Change(**values)}")
    plain = figures["plain_questions"]
    if plain["right_before"]:
        say(f"plain questions that the base knew: {plain['still_right']} of {plain['right_before']} still right")
    for language, values in figures["skills"].items():
        old, new = (Share(values[when], values["asked"]) for when in ("before", "after"))
        say(f"short tasks, {_LANGUAGES[language][0]}: {old} -> {new}")


def for_report(figures: dict[str, Any] | None) -> Retention | None:
    """The same for report.html."""
    if figures is None:
        return None
    plain = figures["plain_questions"]
    return Retention(
        general=[
            Skill(
                _LANGUAGES[k][0],
                Share(v["before"], v["asked"]),
                Share(v["after"], v["asked"]),
                _LANGUAGES[k][1],
            )
            for k, v in figures["skills"].items()
        ],
        kept=Share(plain["still_right"], plain["right_before"]) if plain["right_before"] else None,
        perplexity=[
            Perplexity(_LANGUAGES[k][0], v["before"], v["after"], _LANGUAGES[k][1])
            for k, v in figures["perplexity"].items()
        ],
    )
