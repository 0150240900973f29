"""Which weights are trained: everything, a pattern, a LoRA adapter (PEFT, the format that everyone loads), or virtual
tokens (model/virtual_tokens.py).

PEFT's own linear layer is kept for every variant. For the plain case, one adapter without dropout, its forward pass is
that of model/projection.py; PEFT's `_register_custom_module` is the way it offers for that. Oracle: PEFT's forward
(tests/model/test_adapters.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear as PeftLoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

from camelid.errors import UserError
from camelid.model.load import load_adapter
from camelid.model.projection import Projecting, Projection, linear
from camelid.model.virtual_tokens import VirtualTokens, without_virtual_tokens
from camelid.recipe_sections import FreezeSettings, LoraSettings


@final
class FusedLoraLinear(PeftLoraLinear, Projecting):
    """PEFT's LoRA layer with a fused forward for the plain case."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        part = None if args or kwargs else self.projection()
        return super().forward(x, *args, **kwargs) if part is None else linear(x, part)

    def projection(self) -> Projection | None:
        """What this layer computes, if that is Wx (switched off) or Wx + sBAx with W frozen and nothing else."""
        base = self.get_base_layer()
        if type(base) is not nn.Linear or base.weight.requires_grad or self.merged:
            return None
        if torch.is_autocast_enabled(base.weight.device.type):
            return None
        if self.disable_adapters:
            return Projection(base.weight, base.bias)
        name = self._plain_adapter()
        if name is None:
            return None
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        return Projection(base.weight, base.bias, a, b, self.scaling[name])  # type: ignore[arg-type]

    def _plain_adapter(self) -> str | None:
        """Name of the one active adapter if it is a plain one."""
        active = [name for name in self.active_adapters if name in self.lora_A]
        if len(active) != 1 or self.lora_variant or self.fan_in_fan_out:
            return None
        name = active[0]
        dropout = self.lora_dropout[name]
        if self.lora_bias[name] or (self.training and isinstance(dropout, nn.Dropout) and dropout.p > 0):
            return None
        return name


@dataclass(frozen=True)
class Trainable:
    """A model ready for training.

    lm:      the transformers causal LM, adapter layers or virtual tokens inside
    peft:    the PEFT wrapper around it, None without adapter layers; it saves and loads them
    virtual: the virtual tokens, None without
    """

    lm: nn.Module
    peft: PeftModel | None = None
    virtual: VirtualTokens | None = None

    @property
    def config(self) -> PeftConfig | None:
        """The adapter's configuration, as it is saved; None without one."""
        if self.virtual is not None:
            return self.virtual.config
        return self.peft.peft_config["default"] if self.peft is not None else None

    @property
    def has_adapter(self) -> bool:
        """Whether the base stays as it is, and what is trained can be switched off."""
        return self.peft is not None or self.virtual is not None

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The trained parameters by their name in `lm`."""
        return {name: p for name, p in self.lm.named_parameters() if p.requires_grad}

    def ready(self, *, checkpointing: bool) -> None:
        """Set training mode. checkpointing: keep only each layer's input, and compute the rest again for gradients."""
        if checkpointing:
            self.lm.activation_checkpointing_enable()  # type: ignore[operator]
            self.lm.enable_input_require_grads()  # type: ignore[operator]
        self.lm.train()

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The base alone. PEFT's own switch also visits every parameter, which took 34 ms of each step of SmolLM2."""
        if self.virtual is not None:
            with without_virtual_tokens(self.lm):
                yield
            return
        assert self.peft is not None, "there is no adapter to switch off"
        modules = list(self.lm.modules())
        if any(isinstance(module, ModulesToSaveWrapper) for module in modules):
            with self.peft.disable_adapter():
                yield
            return
        layers = [module for module in modules if isinstance(module, BaseTunerLayer)]
        try:
            for layer in layers:
                layer._disable_adapters = True
            yield
        finally:
            for layer in layers:
                layer._disable_adapters = False

    def count(self) -> tuple[int, int]:
        """(trained, all) parameters."""
        everything = sum(p.numel() for p in self.lm.parameters())
        return sum(p.numel() for p in self.named_parameters().values()), everything


def add_lora(model: nn.Module, settings: LoraSettings, *, seed: int) -> Trainable:
    """Put a fresh LoRA adapter on every targeted linear layer; float32 adapters whatever the base's type."""
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]  # PEFT's hint says int, its arithmetic takes any number
        lora_dropout=settings.lora_dropout,
        target_modules=settings.target_modules,
        modules_to_save=settings.modules_to_save or None,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        init_lora_weights=settings.init_lora_weights,  # type: ignore[arg-type]
        task_type="CAUSAL_LM",
    )
    config._register_custom_module({nn.Linear: FusedLoraLinear})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            wrapped = get_peft_model(model, config, autocast_adapter_dtype=True)  # type: ignore[arg-type]
        except ValueError as error:
            raise UserError(
                f"lora.target_modules={settings.target_modules!r} matches no module of this base",
                mend="use all-linear, or names such as [q_proj, v_proj]",
            ) from error
    # The custom layer is a runtime matter: the saved configuration must be one that any PEFT can read.
    return Trainable(wrapped.get_base_model(), wrapped)  # type: ignore[arg-type]


def continue_lora(model: nn.Module, directory: Path, settings: LoraSettings) -> Trainable:
    """Go on training an adapter that exists, in its own shape, so that the result still fits the original base.

    Raises UserError for an adapter of another kind, and for settings that ask for another shape than it has.
    """
    config = _saved_config(directory)
    if settings.model_copy(update={"loraplus_lr_ratio": 1.0}) != LoraSettings():  # a rate is no shape
        for name in ("r", "lora_alpha", "use_dora", "use_rslora"):
            asked, has = getattr(settings, name), getattr(config, name)
            if asked != has:
                raise UserError(
                    f"lora.{name} is {asked}, but the base is an adapter with {name} {has}, which is trained on",
                    where=str(directory),
                    mend="leave the lora settings out, or start from the adapter's own base",
                )
    wrapped = load_fused(model, directory, config, trainable=True)
    return Trainable(wrapped.get_base_model(), wrapped)  # type: ignore[arg-type]


def load_fused(model: nn.Module, directory: Path, config: PeftConfig, *, trainable: bool = False) -> PeftModel:
    """The model with the PEFT adapter in `directory` on it, its plain LoRA layers fused. Raises UserError."""
    if isinstance(config, LoraConfig):
        config._register_custom_module({nn.Linear: FusedLoraLinear})
    return load_adapter(model, directory, trainable=trainable, config=config)


def scale_adapter(wrapped: nn.Module, factor: float, where: str) -> None:
    """Let a LoRA adapter change the base by `factor` times as much: between the base (0) and what was tuned (1).

    For a model that is answered with: what was learnt and what was forgotten both fade (Wortsman et al. 2022, WiSE-FT).
    Raises UserError for an adapter whose effect is not proportional to its scale.
    """
    if factor == 1.0:
        return
    layers = [module for module in wrapped.modules() if isinstance(module, BaseTunerLayer)]
    plain = [layer for layer in layers if isinstance(layer, PeftLoraLinear) and not layer.lora_variant]
    if len(plain) < len(layers) or any(isinstance(module, ModulesToSaveWrapper) for module in wrapped.modules()):
        raise UserError("only plain LoRA can be scaled: this adapter does more", where=where)
    for layer in plain:
        for name in layer.scaling:
            layer.scaling[name] *= factor


def merged_adapter(model: nn.Module, directory: Path) -> nn.Module:
    """The base with a LoRA adapter's update added to its weights. Raises UserError for an adapter of another kind."""
    config = _saved_config(directory)
    return load_adapter(model, directory, trainable=False, config=config).merge_and_unload()


def _saved_config(directory: Path) -> LoraConfig:
    config = PeftConfig.from_pretrained(str(directory))
    if not isinstance(config, LoraConfig):
        raise UserError(
            f"this adapter is of the kind {config.peft_type}; only LoRA adapters can be trained on",
            where=str(directory),
            mend="start from its base",
        )
    return config


def train_in_full(model: nn.Module) -> Trainable:
    """Every weight is trained."""
    model.requires_grad_(True)
    return Trainable(model)


def freeze_all_but(model: nn.Module, settings: FreezeSettings) -> Trainable:
    """Train what is chosen and freeze the rest. Raises UserError for a choice that is not there."""
    model.requires_grad_(False)
    names = [name for name, _ in model.named_parameters()]
    for pattern in settings.trainable:
        try:
            hits = [name for name in names if re.search(pattern, name)]
        except re.error as error:
            raise UserError(f"'{pattern}' is not a regular expression ({error})", where="freeze.trainable") from error
        if not hits:
            raise UserError(
                f"'{pattern}' matches no parameter", where="freeze.trainable", mend=f"names look like {names[-2]}"
            )
        for name in hits:
            model.get_parameter(name).requires_grad_(True)
    if settings.last_layers:
        layers = getattr(model.get_decoder(), "layers", ())  # type: ignore[operator]
        if settings.last_layers > len(layers):
            raise UserError(
                f"{settings.last_layers} layers are wanted, but {type(model).__name__} has {len(layers)} of that name",
                where="freeze.last_layers",
                mend="name them in freeze.trainable" if not layers else f"give {len(layers)} or fewer",
            )
        for layer in layers[-settings.last_layers :]:
            layer.requires_grad_(True)
    if settings.head:
        model.get_output_embeddings().requires_grad_(True)  # type: ignore[operator]
    return Trainable(model)
