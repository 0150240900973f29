"""One measured run of Camelid's own training: the recipe, the set-up and the loop that `camelid train` uses.

    python drive_camelid.py job.json

It gets the raw Alpaca rows and renders them itself; the result says how many came out with the same token ids as
everyone else's. The counts of each step are taken afterwards, outside the clock, from the same layout.
"""

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path

import numpy as np
from meter import Meter

from camelid.config import make_recipe
from camelid.data.pack import pack_step
from camelid.runs.directory import RunDirectory
from camelid.train.distributed import World
from camelid.train.interrupt import Interrupts
from camelid.train.loop import train
from camelid.train.setup import Setup, prepare


class MeteredProgress:
    """The loop's progress port, as a clock."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def start(self, total_steps: int, *, first_step: int = 0) -> None:
        """Training begins."""
        self.meter.start()

    def update(
        self,
        step: int,
        loss: float,
        *,
        useful_tokens: int = 0,
        computed_tokens: int = 0,
        eval_loss: float | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        """An optimiser step has ended."""
        self.meter.losses.append(loss)
        self.meter.step()

    def aside(self) -> AbstractContextManager[None]:
        """Work that is no training; there is none here."""
        return nullcontext()

    def note(self, text: str) -> None:
        """A remark of the loop."""
        print(text)


def count(setup: Setup, meter: Meter) -> None:
    """Fill in what each timed step computed."""
    share = setup.layout == "tree"
    for step, record in enumerate(meter.steps):
        record.update(dict.fromkeys(("useful", "computed", "trained", "head", "pairs"), 0))
        for row in pack_step(setup.data.of_step(step), setup.recipe.row_tokens, share=share):
            edges = row.tree.trained_edges()
            record["useful"] += row.useful
            record["computed"] += len(row.tree)
            record["trained"] += int(row.tree.weight.sum())
            record["head"] += len(np.unique(row.tree.parent[edges]))
            record["pairs"] += int((row.tree.depth.astype(np.int64) + 1).sum())


def run(job: dict) -> None:
    """Train on the job's rows until enough steps are timed and write the result."""
    rows = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))
    scratch = Path(job["scratch"])
    scratch.mkdir(parents=True, exist_ok=True)
    data = scratch / "alpaca.json"
    data.write_text(json.dumps([row["source"] for row in rows], ensure_ascii=False), encoding="utf-8")
    recipe = make_recipe(
        {
            "base": job["model"],
            "data": str(data),
            "template": "alpaca",
            "shuffle": False,
            "max_steps": job["steps"],
            "per_device_train_batch_size": job["rows_a_step"],
            "learning_rate": job["learning_rate"],
            "lora": {"r": job["lora_r"], "lora_alpha": 2 * job["lora_r"]},
            "lr_scheduler_type": "linear",
            "warmup_ratio": 0,
            "output_dir": str(scratch / "run"),
            "resume": "no",
            **job["settings"],
        }
    )
    meter = Meter(job["steps"])
    setup = prepare(recipe, World(), say=print)
    with (
        RunDirectory.create(recipe.output_dir, recipe.resume, recipe=recipe.model_dump(mode="json")) as directory,
        Interrupts() as interrupts,
    ):
        train(setup, directory, MeteredProgress(meter), interrupts)
    ours = [example.ids.tolist() for step in range(job["steps"]) for example in setup.data.of_step(step)]
    theirs = {tuple(row["input_ids"]) for row in rows}
    count(setup, meter)
    setup.data.close()
    meter.write(
        Path(job["result"]),
        layout=setup.layout,
        types=[str(setup.dtype)],
        same_ids=f"{sum(tuple(ids) in theirs for ids in ours)} of {len(ours)}",
        versions={name: version(name) for name in ("camelid", "transformers", "peft", "torch")},
    )


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text()))
