"""Asks the base itself: makes assets/general/replay_smollm2.jsonl and the `known_by` marks of plain_questions.jsonl.

    .venv/bin/python benchmarks/make_replay.py          # about four minutes on one core

Greedy, float32, under the base's own default system prompt. An answer is cut at the last sentence end within
`LONGEST` tokens; it is left out where there is none, or where it goes round in circles (a run of four words twice),
for a loop is no ability to keep. The prompts are ours (replay_prompts_en.jsonl); SmolLM2 is Apache-2.0, so that its
answers may be shipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Renderer
from camelid.data.templates import template_for
from camelid.evaluate import retention
from camelid.generate.base import Sampling
from camelid.generate.local import LiveGenerator
from camelid.model.layout import choose_layout
from camelid.model.load import load_model
from camelid.train.rehearsal import whole_sentences

ASSETS = Path(__file__).resolve().parent.parent / "src" / "camelid" / "assets" / "general"
BASE = "smollm2"
LONGEST = 48  # tokens of an answer that is kept


def read(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ASSETS / file).read_text("utf-8").splitlines()]


def write(file: str, rows: list[dict[str, Any]]) -> None:
    (ASSETS / file).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def main() -> None:
    loaded = load_model(BASE, dtype="float32")
    vocabulary = loaded.vocabulary
    generator = LiveGenerator(loaded.model, Renderer(vocabulary, template_for("auto", vocabulary), 1024, "all", "drop"))

    def answer(asked: Any, limit: int) -> list[str]:
        return [completion.text for completion in generator.generate(asked, Sampling(max_new_tokens=limit))]

    prompts = [row["prompt"] for row in read("replay_prompts_en.jsonl")]
    origin = Origin("replay_prompts_en.jsonl", 1)
    asked = [Conversation((Message("user", prompt),), origin) for prompt in prompts]
    answers = generator.generate(asked, Sampling(max_new_tokens=LONGEST))
    kept = [whole_sentences(a.text, ended=a.finish == "stop") for a in answers]
    rows = [{"prompt": p, "answer": text} for p, text in zip(prompts, kept, strict=True) if text and text.isascii()]
    write("replay_smollm2.jsonl", rows)
    print(f"replay: {len(prompts)} prompts, {len(rows)} answers kept")

    mark_known()


def mark_known() -> None:
    """Mark the plain questions that the base surely knows: right in every one of six answers.

    Greedily and twice sampled at temperature 0.5, in float32 and in bfloat16. One lucky greedy answer is no knowledge
    to keep: it turns with the rounding of another machine.
    """
    questions = read(retention.FILE)
    right = [0] * len(questions)
    for dtype in ("float32", "bfloat16"):
        loaded = load_model(BASE, dtype=dtype)
        vocabulary = loaded.vocabulary
        renderer = Renderer(vocabulary, template_for("auto", vocabulary), 1024, "all", "drop")
        generator = LiveGenerator(loaded.model, renderer, layout=choose_layout(loaded.model, "tree")[0])
        for seed, temperature in ((0, 0.0), (1, 0.5), (2, 0.5)):
            sampling = Sampling(max_new_tokens=retention.MAX_NEW_TOKENS, temperature=temperature, seed=seed)
            asked = retention.load_questions()
            answers = generator.generate([question.conversation for question in asked], sampling)
            right = [n + q.answered_by(a.text) for n, q, a in zip(right, asked, answers, strict=True)]
    for row, count in zip(questions, right, strict=True):
        others = [name for name in row["known_by"] if name != BASE]
        row["known_by"] = sorted([*others, BASE] if count == 6 else others)
    write(retention.FILE, questions)
    print(f"plain questions known for sure: {sum(count == 6 for count in right)} of {len(questions)}")


if __name__ == "__main__":
    main()
