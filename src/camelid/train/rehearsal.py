"""What a base itself says to general prompts of ours, as rows to rehearse while it learns something else.

Generative replay (Sun et al. 2020, LAMOL): nobody has the data that a base was trained on, but the base can write
some. A base with a chat template answers; one that only continues text writes questions with their answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from camelid.config import Recipe
from camelid.data.question_text import asked, asked_after_examples
from camelid.data.records import Conversation, Message, Origin
from camelid.data.skills.replay import LONGEST, TEMPERATURE, TIMES, general_prompts, whole_sentences
from camelid.errors import UserError
from camelid.generate.base import Generator, Request, Sampling
from camelid.generate.opening import Wanted, open_generator
from camelid.model.load import resolve, trained_to_answer
from camelid.runs.durable import write_durably

Say = Callable[[str], None]

_ROUNDS = 4  # over all prompts, after which fewer rows than wanted have to do


def write_own_rows(recipe: Recipe, count: int, path: Path, say: Say) -> None:
    """Let the recipe's base write `count` rows (fewer, if it has little to say) as JSON Lines. Raises UserError."""
    source = resolve(recipe.base, accept_license=recipe.accept_license)
    # what is distilled is the base without its adapter, and so it must have written the rows
    answers = trained_to_answer(source, with_adapter=not recipe.replay_distil)
    wanted = Wanted(
        recipe.base, engine="local", template=recipe.template, dtype=recipe.dtype, accept_license=recipe.accept_license
    )
    say(f"replay: the base writes {count} rows of its own ...")
    opened = open_generator(wanted, say)
    kind = "base" if recipe.replay_distil else next(iter(opened.kinds.values()))
    model = next(name for name, of in opened.kinds.items() if of == kind)
    try:
        rows: list[dict[str, Any]] = []
        for prompts in _batches(count, recipe.seed):
            rows += _written(opened.generator, model, prompts, answers)
            if len(rows) >= count:
                break
    finally:
        opened.generator.close()
    if not rows:
        raise UserError("the base writes nothing that could be rehearsed", where="replay.data=own", mend="give rows")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:count])
    write_durably(path, text.encode())


def _batches(count: int, seed: int) -> Iterator[list[tuple[str, str, int]]]:
    """(language, prompt, seed of its answer) in a seeded order; a fifth more than wanted at once: some are no use."""
    pool = [one for one in general_prompts() for _ in range(TIMES[one[0]])]
    random = np.random.default_rng([seed, 0x5E1F])
    asked_for: list[tuple[str, str, int]] = []
    for _ in range(_ROUNDS):
        for i in random.permutation(len(pool)).tolist():
            asked_for.append((*pool[i], len(asked_for)))
    size = max(8, count * 6 // 5)
    for start in range(0, len(asked_for), size):
        yield asked_for[start : start + size]


def _written(
    generator: Generator, model: str, prompts: list[tuple[str, str, int]], answers: bool
) -> list[dict[str, Any]]:
    requests = []
    for i, (language, text, seed) in enumerate(prompts):
        if answers:
            prompt = generator.prepare(Conversation((Message("user", text),), Origin("replay", i)))
        else:
            prompt = generator.prepare(asked_after_examples(text, language))
        stop = () if answers else ("\n",)
        sampling = Sampling(max_new_tokens=LONGEST, temperature=TEMPERATURE, seed=seed, stop=stop)
        requests.append(Request(prompt, sampling, model))
    rows = []
    for (language, text, _), completion in zip(prompts, generator.generate_each(requests), strict=True):
        answer = whole_sentences(completion.text, ended=completion.finish == "stop")
        if answer is None:
            continue
        if answers:
            said = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
            rows.append({"messages": said})
        else:
            space = " " if language == "en" else ""
            rows.append({"text": f"{asked(text, language)}{space}{answer}"})
    return rows
