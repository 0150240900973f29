"""What `camelid data lint` says of a fixed random sample of real rows, to be judged by eye.

    python benchmarks/lint_sample.py --seed 1
    python benchmarks/lint_sample.py --seed 2 --text      # with the rows themselves

Each file is looked through as a whole; then what was found in the drawn rows is shown. Seed 1 draws from the files of
`SEEN`, on which the rules were tuned; any other seed draws rows that seed 1 does not, and adds the files of `FRESH`, on
which no rule was tuned: answers of other models, and text of other kinds. `lint_sample.md` holds the verdicts.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from camelid.data.factory.lint.kinds import BY_NAME
from camelid.data.factory.lint.linter import Linter, lint

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SEEN = {
    "instruct/alpaca_data.json": (50, 40),  # rows of seed 1, and of any other seed
    "instruct/alpaca_zh_demo.json": (25, 15),
    "instruct/belle_dev1k.jsonl": (15, 10),
    "instruct/alpaca_zh_hikariming_12345-15323.json": (10, 5),
    "instruct/alpaca_zh_hikariming_15323-18280.json": (10, 5),
    "instruct/huatuo_llama_data.jsonl": (20, 10),
    "dialogue/sharegpt_zh_1k.jsonl": (15, 10),
    "dialogue/sharegpt_en_1k_raw.jsonl": (15, 10),
    "instruct/lima.json": (10, 0),
    "dialogue/oasst_sft_zh.json": (10, 0),
    "dialogue/kdconv_travel_dev.json": (5, 5),
    "instruct/advertisegen_dev.jsonl": (5, 0),
    "instruct/chatlm_mini_train_dataset_3k.parquet": (5, 0),
    "instruct/gsm8k_train.jsonl": (5, 0),
}
FRESH = {
    "judge/vicuna_blog/answer/answer_gpt35.jsonl": 9,
    "judge/vicuna_blog/answer/answer_bard.jsonl": 8,
    "judge/vicuna_blog/answer/answer_llama-13b.jsonl": 8,
    "judge/alpaca_eval/v1_gpt4/text_davinci_001/annotations.json": 8,
    "judge/alpaca_eval/v1_gpt4/vicuna-13b/annotations.json": 7,
    "judge/pandalm/testset-v1.json": 15,
    "preference/dpo_zh_500.jsonl": 15,
    "pretrain/d2l_zh.jsonl": 5,
    "pretrain/recipes_zh.jsonl": 5,
    "pretrain/wiki_zh.jsonl": 5,
    "pretrain/wiki_en.jsonl": 5,
}


def main() -> None:
    """Draw, look, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--text", action="store_true", help="show the rows, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(options.data, Path(folder), options.seed)
        print(f"seed {options.seed}: {sum(len(lines) for _, _, lines in drawn)} rows")
        for name, path, wanted in drawn:
            linter = Linter(frozenset(BY_NAME), max_length=1024, examples=10**9)
            findings = lint([str(path)], linter, announce=lambda line: None)
            shown = [
                (example.origin.line, tally.kind.severity, tally.kind.name, example.shown)
                for tally in findings.found
                for example in tally.examples
                if example.origin.line in wanted
            ]
            for line, severity, kind, text in sorted(shown):
                print(f"{name}:{line} | {severity} | {kind} | {text}")
            if options.text:
                for line, row in rows_of(path):
                    if line in wanted:
                        print(f"--- {name}:{line}\n{row}")


def draw(data: Path, folder: Path, seed: int) -> list[tuple[str, Path, set[int]]]:
    """(name, file, lines) of each file; files that are no training data are written out as question and answer."""
    drawn = []
    first = {
        name: set(random.Random(f"1:{name}").sample(lines_of(data / name), few)) for name, (few, _) in SEEN.items()
    }
    if seed == 1:
        return [(name, data / name, lines) for name, lines in first.items()]
    for name, (_, few) in SEEN.items():
        rest = sorted(set(lines_of(data / name)) - first[name])
        drawn.append((name, data / name, set(random.Random(f"{seed}:{name}").sample(rest, few))))
    for name, few in FRESH.items():
        path = as_pairs(data, data / name, folder)
        drawn.append((name, path, set(random.Random(f"{seed}:{name}").sample(lines_of(path), few))))
    return [one for one in drawn if one[2]]


def lines_of(path: Path) -> list[int]:
    """The lines on which rows begin."""
    return [line for line, _ in rows_of(path)]


def rows_of(path: Path) -> Iterator[tuple[int, str]]:
    """Each row as it stands, with its line."""
    from camelid.data.readers import open_rows
    from camelid.data.readers.rows import RawRow

    source = open_rows(path)
    for row in source.rows:
        if isinstance(row, RawRow):
            yield row.line, json.dumps(row.value, ensure_ascii=False, indent=1)
    source.close()


def as_pairs(data: Path, path: Path, folder: Path) -> Path:
    """A file of questions and answers: those of `vicuna_blog`, AlpacaEval and PandaLM joined, any other itself."""
    if "judge" not in path.parts:
        return path
    if path.parent.name == "answer":
        questions = {row["question_id"]: row["text"] for row in json_lines(data / "judge/vicuna_blog/question.jsonl")}
        rows = [{"prompt": questions[row["question_id"]], "response": row["text"]} for row in json_lines(path)]
    elif path.name == "annotations.json":
        rows = [
            {"instruction": row["instruction"], "output": row["output_2"]}
            for row in json.loads(path.read_text("utf-8"))
        ]
    else:
        rows = [
            {"instruction": row["instruction"], "input": row["input"], "output": row["response1"]}
            for row in json.loads(path.read_text("utf-8"))
        ]
    written = folder / f"{path.parent.name}-{path.stem}.jsonl"
    written.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return written


def json_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


if __name__ == "__main__":
    main()
