"""One rank of a two-process run; prints its losses as JSON. Started by test_distributed.py."""

from __future__ import annotations

import json
import sys

from camelid.config import make_recipe
from camelid.runs.directory import RunDirectory
from camelid.train.distributed import joined_world
from camelid.train.interrupt import Interrupts
from camelid.train.loop import SilentProgress, train
from camelid.train.setup import prepare


def main() -> None:
    recipe = make_recipe(json.loads(sys.argv[1]))
    with joined_world() as world, Interrupts(notice="") as interrupts:
        if world.first:
            directory = RunDirectory.create(recipe.output_dir, "no", recipe=recipe.model_dump(mode="json"))
            world.barrier()
        else:
            world.barrier()
            directory = RunDirectory.open(recipe.output_dir)
        setup = prepare(recipe, world, say=lambda text: None)
        outcome = train(setup, directory, SilentProgress(), interrupts)
        setup.data.close()
        directory.close()
        print(json.dumps({"rank": world.rank, "losses": outcome.losses, "evals": outcome.eval_losses}), flush=True)


if __name__ == "__main__":
    main()
