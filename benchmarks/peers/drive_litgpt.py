"""One measured run of LitGPT's LoRA tuning, through the function behind `litgpt finetune_lora`. In its environment.

    python drive_litgpt.py convert HF_DIRECTORY LITGPT_DIRECTORY LITGPT_NAME
    python drive_litgpt.py job.json

LitGPT has no callbacks. Its loop fetches a micro-batch at the start of each iteration, so the collate function is the
clock: the fetch of the first micro-batch of a step ends the step before it. After the last timed step that fetch ends
the run, before LitGPT saves and merges.
"""

# pyright: reportMissingImports=false

import csv
import json
import shutil
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch
from litgpt.args import EvalArgs, TrainArgs
from litgpt.data import DataModule
from litgpt.finetune.lora import setup
from litgpt.prompts import Default
from litgpt.scripts.convert_hf_checkpoint import convert_hf_checkpoint
from meter import Meter
from torch.utils.data import DataLoader


class Measured(Exception):
    """Every wanted step is timed: stop training."""


class MeteredRows(DataModule):
    """The job's rows as LitGPT wants them, with a meter in the collate function."""

    def __init__(self, rows: list[dict], meter: Meter, batches_a_step: int, steps: int) -> None:
        super().__init__()
        self.rows = rows
        self.meter = meter
        self.batches_a_step = batches_a_step
        self.steps = steps
        self.fetched = 0
        self.batch_size = 1
        self.prompt_style = Default()

    def connect(self, tokenizer=None, batch_size: int = 1, max_seq_length: int | None = None, **kwargs) -> None:
        """LitGPT tells the micro-batch size."""
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        """The rows in order, over and over, timed."""
        repeated = [row for _ in range(1 + self.steps) for row in self.rows]
        return DataLoader(repeated, batch_size=self.batch_size, collate_fn=self._timed)  # type: ignore[arg-type]  # a list is a data set to torch

    def val_dataloader(self) -> DataLoader:
        """LitGPT validates on two rows before it trains; not timed."""
        return DataLoader(self.rows[:2], batch_size=1, collate_fn=collate)  # type: ignore[arg-type]

    def _timed(self, rows: list[dict]) -> dict:
        if self.fetched == 0:
            self.meter.start()
        elif self.fetched % self.batches_a_step == 0:
            self.meter.step()
        if self.meter.done:
            raise Measured
        self.fetched += 1
        batch = collate(rows)
        computed = batch["input_ids"].numel()
        trained = int((batch["labels"][:, 1:] != -100).sum())
        lengths = [len(row["input_ids"]) for row in rows]
        self.meter.batch(lengths, computed=computed, trained=trained, head=computed)
        return batch


def collate(rows: list[dict]) -> dict:
    """Right-padded ids and labels, and the token counts that LitGPT's loop adds up."""

    def padded(key: str, value: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(row[key]) for row in rows], batch_first=True, padding_value=value
        )

    lengths = torch.tensor([[len(row["input_ids"])] for row in rows])
    counts = {"raw": lengths, "raw_plus_prompt_template": lengths}
    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", -100), "token_counts": counts}


def convert(source: Path, target: Path, name: str) -> None:
    """A LitGPT checkpoint directory out of a Hugging Face one."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        shutil.copy(file, target / file.name)
    convert_hf_checkpoint(target, model_name=name, dtype="float32")


def run(job: dict) -> None:
    """Train on the job's rows until enough steps are timed and write the result."""
    settings = job["settings"]
    meter = Meter(job["steps"])
    micro = settings["micro_batch_size"]
    rows = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))
    with suppress(Measured):
        train(job, MeteredRows(rows, meter, job["rows_a_step"] // micro, job["steps"]))
    meter.losses = step_losses(Path(job["scratch"]), job["rows_a_step"] // micro)
    meter.write(
        Path(job["result"]),
        types=[settings["precision"]],
        versions={name: version(name) for name in ("litgpt", "lightning", "torch")},
    )


def step_losses(out: Path, batches_a_step: int) -> list[float]:
    """The loss of each optimiser step, from LitGPT's own CSV log: its running mean at the step's last micro-batch."""
    logs = sorted(out.rglob("metrics.csv"), key=lambda file: file.stat().st_mtime)
    if not logs:
        return []
    with logs[-1].open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["loss"]]
    return [float(line["loss"]) for line in lines if int(line["iter"]) % batches_a_step == 0]


def train(job: dict, rows: MeteredRows) -> None:
    """LitGPT's LoRA fine-tuning with adapters on every linear layer of the blocks."""
    settings = job["settings"]
    setup(
        checkpoint_dir=Path(job["litgpt_model"]),
        out_dir=Path(job["scratch"]),
        precision=settings["precision"],
        lora_r=job["lora_r"],
        lora_alpha=2 * job["lora_r"],
        lora_dropout=0.0,
        lora_key=True,
        lora_projection=True,
        lora_mlp=True,
        data=rows,
        train=TrainArgs(
            global_batch_size=job["rows_a_step"],
            micro_batch_size=settings["micro_batch_size"],
            lr_warmup_steps=1,
            epochs=1,
            max_steps=job["steps"] + 1,
            save_interval=None,
            log_interval=1,
        ),
        eval=EvalArgs(interval=10**9, max_new_tokens=1, max_iters=2, initial_validation=False, final_validation=False),
        optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": job["learning_rate"]}},
        logger_name="csv",
    )


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        run(json.loads(Path(sys.argv[1]).read_text()))
