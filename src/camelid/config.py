"""Recipes: one YAML file plus `key=value` overrides become one frozen, fully resolved `Recipe`.

Each knob is declared once, with its help text beside it. Field names follow Hugging Face's where one exists. An
unknown key is an error that names the nearest known one; an unusable combination is an error, never ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic import ValidationError as PydanticError

from camelid.errors import UserError
from camelid.recipe_sections import (
    OWN,
    FreezeSettings,
    LoraSettings,
    PrefixSettings,
    PromptSettings,
    ReplaySettings,
    Section,
    SourceSpec,
)

# What the columns of a task with classes are called.
ROLES = {"classify": ("text", "label"), "pair": ("text", "pair", "label"), "tag": ("words", "tags")}
# Methods of virtual tokens: these are few and far from where they should be, and need other rates than weights do.
_VIRTUAL = {"prompt": 3e-2, "ptuning": 1e-3, "prefix": 1e-3, "ptuning2": 3e-3}
# Beside a head that is new, weights must move further than for text that the base nearly writes by itself.
_WITH_HEAD = {"lora": 1e-3, "full": 5e-5, "freeze": 5e-3}


class Recipe(Section):
    """Everything that decides a training run."""

    # what
    base: str = Field(
        default="smollm2",
        description="preset (smollm2, gemma3-270m, nano), HF directory or id, ModelScope id, GGUF file, run directory",
    )
    accept_license: str | None = Field(
        default=None, description="name of a licence that the base asks to accept, for example gemma"
    )
    from_scratch: bool = Field(
        default=False, description="take only the base's configuration and tokenizer; start from random weights"
    )
    objective: Literal["sft", "pretrain"] = Field(default="sft", description="what is learnt from the data")
    task: Literal["chat", "classify", "pair", "tag"] = Field(
        default="chat",
        description="what the model is for: to answer, or to tell the class of a text, a pair of texts, every word",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="of tasks other than chat: which field is the text, pair, label, words, tags, where none of the "
        "usual names is",
    )
    task_form: Literal["head", "words", "json"] = Field(
        default="head",
        description="of tasks other than chat, how a class is learnt: by a head of its own; or the model is asked in a "
        "chat and answers with the label's name (words) or in JSON (json; of task tag the list of entities)",
    )
    label_names: dict[str, str] = Field(
        default_factory=dict,
        description="of tasks other than chat: what the data's labels, or types of entities, are called: "
        "{0: negative, 1: positive}",
    )
    method: Literal["lora", "full", "freeze", "prompt", "ptuning", "prefix", "ptuning2"] = Field(
        default="lora",
        description="what is trained: LoRA, every weight, some weights, or virtual tokens (prompt tuning, P-tuning, "
        "prefix tuning, P-tuning v2)",
    )
    lora: LoraSettings = Field(default_factory=LoraSettings, description="settings of method lora")
    prompt: PromptSettings = Field(default_factory=PromptSettings, description="settings of methods prompt and ptuning")
    prefix: PrefixSettings = Field(
        default_factory=PrefixSettings, description="settings of methods prefix and ptuning2"
    )
    freeze: FreezeSettings = Field(default_factory=FreezeSettings, description="settings of method freeze")

    # data
    data: str | list[str | SourceSpec] = Field(description="a path, a glob, an id, or a list of sources with weights")
    replay: ReplaySettings = Field(
        default_factory=ReplaySettings, description="general rows mixed in against forgetting"
    )
    eval_data: str | list[str | SourceSpec] | None = Field(
        default=None, description="held-out data; none: `eval_fraction` of `data`"
    )
    eval_fraction: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the rows of `data` held out when there is no eval_data; rows of one conversation stay "
        "together",
    )
    max_eval_examples: PositiveInt | None = Field(
        default=None, description="evaluate on at most this many held-out examples"
    )
    split_seed: NonNegativeInt | None = Field(
        default=None, description="decides which rows are sampled and which are held out; none: seed"
    )
    train_fraction: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="train on this share of the rows, what is held out aside; a smaller share lies within a larger one",
    )
    template: str = Field(
        default="auto",
        description="chat template: auto (the base's own), alpaca, alpaca-lora, vicuna, chatml, llama2, llama3, "
        "chatglm, chatglm2, chatglm3, zephyr, mistral, gemma, plain",
    )
    train_on: Literal["last", "all", "everything"] = Field(
        default="all", description="which tokens are trained: the last answer, all answers, or every token"
    )
    max_length: PositiveInt = Field(default=1024, description="longest example, in tokens")
    cut: Literal["split", "drop", "left"] = Field(
        default="split", description="too long: split at turn borders, drop the row, or drop the oldest turns"
    )
    max_rejected: float = Field(default=0.01, ge=0, le=1, description="stop if a larger share of the rows is rejected")
    shuffle: bool = Field(default=True, description="shuffle the examples each epoch (seeded)")

    # how long and how fast
    num_train_epochs: PositiveFloat = Field(default=3.0, description="passes over the data")
    max_steps: PositiveInt | None = Field(
        default=None, description="stop after this many optimiser steps, whatever the epochs"
    )
    per_device_train_batch_size: PositiveInt = Field(
        default=16, description="examples per device and micro-batch; packing is only a layout inside a step"
    )
    gradient_accumulation_steps: PositiveInt = Field(default=1, description="micro-batches per optimiser step")
    learning_rate: PositiveFloat = Field(
        default=2e-4,
        description="peak learning rate; where none is given: 2e-4; for virtual tokens 3e-2 (prompt), 1e-3 (ptuning, "
        "prefix) or 3e-3 (ptuning2); beside the head of a task 1e-3 (lora), 5e-5 (full) or 5e-3 (freeze)",
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant", "warmup_stable_decay"] = Field(
        default="cosine", description="shape of the learning rate after the warm-up"
    )
    warmup_steps: NonNegativeInt = Field(default=0, description="optimiser steps of linear warm-up; 0: by warmup_ratio")
    warmup_ratio: float = Field(default=0.03, ge=0, le=1, description="share of the steps spent in linear warm-up")
    decay_ratio: float = Field(
        default=0.2, ge=0, le=1, description="warmup_stable_decay: share of the steps in the final decay"
    )
    min_lr_ratio: float = Field(default=0.0, ge=0, le=1, description="the learning rate ends at this share of its peak")
    optim: Literal["adamw", "adafactor", "muon"] = Field(
        default="adamw",
        description="adamw; adafactor (no second moment per weight); muon (matrices; AdamW for the rest)",
    )
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    adam_epsilon: PositiveFloat = Field(default=1e-8)
    weight_decay: NonNegativeFloat = Field(
        default=0.0, description="decoupled weight decay on matrices (not on norms and biases)"
    )
    max_grad_norm: NonNegativeFloat = Field(default=1.0, description="clip the gradient's norm; 0: never")
    neftune_noise_alpha: NonNegativeFloat = Field(
        default=0.0, description="NEFTune: uniform noise on the embeddings, scaled by alpha / sqrt(length * width)"
    )
    label_smoothing_factor: float = Field(
        default=0.0, ge=0, lt=1, description="share of the target spread over the vocabulary"
    )
    kl_to_base: NonNegativeFloat = Field(
        default=0.0,
        description="weight of KL(base || model) on the trained tokens, against forgetting; needs an adapter",
    )
    l2_to_start: NonNegativeFloat = Field(
        default=0.0,
        description="pull of the trained weights to where they started, so many learning rates of the way each step "
        "(L2-SP), against forgetting; keeps a copy of them",
    )
    seed: NonNegativeInt = Field(default=42)

    # layout and precision
    layout: Literal["tree", "separate"] = Field(
        default="tree", description="tree: share every common prefix; separate: one padded row per example"
    )
    max_tokens_per_row: PositiveInt | None = Field(
        default=None,
        description="tokens computed at once; memory, not the result, depends on it; none: 1024 or max_length",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto: measured at start (a 0.2 s matrix product in each)"
    )
    quantization: Literal["none", "8bit", "4bit"] = Field(
        default="none",
        description="keep the frozen base in 8 or 4 bits and train an adapter on it (QLoRA); on CUDA by bitsandbytes",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="recompute activations in the backward pass: less memory, a third more time"
    )

    # where and when
    output_dir: str = Field(default="runs/{name}", description="run directory; {name} is the recipe's file name")
    logging_steps: PositiveInt = Field(default=1)
    eval_steps: PositiveInt | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="evaluate every so many steps, besides the start and the end; below 1: a share of all steps",
    )
    save_steps: PositiveInt | None = Field(
        default=None, description="checkpoint every so many steps; none: at the end and when interrupted"
    )
    save_total_limit: PositiveInt = Field(default=2, description="checkpoints kept")
    early_stopping_patience: PositiveInt | None = Field(
        default=None, description="stop after so many evaluations without a better loss"
    )
    retention: bool = Field(
        default=True,
        description="measure forgetting: general text of ours in Chinese and English and, of a model that answers, "
        "plain questions, before and after",
    )
    load_best_model_at_end: bool = Field(default=False, description="end with the weights of the best evaluation")
    resume: str = Field(
        default="auto", description="auto (from the newest sound checkpoint of output_dir), no, or a checkpoint's path"
    )

    def _usable_for_tasks(self) -> None:
        """Rows of labelled text have fields of their own, and are not distilled."""
        roles = ROLES[self.task]
        unknown = next((role for role in self.columns if role not in roles), None)
        if unknown is not None:
            raise ValueError(f"columns.{unknown}: task {self.task} has the columns {', '.join(roles)}")
        if self.objective != "sft":
            raise ValueError(f"task {self.task} needs objective sft")
        if self._distils:
            raise ValueError(f"distil is for task chat: the rows of task {self.task} are labelled text")
        if self.task == "tag" and self.task_form == "words":
            raise ValueError("task tag has no form words: set task_form=json, or head")
        if self.has_head:
            self._usable_with_a_head()

    def _usable_with_a_head(self) -> None:
        """What learns tokens cannot be combined with a head that learns classes."""
        if self.kl_to_base:
            raise ValueError(f"kl_to_base and distil are for task chat: task {self.task} learns classes, not tokens")
        if self.replay != ReplaySettings():
            raise ValueError(f"replay is for task chat: task {self.task} learns classes, not tokens")
        if self.method == "lora" and self.lora.modules_to_save:
            raise ValueError(f"lora.modules_to_save is for task chat: of task {self.task} the head is saved")
        if self.method in _VIRTUAL and self.prefix.zero_gate:
            raise ValueError("prefix.zero_gate is for task chat: PEFT saves no head beside gated prompts")

    def _usable_on_quantised(self) -> None:
        """Weights in 8 or 4 bits are frozen."""
        where = f"quantization={self.quantization}"
        if not self.has_adapter:
            raise ValueError(f"{where} keeps the base frozen, and method {self.method} trains it: use an adapter")
        if self.method == "lora" and self.lora.modules_to_save:
            raise ValueError(f"{where} keeps the base frozen, and lora.modules_to_save trains some of it")
        if self.method == "lora" and self.lora.init_lora_weights in ("pissa", "olora"):
            raise ValueError(f"{where} keeps the base as it is, and lora.init_lora_weights changes it: use true")

    @property
    def _distils(self) -> bool:
        return bool(self.replay.distil) or any(isinstance(s, SourceSpec) and s.distil for s in self.data)

    @property
    def replay_distil(self) -> float:
        """Weight of KL to the base on replayed rows; 0: their text is learnt."""
        return float(self.has_adapter) if self.replay.distil is None else self.replay.distil

    @property
    def has_head(self) -> bool:
        """Whether classes are learnt by a head, and not by answering."""
        return self.task != "chat" and self.task_form == "head"

    @property
    def has_adapter(self) -> bool:
        """Whether the base stays as it is and something is learnt beside it."""
        return self.method == "lora" or self.method in _VIRTUAL

    @property
    def prefix_projection(self) -> bool:
        """Whether keys and values are learned through an MLP."""
        asked = self.prefix.prefix_projection
        return asked if asked is not None else self.method == "prefix" and not self.prefix.zero_gate

    @property
    def rows_seed(self) -> int:
        """The seed by which rows are sampled and held out."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def row_tokens(self) -> int:
        """The row budget in force."""
        return self.max_tokens_per_row or max(1024, self.max_length)

    @field_validator("label_names", mode="before")
    @classmethod
    def _label_keys(cls, value: Any) -> Any:
        """YAML reads the keys 0 and true as no texts; rows' labels are read in the same way."""
        if not isinstance(value, dict):
            return value
        return {str(key).lower() if isinstance(key, bool) else str(key): name for key, name in value.items()}

    @field_validator("resume", mode="before")
    @classmethod
    def _resume_no(cls, value: Any) -> Any:
        return "no" if value is False else value  # YAML 1.1 reads a bare `no` as false

    @model_validator(mode="before")
    @classmethod
    def _rate_of_method(cls, content: Any) -> Any:
        if not isinstance(content, dict) or "learning_rate" in content:
            return content
        method = content.get("method", "lora")
        rates = _VIRTUAL if content.get("task", "chat") == "chat" else _VIRTUAL | _WITH_HEAD
        return {**content, "learning_rate": rates[method]} if str(method) in rates else content

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.method == "freeze" and self.freeze == FreezeSettings() and not self.has_head:
            raise ValueError("method freeze trains nothing: give freeze.last_layers, freeze.head or freeze.trainable")
        if self.lora.loraplus_lr_ratio != 1 and (self.method != "lora" or self.optim == "muon"):
            raise ValueError("lora.loraplus_lr_ratio needs method lora, and adamw or adafactor")
        if self.task != "chat":
            self._usable_for_tasks()
        elif self.columns:
            raise ValueError("columns are for the tasks classify, pair and tag")
        elif self.label_names or self.task_form != "head":
            raise ValueError("label_names and task_form are for the tasks classify, pair and tag")
        if self.kl_to_base and not self.has_adapter:
            raise ValueError("kl_to_base needs an adapter: the base is the model with its adapter switched off")
        if not self.has_adapter and self._distils:
            raise ValueError("distil needs an adapter: the base is the model with its adapter switched off")
        if self.replay.data is None and self.replay != ReplaySettings():
            raise ValueError("replay.share and replay.distil need replay.data: own, or general rows of yours")
        if self.from_scratch and self.replay.data == OWN:
            raise ValueError("replay.data=own: random weights have nothing to rehearse")
        if self.from_scratch and self.has_adapter:
            raise ValueError(
                "from_scratch starts from random weights: an adapter on them learns nothing; set method=full"
            )
        if self.quantization != "none":
            self._usable_on_quantised()
        if self.max_tokens_per_row and self.max_tokens_per_row < self.max_length:
            raise ValueError(f"max_tokens_per_row={self.max_tokens_per_row} is below max_length={self.max_length}")
        wants_eval = self.eval_steps or self.early_stopping_patience or self.load_best_model_at_end
        if wants_eval and not (self.eval_data or self.eval_fraction):
            raise ValueError(
                "eval_steps, early_stopping_patience and load_best_model_at_end need eval_data or eval_fraction"
            )
        if (self.early_stopping_patience or self.load_best_model_at_end) and not self.eval_steps:
            raise ValueError("early_stopping_patience and load_best_model_at_end need eval_steps")
        if self.resume not in ("auto", "no") and not Path(self.resume).exists():
            raise ValueError(f"resume={self.resume}: no such checkpoint (auto, no, or the path of checkpoints/step-N)")
        return self


_SECTIONS: dict[str, type[BaseModel]] = {
    "lora": LoraSettings,
    "freeze": FreezeSettings,
    "prompt": PromptSettings,
    "prefix": PrefixSettings,
    "replay": ReplaySettings,
    "data": SourceSpec,
    "eval_data": SourceSpec,
}


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe and apply `a.b=c` overrides. Raises UserError with one line for anything unusable."""
    path = Path(path)
    if not path.is_file():
        raise UserError("no such recipe", where=str(path), mend=_nearest_recipe(path))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not readable as YAML ({' '.join(str(error).split())})", where=str(path)) from error
    if not isinstance(content, dict):
        raise UserError("a recipe is a YAML mapping of fields", where=str(path), mend="see recipes/alpaca-lora.yaml")
    for override in overrides:
        _apply(content, override)
    return make_recipe(content, where=str(path), name=path.stem)


def make_recipe(content: dict[str, Any], *, where: str = "recipe", name: str = "run") -> Recipe:
    """Validate a mapping of fields; `{name}` in output_dir becomes `name`."""
    try:
        recipe = Recipe.model_validate(content)
    except PydanticError as error:
        raise _user_error(error, where) from error
    return recipe.model_copy(update={"output_dir": recipe.output_dir.replace("{name}", name)})


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(
            f"'{override}' is not an override",
            where="command line",
            mend="write key=value, for example learning_rate=1e-4",
        )
    *parents, last = key.split(".")
    target = content
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise UserError(f"'{parent}' has no fields of its own", where=f"override {override}")
    try:
        target[last] = read_number(yaml.safe_load(value))
    except yaml.YAMLError as error:
        raise UserError(f"the value of '{key}' is not readable as YAML", where=f"override {override}") from error


def read_number(value: Any) -> Any:
    """A value read from YAML, 1e-4 as the number it is: YAML 1.1 reads it as text for want of a dot."""
    if isinstance(value, str):
        try:
            return float(value) if "e" in value.lower() and value[0] in "+-.0123456789" else value
        except ValueError:
            return value
    return value


def _user_error(error: PydanticError, where: str) -> UserError:
    # a value that may be several things has an error for each: the deepest is about what was meant
    first = min(error.errors(), key=lambda e: (e["type"] != "extra_forbidden", -len(e["loc"])))
    location = [str(part) for part in first["loc"] if not _is_alternative(str(part))]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = _fields_at(location[:-1])
        near = difflib.get_close_matches(location[-1], known, 1, cutoff=0.5)
        mend = f"did you mean '{near[0]}'?" if near else "`camelid schema` lists the known keys"
        return UserError(f"unknown key '{key}'", where=where, mend=mend)
    if first["type"] == "missing":
        return UserError(
            f"the key '{key}' is missing", where=where, mend=f"add {key}: ... to the recipe or {key}=... to the command"
        )
    message = first["msg"].removeprefix("Value error, ")
    shown = f"{key}={first['input']!r}: {message}" if key else message
    return UserError(shown[:400], where=where)


def _is_alternative(part: str) -> bool:
    """Whether this part of an error's place names one of several types that a field may have."""
    return part in ("str", "SourceSpec") or "[" in part or part.startswith("constrained-")


def _fields_at(location: list[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location:
        section = _SECTIONS.get(part)
        model = section or model
    return list(model.model_fields)


def _nearest_recipe(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path("recipes")
    names = [str(p) for p in sorted(folder.glob("*.yaml"))] if folder.is_dir() else []
    near = difflib.get_close_matches(str(path), names, 1, cutoff=0.4)
    if near:
        return f"did you mean {near[0]}?"
    return f"known recipes: {', '.join(names)}" if names else "give the path of a YAML recipe"
