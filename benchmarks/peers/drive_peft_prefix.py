"""One measured run of PEFT's PREFIX_TUNING under Hugging Face's Trainer, as its documentation calls it.

    python drive_peft_prefix.py job.json

Rows are padded on the right to the longest of their batch.
"""
# pyright: reportMissingImports=false

import json
import sys
from pathlib import Path

import peft
import torch
import transformers
from hf_meter import MeterCallback
from meter import Meter
from peft import PrefixTuningConfig, get_peft_model
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Padded on the right."""
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    labels = [torch.tensor(row["labels"]) for row in rows]
    return {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


def run(job: dict) -> None:
    """Train on the job's rows until enough steps are timed and write the result."""
    rows = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))
    base = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    config = PrefixTuningConfig(num_virtual_tokens=job["virtual_tokens"], task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    meter = Meter(job["steps"])
    arguments = TrainingArguments(
        output_dir=job["scratch"],
        max_steps=job["steps"],
        per_device_train_batch_size=job["batch"],
        gradient_accumulation_steps=job["rows_a_step"] // job["batch"],
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        learning_rate=job["learning_rate"],
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        bf16=job["bfloat16"],
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[MeterCallback(meter)]
    )
    trainer.train()
    meter.write(
        Path(job["result"]), versions={module.__name__: module.__version__ for module in (transformers, peft, torch)}
    )


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text()))
