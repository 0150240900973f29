"""One measured run of TRL's SFTTrainer, called the way its users call it. Runs in TRL's environment.

    python drive_trl.py job.json

`settings.sft` goes into SFTConfig as it is; `settings.adapter_bfloat16` keeps the LoRA weights in the base's type.
"""

# pyright: reportMissingImports=false

import json
import sys
from pathlib import Path

import datasets
import peft
import torch
import transformers
import trl
from hf_meter import MeterCallback
from meter import Meter
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer


def run(job: dict) -> None:
    """Train on the job's rows until enough steps are timed and write the result."""
    settings = job["settings"]
    rows = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))
    dataset = datasets.Dataset.from_dict({key: [row[key] for row in rows] for key in ("input_ids", "labels")})
    meter = Meter(job["steps"])
    config = SFTConfig(
        output_dir=job["scratch"],
        max_steps=job["steps"],
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        learning_rate=job["learning_rate"],
        **{"train_sampling_strategy": "sequential", **settings.get("sft", {})},
    )
    lora = LoraConfig(r=job["lora_r"], lora_alpha=2 * job["lora_r"], target_modules="all-linear", task_type="CAUSAL_LM")
    model: object = job["model"]
    if settings.get("adapter_bfloat16"):
        base = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16)
        model = get_peft_model(base, lora, autocast_adapter_dtype=False)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=dataset,
        peft_config=None if settings.get("adapter_bfloat16") else lora,
        callbacks=[MeterCallback(meter)],
    )
    trainer.train()
    types = sorted({str(weight.dtype) for weight in trainer.model.parameters()})
    meter.write(
        Path(job["result"]),
        types=types,
        autocast=bool(config.bf16),
        versions={module.__name__: module.__version__ for module in (trl, transformers, peft, torch)},
    )


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text()))
