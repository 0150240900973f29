"""Answers under a JSON schema beside as much free text for the same prompts: how many hold, what it costs.

    python benchmarks/json_speed.py                    # 200 answers of SmolLM2, half of them greedy, half sampled

Rounds alternate between the two; medians are printed. Free text is asked for exactly the tokens that the JSON took.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

CASES = Path(__file__).resolve().parents[1] / "tests" / "cases"
SCHEMA = json.loads((CASES / "answer_schema.json").read_text("utf-8"))  # that of tests/generate/test_real_model.py


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    import jsonschema_rs

    from camelid.data.render import Renderer
    from camelid.data.skills import make_skill_rows
    from camelid.data.templates import template_for
    from camelid.generate.base import Completion, Sampling
    from camelid.generate.local import LiveGenerator
    from camelid.model.layout import choose_layout
    from camelid.model.load import load_model

    loaded = load_model(given.model, dtype=given.dtype)
    layout, _ = choose_layout(loaded.model, "tree")
    template = template_for("auto", loaded.vocabulary)
    bound, free = (
        LiveGenerator(loaded.model, Renderer(loaded.vocabulary, template, 1 << 20), layout=layout) for _ in range(2)
    )
    free.renderer.stop_ids = ()
    prompts = [row.conversation for row in make_skill_rows(5, given.count)]
    temperatures = [float(i % 2) for i in range(given.count)]

    def timed(generator: LiveGenerator, samplings: list[Sampling]) -> tuple[float, list[Completion]]:
        start = time.perf_counter()
        answers = generator.generate_each(prompts, samplings)
        return time.perf_counter() - start, answers

    schema = json.dumps(SCHEMA)
    constrained = [
        Sampling(max_new_tokens=96, temperature=t, schema=schema, seed=i) for i, t in enumerate(temperatures)
    ]
    times: dict[str, list[float]] = {"schema": [], "free": []}
    valid = tokens = 0
    for _ in range(given.rounds):
        seconds, answers = timed(bound, constrained)
        times["schema"].append(seconds)
        valid, tokens = 0, sum(answer.completion_tokens for answer in answers)
        for answer in answers:
            try:
                jsonschema_rs.validate(SCHEMA, json.loads(answer.text))
                valid += answer.finish == "stop"
            except ValueError as error:  # of json and of the schema
                print(f"does not hold: {error}: {answer.text}")
        as_long = [
            Sampling(max_new_tokens=answer.completion_tokens, temperature=t, seed=i)
            for i, (answer, t) in enumerate(zip(answers, temperatures, strict=True))
        ]
        seconds, answers = timed(free, as_long)
        times["free"].append(seconds)
        assert sum(answer.completion_tokens for answer in answers) == tokens
    schema_s, free_s = (statistics.median(times[name]) for name in ("schema", "free"))
    print(f"{valid} of {given.count} answers parse and validate, {tokens} tokens")
    print(f"under the schema {schema_s:.1f} s, free text {free_s:.1f} s: {schema_s / free_s:.2f} times")


if __name__ == "__main__":
    main()
