"""From a recipe to everything that the loop needs: data, model, optimisers, schedule. No step is taken here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import Optimizer

from camelid.config import Recipe
from camelid.data.records import Rejection
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.adapters import Trainable, add_lora, continue_lora, freeze_all_but, merged_adapter, train_in_full
from camelid.model.class_head import add_class_head, load_class_head
from camelid.model.classifier_files import transformers_class
from camelid.model.fused import fuse
from camelid.model.layout import check_head, choose_layout
from camelid.model.load import Loaded, Source, load_model, resolve, source_vocabulary
from camelid.model.precision import measure_compute_dtype
from camelid.model.quantised_load import quantisation_line
from camelid.model.resolve import ADAPTER_FILE
from camelid.model.task_info import TaskInfo
from camelid.model.virtual_start import add_input_tokens, add_layer_tokens, continue_virtual_tokens, continues
from camelid.runs.memory import give_back_memory
from camelid.train.data import Rehearse, Say, TrainingData, prepare_data
from camelid.train.distributed import World
from camelid.train.objectives import Objective, objective_of
from camelid.train.optim import learning_rate_factor, make_optimizers, pull_to_start

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class Setup:
    """A run that is ready to start."""

    recipe: Recipe
    world: World
    source: Source
    vocabulary: Vocabulary
    data: TrainingData
    trainable: Trainable
    layout: str
    objective: Objective
    optimizers: list[Optimizer]
    factor: Callable[[int], float]
    dtype: torch.dtype
    dtype_line: str
    gflops: float  # measured rate of products in `dtype`; 0 where it was not measured

    @property
    def autocast(self) -> bool:
        """Weights that are trained themselves stay in float32 and are cast for the products."""
        return self.dtype != torch.float32 and not self.trainable.has_adapter


def prepare(
    recipe: Recipe,
    world: World,
    *,
    say: Say,
    reject: Callable[[Rejection], None] | None = None,
    began: Mapping[str, Any] | None = None,
    rehearse: Rehearse | None = None,
) -> Setup:
    """Everything for a run: the data renders in its thread while the model loads.

    began: the manifest's first start, for a run that goes on: it computes and renders as it began
    rehearse: as `prepare_data` takes it
    """
    began = began or {}
    source = resolve(recipe.base, accept_license=recipe.accept_license, announce=say)
    vocabulary = source_vocabulary(source)
    data = prepare_data(
        recipe, vocabulary, say=say, reject=reject, world=world, now=began.get("now"), rehearse=rehearse
    )
    give_back_memory()
    try:
        return _prepare_model(recipe, world, source, data, say, began)
    except BaseException:
        data.close()
        raise


def _prepare_model(
    recipe: Recipe, world: World, source: Source, data: TrainingData, say: Say, began: Mapping[str, Any]
) -> Setup:
    dtype, line, gflops = compute_type(recipe, world, began)
    say(line)
    loaded: Loaded = load_model(
        replace(source, adapter_directory=None),
        dtype=dtype if recipe.has_adapter else torch.float32,
        from_scratch=recipe.from_scratch,
        seed=recipe.seed,
        quantization=recipe.quantization,
        device=str(world.device),
        announce=say,
    )
    if recipe.quantization != "none":
        say(quantisation_line(loaded.model))
    model: nn.Module = nn.Module.to(loaded.model, world.device)
    adapter = None if recipe.from_scratch else source.adapter_directory
    if adapter is not None and not continues(recipe.method, adapter):
        if recipe.has_adapter:
            raise UserError(
                f"the base is an adapter already, and one of method {recipe.method} on top of it could not be loaded",
                where=recipe.base,
                mend="train on its own base, or on both merged: camelid export --format hf",
            )
        model = merged_adapter(model, adapter)
        say(f"the adapter {adapter} is merged into the base")
        adapter = None
    fuse(model)
    layout, reason = choose_layout(model, recipe.layout)
    say(f"layout: {layout} ({reason})")
    trainable = make_trainable(recipe, model, data.renderer.vocabulary, adapter)
    if data.task is not None:
        _add_head(recipe, trainable.lm, data.task, adapter)
    trained, everything = trainable.count()
    say(f"method: {recipe.method}, {trained:,} of {everything:,} parameters trained ({trained / everything:.2%})")
    if recipe.warmup_steps >= data.schedule.total_steps:
        say(
            f"WARNING: warmup_steps {recipe.warmup_steps} is no less than the {data.schedule.total_steps} steps here, "
            "so the learning rate never reaches its peak; warmup_ratio is a share of them"
        )
    if data.task is None and layout == "tree" and (gap := check_head(trainable.lm)) > 0.05:
        raise UserError(f"the head of {type(model).__name__} does more than the configuration says (off by {gap:.1e})")
    trainable.ready(checkpointing=recipe.gradient_checkpointing)
    return Setup(
        recipe=recipe,
        world=world,
        source=source,
        vocabulary=data.renderer.vocabulary,
        data=data,
        trainable=trainable,
        layout=layout,
        objective=objective_of(recipe),
        optimizers=optimizers_of(recipe, trainable),
        factor=learning_rate_factor(recipe, data.schedule.total_steps),
        dtype=dtype,
        dtype_line=line,
        gflops=gflops,
    )


def optimizers_of(recipe: Recipe, trainable: Trainable) -> list[Optimizer]:
    """The optimisers over what is trained."""
    lm, parameters = trainable.lm, trainable.named_parameters()
    tables = [lm.get_input_embeddings().weight, lm.get_output_embeddings().weight]  # type: ignore[operator]
    embeddings = {name for name, p in parameters.items() if any(p is table for table in tables)}
    optimizers = make_optimizers(recipe, parameters, embeddings=embeddings)
    if recipe.l2_to_start:
        pull_to_start(optimizers, recipe.l2_to_start)
    return optimizers


def compute_type(recipe: Recipe, world: World, began: Mapping[str, Any]) -> tuple[torch.dtype, str, float]:
    """(type, one line for the log, measured GFLOP/s): ranks agree on one type, and so do the starts of a run."""
    if recipe.dtype != "auto":
        return _DTYPES[recipe.dtype], f"compute type: {recipe.dtype} (as asked)", 0.0
    if chosen := began.get("dtype", {}).get("chosen"):
        return _DTYPES[chosen], f"compute type: {chosen} (as this run began)", 0.0
    measured = measure_compute_dtype(device=world.device)
    chosen = torch.bfloat16 if world.max(float(measured.dtype == torch.bfloat16)) else torch.float32
    rate = measured.gflops_bfloat16 if chosen == torch.bfloat16 else measured.gflops_float32
    return chosen, str(measured), rate


def _add_head(recipe: Recipe, lm: nn.Module, info: TaskInfo, adapter: Path | None) -> None:
    """A fresh head for the classes, or that of the adapter which is trained on. Raises UserError."""
    if not recipe.has_adapter and transformers_class(info.task, lm.config) is None:
        raise UserError(
            f"transformers has no classifier of the kind of {type(lm).__name__}, so the result could not be saved",
            where=f"task={recipe.task}",
            mend="use an adapter: method lora, prompt, ptuning or ptuning2",
        )
    known = TaskInfo.of_head(adapter) if adapter is not None else None
    if adapter is None or known is None:
        add_class_head(lm, info, seed=recipe.seed)
        return
    if known != info:
        raise UserError(
            f"the adapter's classes ({', '.join(known.labels[:5])}) are not the data's ({', '.join(info.labels[:5])})",
            where=str(adapter),
            mend="start from its base",
        )
    load_class_head(lm, info, load_file(adapter / ADAPTER_FILE), str(adapter)).requires_grad_(True)


def make_trainable(recipe: Recipe, model: nn.Module, vocabulary: Vocabulary, adapter: Path | None = None) -> Trainable:
    """Choose the weights that the recipe's method trains; a method of adapters goes on with `adapter` if given."""
    seed = recipe.seed
    if recipe.method == "lora" and adapter is not None:
        return continue_lora(model, adapter, recipe.lora)
    if recipe.method == "lora":
        return add_lora(model, recipe.lora, seed=seed)
    if recipe.method == "freeze":
        # the head of a task with classes is always trained; the one for tokens is not used there
        own = {"head": False} if recipe.has_head else {}
        return freeze_all_but(model, recipe.freeze.model_copy(update=own))
    if recipe.method == "full":
        return train_in_full(model)
    if adapter is not None:
        return continue_virtual_tokens(model, adapter)
    if recipe.method in ("prompt", "ptuning"):
        encoded = recipe.method == "ptuning"
        return add_input_tokens(model, recipe.prompt, encoded=encoded, vocabulary=vocabulary, seed=seed)
    projection = recipe.prefix_projection
    return add_layer_tokens(model, recipe.prefix, projection=projection, vocabulary=vocabulary, seed=seed)
