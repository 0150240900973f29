"""One measured run of LLaMA-Factory's SFT, through the function behind `llamafactory-cli train`. In its environment.

    python drive_llamafactory.py job.json

LLaMA-Factory renders rows itself, so it gets a template that adds nothing: the user turn is the rendered prompt, the
assistant turn the answer and the end token. That gives the same token ids as everyone else's.
"""

# pyright: reportMissingImports=false

import json
import sys
from pathlib import Path

import peft
import torch
import transformers
from hf_meter import MeterCallback
from llamafactory.data.formatter import StringFormatter
from llamafactory.data.template import register_template
from llamafactory.extras.env import VERSION
from llamafactory.train.tuner import run_exp
from meter import Meter


def write_dataset(rows_file: Path, folder: Path) -> None:
    """The rows in LLaMA-Factory's own layout: a data file and its `dataset_info.json`."""
    rows = json.loads(rows_file.read_text(encoding="utf-8"))
    items = [{"instruction": row["prompt"], "input": "", "output": row["answer"]} for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.json").write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}), encoding="utf-8")


def run(job: dict) -> None:
    """Train on the job's rows until enough steps are timed and write the result."""
    register_template(
        name="as_rendered",
        format_user=StringFormatter(slots=["{{content}}"]),
        format_assistant=StringFormatter(slots=["{{content}}", {"eos_token"}]),
    )
    folder = Path(job["scratch"]) / "data"
    write_dataset(Path(job["rows"]), folder)
    meter = Meter(job["steps"])
    arguments = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": job["model"],
        "finetuning_type": "lora",
        "lora_target": "all",
        "lora_rank": job["lora_r"],
        "dataset_dir": str(folder),
        "dataset": "rows",
        "template": "as_rendered",
        "overwrite_cache": True,
        "disable_shuffling": True,
        "output_dir": str(Path(job["scratch"]) / "out"),
        "overwrite_output_dir": True,
        "use_cpu": True,
        "max_steps": job["steps"],
        "learning_rate": job["learning_rate"],
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
        **job["settings"]["arguments"],
    }
    run_exp(arguments, callbacks=[MeterCallback(meter)])
    meter.write(
        Path(job["result"]),
        autocast=bool(arguments.get("bf16")),
        versions={
            "llamafactory": VERSION,
            **{module.__name__: module.__version__ for module in (transformers, peft, torch)},
        },
    )


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text()))
