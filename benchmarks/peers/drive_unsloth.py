"""One measured run of Unsloth on a CPU: its loader and its adapter, then TRL's SFTTrainer as Unsloth patches it.

    python drive_unsloth.py job.json

Unsloth must be imported before the libraries that it changes, so this file's imports are not sorted.
"""

# pyright: reportMissingImports=false
# ruff: noqa: E402, I001

import json
import os
import sys
from pathlib import Path

JOB = json.loads(Path(sys.argv[1]).read_text())
if JOB["settings"].get("compile"):
    os.environ["UNSLOTH_CPU_COMPILE"] = "1"  # the only way that Unsloth offers

import unsloth
import datasets
import peft
import torch
import transformers
import trl
from hf_meter import MeterCallback
from meter import Meter
from trl import SFTConfig, SFTTrainer

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def run(job: dict) -> None:
    """Train on the job's rows until enough steps are timed and write the result."""
    settings = job["settings"]
    rows = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))
    dataset = datasets.Dataset.from_dict({key: [row[key] for row in rows] for key in ("input_ids", "labels")})
    meter = Meter(job["steps"])
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[settings["dtype"]]
    checkpointing = settings.get("checkpointing", False)
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        job["model"],
        max_seq_length=1024,
        dtype=dtype,
        load_in_4bit=False,
        use_gradient_checkpointing=checkpointing,
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        r=job["lora_r"],
        lora_alpha=2 * job["lora_r"],
        lora_dropout=0.0,
        bias="none",
        target_modules=LINEARS,
        use_gradient_checkpointing=checkpointing,
    )
    config = SFTConfig(
        output_dir=job["scratch"],
        max_steps=job["steps"],
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        learning_rate=job["learning_rate"],
        gradient_checkpointing=bool(checkpointing),
        bf16=settings["dtype"] == "bfloat16",
        **{"train_sampling_strategy": "sequential", **settings["sft"]},
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=[MeterCallback(meter, trained_head=True)],
    )
    trainer.train()
    meter.write(
        Path(job["result"]),
        types=sorted({str(weight.dtype) for weight in trainer.model.parameters()}),
        autocast=bool(config.bf16),
        versions={module.__name__: module.__version__ for module in (unsloth, trl, transformers, peft, torch)},
    )


if __name__ == "__main__":
    run(JOB)
