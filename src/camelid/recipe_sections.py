"""The sections of a recipe: each knob is declared once, with its help text. The recipe itself is in config.py."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)


class Section(BaseModel):
    """A mapping of a recipe: frozen, with known fields only."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class SourceSpec(Section):
    """One source of data with its share."""

    path: str = Field(
        description="file, glob, directory, hub id, or a name of dataset_info.json; `#500` samples 500 rows"
    )
    weight: PositiveFloat = Field(
        default=1.0,
        description="how often the source is read, relative to once: 0.5 keeps half of its rows, 2 repeats them",
    )
    sample: PositiveInt | None = Field(default=None, description="keep this many rows, chosen by the seed")
    split: str | None = Field(default=None, description="split of a hub data set or directory, for example train")
    name: str | None = Field(
        default=None, description="configuration of a hub data set, or entry of a dataset_info.json"
    )
    distil: NonNegativeFloat = Field(
        default=0.0,
        description="above 0: learn the base's own distribution on this source (KL to the base, with this weight), not "
        "its text: replay against forgetting; needs an adapter",
    )


OWN = "own"  # replay.data: what the base itself answers


class ReplaySettings(Section):
    """Rehearsal (Robins 1995): rows of what the base can do among those that are learnt, against forgetting."""

    data: str | list[str | SourceSpec] | None = Field(
        default=None,
        description="general rows, as in `data`; or own: what the base itself answers to general prompts of ours, made "
        "before the first step",
    )
    share: float = Field(default=0.2, gt=0, lt=1, description="share of the rows trained on that are replay")
    distil: NonNegativeFloat | None = Field(
        default=None,
        description="above 0: learn the base's own distribution on them (KL to the base, with this weight), not their "
        "text; none: 1 with an adapter, else 0",
    )


class LoraSettings(Section):
    """LoRA (Hu et al. 2021) as PEFT implements it."""

    r: PositiveInt = Field(default=8, description="rank")
    lora_alpha: PositiveFloat = Field(default=16.0, description="the update is scaled by lora_alpha / r")
    lora_dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout on the adapter's input")
    target_modules: str | list[str] = Field(
        default="all-linear", description="'all-linear', a regular expression, or a list of module name endings"
    )
    modules_to_save: list[str] = Field(default_factory=list, description="modules trained in full beside the adapter")
    use_rslora: bool = Field(default=False, description="scale by lora_alpha / sqrt(r) (rank-stabilised LoRA)")
    use_dora: bool = Field(default=False, description="weight-decomposed LoRA (DoRA)")
    init_lora_weights: bool | Literal["gaussian", "pissa", "olora"] = Field(
        default=True, description="PEFT's initialisation; true starts at the base exactly"
    )
    loraplus_lr_ratio: PositiveFloat = Field(
        default=1.0, description="learning rate of the adapter's B over that of its A (LoRA+: 16)"
    )


class FreezeSettings(Section):
    """Train some of the base's own weights and freeze the rest."""

    trainable: list[str] = Field(
        default_factory=list, description="regular expressions searched in parameter names: what they match is trained"
    )
    last_layers: NonNegativeInt = Field(default=0, description="train so many of the last decoder layers")
    head: bool = Field(default=False, description="train the output projection; a tied one is also the embedding")


class PromptSettings(Section):
    """Learned input embeddings before every text: prompt tuning (Lester et al. 2021), P-tuning (Liu et al. 2021)."""

    num_virtual_tokens: PositiveInt = Field(default=20, description="learned embeddings")
    init: Literal["vocabulary", "text", "random"] = Field(
        default="vocabulary",
        description="start from embeddings of tokens drawn from the vocabulary, of `init_text`, or from random numbers",
    )
    init_text: str | None = Field(default=None, description="its tokens, repeated or cut to the number wanted")
    encoder_reparameterization_type: Literal["MLP", "LSTM"] = Field(
        default="LSTM", description="method ptuning learns an encoder that makes the embeddings: the paper's LSTM, MLP"
    )
    encoder_hidden_size: PositiveInt | None = Field(default=None, description="its width; none: the base's")
    encoder_num_layers: PositiveInt = Field(default=2, description="layers of the LSTM")
    encoder_dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout between layers of the LSTM")

    @model_validator(mode="after")
    def _text(self) -> Self:
        _check_text(self)
        return self


class PrefixSettings(Section):
    """Learned keys and values of every layer: prefix tuning (Li & Liang 2021), P-tuning v2 (Liu et al. 2021)."""

    num_virtual_tokens: PositiveInt = Field(default=20, description="learned keys and values of each layer and head")
    init: Literal["vocabulary", "text", "random"] = Field(
        default="vocabulary",
        description="start from the base's own keys and values of tokens drawn from the vocabulary, of `init_text`, or "
        "from random numbers",
    )
    init_text: str | None = Field(default=None, description="its tokens, repeated or cut to the number wanted")
    prefix_projection: bool | None = Field(
        default=None, description="learn them through an MLP; none: in method prefix, and not in ptuning2"
    )
    encoder_hidden_size: PositiveInt = Field(default=512, description="width of the MLP")
    zero_gate: bool = Field(
        default=False,
        description="a softmax of their own with a factor that starts at zero (LLaMA-Adapter): step 0 is the base, "
        "exactly; PEFT itself loads it for Llama and Mistral",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.zero_gate and (self.prefix_projection or self.init_text):
            raise ValueError("zero_gate makes keys and values by the base's own projections: no MLP and no init_text")
        _check_text(self)
        return self


def _check_text(settings: PromptSettings | PrefixSettings) -> None:
    if (settings.init == "text") != bool(settings.init_text):
        raise ValueError("init: text and init_text go together")
