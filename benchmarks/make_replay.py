"""Asks the base itself: makes assets/general/replay_smollm2.jsonl and the `known_by` marks of plain_questions.jsonl.

    .venv/bin/python benchmarks/make_replay.py          # about four minutes on one core

Greedy, float32, under the base's own default system prompt. An answer is cut at the last sentence end within
`LONGEST` tokens; it is left out where there is none, or where it goes round in circles (a run of four words twice),
for a loop is no ability to keep. The prompts are ours (replay_prompts_en.jsonl); SmolLM2 is Apache-2.0, so that its
answers may be shipped.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Renderer
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary
from camelid.evaluate import retention
from camelid.generate.base import Sampling
from camelid.generate.local import LocalGenerator
from camelid.model.load import load_model

ASSETS = Path(__file__).resolve().parent.parent / "src" / "camelid" / "assets" / "general"
BASE = "smollm2"
LONGEST = 64  # tokens of an answer that is kept
ASKED = 80  # tokens asked for
SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def goes_in_circles(text: str) -> bool:
    """Whether a run of four words occurs twice."""
    words = re.findall(r"\w+", text.lower())
    runs = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return len(set(runs)) < len(runs)


def keep(answer: str, vocabulary: Vocabulary) -> str | None:
    """The answer up to its last sentence end within `LONGEST` tokens; None where nothing is worth keeping."""
    ids = vocabulary.backend.encode(answer, add_special_tokens=False).ids
    text = answer if len(ids) <= LONGEST else vocabulary.decode(ids[:LONGEST])
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    if len(ids) > LONGEST:
        text = text[: ends[-1]] if ends else ""
    text = text.strip()
    plain = all(character.isprintable() or character == "\n" for character in text) and text.isascii()
    return text if text and plain and not goes_in_circles(text) else None


def read(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ASSETS / file).read_text("utf-8").splitlines()]


def write(file: str, rows: list[dict[str, Any]]) -> None:
    (ASSETS / file).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def main() -> None:
    loaded = load_model(BASE, dtype="float32")
    vocabulary = loaded.vocabulary
    generator = LocalGenerator(
        loaded.model, Renderer(vocabulary, template_for("auto", vocabulary), 1024, "all", "drop")
    )

    def answer(asked: Any, limit: int) -> list[str]:
        return [completion.text for completion in generator.generate(asked, Sampling(max_new_tokens=limit))]

    prompts = [row["prompt"] for row in read("replay_prompts_en.jsonl")]
    origin = Origin("replay_prompts_en.jsonl", 1)
    answers = answer([Conversation((Message("user", prompt),), origin) for prompt in prompts], ASKED)
    kept = [(prompt, keep(text, vocabulary)) for prompt, text in zip(prompts, answers, strict=True)]
    rows = [{"prompt": prompt, "answer": text} for prompt, text in kept if text]
    write("replay_smollm2.jsonl", rows)
    print(f"replay: {len(prompts)} prompts, {len(rows)} answers kept")

    report = retention.plain_questions(answer)
    questions = read(retention.FILE)
    for row, answered in zip(questions, report.answers, strict=True):
        others = [name for name in row["known_by"] if name != BASE]
        row["known_by"] = sorted([*others, BASE] if answered.right else others)
    write(retention.FILE, questions)
    print(", ".join(f"{language}: {share}" for language, share in report.by_language.items()))


if __name__ == "__main__":
    main()
